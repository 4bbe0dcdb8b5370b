// What a step's calls do for one claimed run: tools, model, records, waits, approvals, children, recall. Each goes to its own
// module; here they meet the run they are made for. What a wait has read of the run's inbox is kept, so that the commit
// which parks knows whether something came since.
import { wallMs } from '../clock.ts';
import type { BlobStore } from '../domain/blob.ts';
import { MainstayError } from '../domain/errors.ts';
import { storable, type Json } from '../domain/json.ts';
import type { ApprovalDecision, ApprovalRequest, ChildOptions, Machine } from '../domain/machine.ts';
import { fellBack, takesBatch } from '../domain/lane.ts';
import type { StopReason } from '../domain/model.ts';
import { MAX_MESSAGE_BYTES, SESSION_MESSAGES } from '../domain/tunables.ts';
import type { Tool, ToolContext } from '../domain/tool.ts';
import { faultPoint } from '../fault-points.ts';
import { newId } from '../ids.ts';
import type { LiveText, LiveTurn } from '../limits/live-text.ts';
import { askApprovalIfHeld } from '../store/engine/approvals.ts';
import type { ClaimedRun } from '../store/engine/claim.ts';
import { sessionMessages } from '../store/engine/context.ts';
import { hasResult, recordResultIfHeld, type Place } from '../store/engine/ledger.ts';
import { takeSteersIfHeld } from '../store/engine/multitask.ts';
import type { EnginePool } from '../store/engine/pool.ts';
import { settleOrOpenWaitIfHeld, type WaitResult, type WaitSpec } from '../store/engine/waits.ts';
import { callTool, Park, type ToolDeps } from '../tools/call-tool.ts';
import { keepValue, readValue } from '../values.ts';
import { chargeTool } from './charge-tool.ts';
import { callModel, joinBatch, type ModelDeps } from './call-model.ts';
import type { Recaller } from './recaller.ts';
import type { StepCalls } from './step-scope.ts';
import type { SubmitRun } from './submit-run.ts';

export interface CallDeps {
  readonly pool: EnginePool;
  readonly tools: ToolDeps;
  readonly models: ModelDeps;
  readonly recaller: Recaller;
  readonly blobs: BlobStore;
  readonly submit: SubmitRun;
  readonly live: LiveText;
}

/** Turns that are asked for again, or declined: their text was none. */
const CUT_OFF: ReadonlySet<StopReason> = new Set(['max_tokens', 'model_context_window_exceeded', 'refusal']);

/** The least a wait of this step has read of the inbox, undefined = none has looked; and whether one of them is for children, whose ends are no news. */
export interface InboxRead { seq: number | undefined; children: boolean }

/** While `alive` says so the step's calls may leave this worker. */
export interface CallHold {
  readonly signal: AbortSignal;
  /** Aborts with `signal`, and also when another message takes the run's place: calls of the model end then, tools go on. */
  readonly modelSignal: AbortSignal;
  /** Of the step so far. */
  readonly failures: number;
  alive(): boolean;
}

export function stepCalls(deps: CallDeps, run: ClaimedRun, machine: Machine, { signal, modelSignal, failures, alive }: CallHold, inbox: InboxRead, progress: StepCalls['progress']): StepCalls {
  const { pool, tools, recaller, blobs } = deps;
  const held = (): void => { if (!alive()) throw fenced(); };
  /** A run whose place another takes begins no further call. */
  const wanted = (): void => { if (modelSignal.aborted) throw new MainstayError('cancelled', 'The run is to end.'); };
  // Asked again right before the call leaves: the process may have stood still since the intent was written.
  const models = (shown?: LiveTurn): ModelDeps =>
    ({ ...deps.models, model: { turn: async (request, options) => { held(); return deps.models.model.turn(request, shown ? { ...options, onText: (text) => shown.push(text) } : options); } } });
  const failsOverBudget = machine.overBudget === 'fail';
  const guardedTool = (tool: Tool): Tool => ({ ...tool, run: async (args, context) => { held(); return tool.run(args, context); } });
  const user = run.user ?? undefined;
  const origin = run.forkedFrom === null || run.forkedSeq === null ? undefined : { run: run.forkedFrom, seq: run.forkedSeq };
  const searchDocuments: ToolContext['searchDocuments'] = (query, { limit = 10, kind } = {}) => recaller.searchDocuments({ tenant: run.tenant, user, agent: run.agent, run: run.id, fence: run.fence, query, limit, kind });
  let settled: Promise<unknown> = Promise.resolve();
  const settling = (one: Promise<void>): void => {
    settled = Promise.all([settled, one]);
    settled.catch(() => undefined); // told to whoever waits for it
  };
  return {
    held,
    settled: async () => { await settled; },
    tool: async (tool, args, argsHash, place, recorded) => {
      wanted();
      return callTool(tools, { tool: guardedTool(tool), args, argsHash, place, user, signal, recorded, origin, progress, searchDocuments, sawInbox: (seq) => note(inbox, seq), charge: (name, atMost) => chargeTool(deps.models, { failsOverBudget, alive, sawInbox: (seq) => note(inbox, seq) }, place, argsHash, name, atMost) });
    },
    model: async (request, argsHash, place, recorded, { live = false, lane }) => {
      wanted();
      if (recorded?.status === 'open') return new Park('batch', undefined); // the claim has closed what was left open live
      const attempt = (recorded?.attempts ?? 0) + 1;
      const asked = { place, user, request, argsHash, attempt, failsOverBudget, sawInbox: (seq: number) => note(inbox, seq) };
      const leftMs = run.deadlineMs === null ? undefined : run.deadlineMs - wallMs();
      if (takesBatch(lane ?? run.lane ?? machine.lane, leftMs) && !fellBack(recorded?.errorCode)) return joinBatch(deps.models, asked);
      const shown = live ? deps.live.open(run.id, `${place.stepSeq}/${place.path}/${attempt}`) : undefined;
      try {
        const turn = await callModel(models(shown), { ...asked, failures, signal: modelSignal, alive, settling });
        if (turn instanceof Park || CUT_OFF.has(turn.stopReason)) shown?.withdraw();
        else shown?.settle();
        return turn;
      } catch (error) {
        shown?.withdraw();
        throw error;
      }
    },
    record: async (name, argsHash, place, result) => {
      const stored = await keepValue(blobs, run.tenant, result, `the result of ${name}`);
      if (!(await recordResultIfHeld(pool, place, name, argsHash, stored))) throw fenced();
    },
    recorded: async ({ result, blob }) => (blob === null ? result : readValue(blobs, run.tenant, blob)),
    wait: (spec, place) => wait(deps, spec, place, inbox),
    outputs: (result) => withOutputs(blobs, run.tenant, result),
    approval: (request, argsHash, place) => ask(pool, request, argsHash, place, inbox),
    spawn: (agent, input, options, place) => spawn(deps, run, agent, input, options, place),
    recall: (query, asOfMs, summaries, place) => recaller.recall({ tenant: run.tenant, user, session: run.session ?? undefined, agent: run.agent, model: run.model ?? machine.model, run: run.id, fence: run.fence, stepSeq: place.stepSeq, query, asOfMs, summaries, signal }),
    cite: (trace, memories) => recaller.cite({ tenant: run.tenant, run: run.id, fence: run.fence }, trace, memories).then(() => undefined),
    resultOf: async (reference) => (await hasResult(pool, run.tenant, run.id, reference) ? await readValue(blobs, run.tenant, reference) as Json : undefined),
    history: async () => (run.session === null || run.user === null ? [] : sessionMessages(pool, run.tenant, run.user, run.session, SESSION_MESSAGES)),
    steered: async (argsHash, place) => {
      if (run.session === null || run.user === null) return [];
      const taken = await takeSteersIfHeld(pool, place, { user: run.user, session: run.session, agent: run.agent }, argsHash);
      if (taken === 'fenced') throw fenced();
      if (taken.length > 0) faultPoint('steers-taken');
      return taken;
    },
    progress,
  };
}

const fenced = (): MainstayError => new MainstayError('fenced', 'Another worker holds the run.');
const note = (inbox: InboxRead, seq: number): void => { inbox.seq = Math.min(inbox.seq ?? seq, seq); };

async function wait({ pool }: CallDeps, spec: WaitSpec, place: Place, inbox: InboxRead): Promise<WaitResult | Park> {
  const answer = await settleOrOpenWaitIfHeld(pool, place, spec);
  if (answer === 'fenced') throw fenced();
  if ('result' in answer) return answer.result;
  faultPoint('wait-opened');
  note(inbox, answer.inboxSeq);
  inbox.children ||= spec.kind === 'child';
  return new Park(spec.kind, answer.dueInMs ?? undefined);
}

/** Children's outputs that lie in the object store. */
async function withOutputs(blobs: BlobStore, tenant: string, result: WaitResult): Promise<WaitResult> {
  if (!('children' in result)) return result;
  return { children: await Promise.all(result.children.map(async (child) => (child.outputBlob ? { ...child, output: await readValue(blobs, tenant, child.outputBlob) as never } : child))) };
}

async function ask(pool: EnginePool, { title, details, expiresInMs, onExpiry = 'deny' }: ApprovalRequest, argsHash: string, place: Place, inbox: InboxRead): Promise<ApprovalDecision | Park> {
  const asked = await askApprovalIfHeld(pool, place, {
    id: newId(), argsHash, subject: title.slice(0, 200), request: storable(details, 'what is asked', MAX_MESSAGE_BYTES), expiresInMs: expiresInMs ?? null, onExpiry: onExpiry === 'approve' ? 'approved' : 'denied',
  });
  if (asked === 'fenced') throw fenced();
  if (asked === 'diverged') throw new MainstayError('step_diverged', 'The question that was asked here was another one.');
  if ('decision' in asked) return { approved: asked.decision.approved, by: asked.decision.by ?? undefined, reason: asked.decision.reason ?? undefined, details: asked.decision.edited ?? details };
  note(inbox, asked.inboxSeq);
  return new Park('approval', asked.dueInMs ?? undefined);
}

/** One child per place: submitted again after a crash it is the same run. */
async function spawn({ submit }: CallDeps, run: ClaimedRun, agent: string, input: unknown, options: ChildOptions, place: Place): Promise<string> {
  const { id } = await submit({
    tenant: run.tenant, door: 'spawn', agent, input, user: options.user ?? run.user ?? undefined, metadata: options.metadata, priority: options.priority ?? run.priority, delayMs: options.delayMs, concurrency: options.concurrency,
    lane: run.lane ?? undefined, deadlineAt: run.deadlineMs === null ? undefined : new Date(run.deadlineMs).toISOString(), parent: run.id, parentPlace: { stepSeq: place.stepSeq, path: place.path }, idempotencyKey: `spawn:${run.id}:${place.stepSeq}:${place.path}`,
  });
  faultPoint('child-submitted');
  return id;
}
