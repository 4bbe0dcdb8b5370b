// Decide what a run asked a person: yes, no, or yes with other arguments. A decision is taken once, while the question is
// open; changed arguments of a tool must match its schema before anything is written, and are checked again where they are used.
import { MainstayError } from '../domain/errors.ts';
import { storable } from '../domain/json.ts';
import { MAX_MESSAGE_BYTES } from '../domain/tunables.ts';
import { publicId } from '../ids.ts';
import { audit } from '../store/audit.ts';
import type { Scope } from '../store/app-store.ts';
import { decideApproval } from '../store/engine/approvals.ts';
import { getApproval, type ApprovalRow } from '../store/read-control.ts';
import { getRun, type AgentRun } from '../store/read-runs.ts';
import { offerRun, type ControlDeps } from './control.ts';
import type { Registry } from './registry.ts';

export interface DecideRequest {
  readonly scope: Scope;
  /** uuid of the approval */
  readonly id: string;
  readonly actor: string;
  readonly approved: boolean;
  readonly reason: string | undefined;
  /** Undefined or null: as asked. */
  readonly edited: unknown;
}

/** Resolves once the decision is committed. Throws `not_found`, `approval_closed`, `tool_input_invalid`, `data_not_storable`. */
export type DecideApproval = (request: DecideRequest) => Promise<void>;

export function makeDecideApproval(deps: ControlDeps): DecideApproval {
  return async ({ scope, id, actor, approved, reason, edited }) => {
    const changed = edited === undefined || edited === null ? undefined : storable(edited, 'edited', MAX_MESSAGE_BYTES);
    if (changed !== undefined && !approved) throw new MainstayError('bad_request', 'Changed arguments go with a yes only.', { fields: [{ path: 'edited', message: 'only with approved: true' }] });
    await deps.store.withTenant(scope, async (tx) => {
      const approval = await getApproval(tx, id);
      const run = approval && (await getRun(tx, approval.runId));
      if (!approval || !run) throw noSuchApproval();
      if (approval.status !== 'pending') throw closed(approval.status);
      if (changed !== undefined) checkArguments(deps.registry, run, approval, edited);
      await audit(tx, { actor, userId: approval.userId, action: approved ? 'approval.approved' : 'approval.denied', objectType: 'approval', objectId: publicId('approval', id), allowed: true, details: { run: publicId('run', run.id), edited: changed !== undefined } });
    });
    const answer = await decideApproval(deps.engine.pool, { tenant: scope.tenant, user: scope.user, id, approved, by: actor, reason, edited: changed });
    if (!answer) throw noSuchApproval();
    if (!answer.decided) throw closed(answer.status);
    await offerRun(deps, scope.tenant, answer.run);
  };
}

const noSuchApproval = (): MainstayError => new MainstayError('not_found', 'There is no such approval.');
const closed = (status: string): MainstayError => new MainstayError('approval_closed', `The question is closed: ${status}.`);

/** Where a tool is asked about, by its schema; what a step asked by itself has none. Throws `tool_input_invalid`. */
function checkArguments(registry: Registry, run: AgentRun, approval: ApprovalRow, edited: unknown): void {
  const tool = registry.forRun(run.agent, run.version)?.tools.find(({ name }) => name === approval.subject);
  const parsed = tool?.input.safeParse(edited);
  if (!parsed || parsed.success) return;
  const fields = parsed.error.issues.slice(0, 20).map((issue) => ({ path: ['edited', ...issue.path.map(String)].join('.'), message: issue.message }));
  throw new MainstayError('tool_input_invalid', `The changed arguments do not match the schema of ${approval.subject}.`, { fields });
}
