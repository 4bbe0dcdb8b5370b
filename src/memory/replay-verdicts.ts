// Judges stored verdicts again, under another policy: what would have been decided otherwise? Reads what each run was decided on as
// it stands now and says where that is no longer what it was (a statement reworded, a memory erased, a late tool result): such a
// run is counted, never judged on other grounds. Changes nothing.
import { judge } from '../domain/gate.ts';
import { inputsHash } from '../domain/gate-basis.ts';
import type { GateInput } from '../domain/gate-input.ts';
import { POLICY, type GatePolicy } from '../domain/gate-policy.ts';
import type { VerdictDecision } from '../domain/status.ts';
import { eventsOf, fitEvents } from '../domain/transcript.ts';
import type { AppStore, Scope, TenantTx } from '../store/app-store.ts';
import { finishedRun } from '../store/remember-run.ts';
import { candidatesOf, judgedRuns, memoriesOf, type StoredRun, type StoredVerdict } from '../store/replay-verdicts.ts';
import { readWaiting } from './judge-run.ts';
import { rawEventsOf } from './run-transcript.ts';

export interface Change { readonly run: string; readonly index: number; readonly was: Decided; readonly now: Decided; readonly statement: string }
export interface Decided { readonly decision: VerdictDecision; readonly stage: string; readonly reason: string }

export interface Replay {
  readonly runs: number;
  readonly verdicts: number;
  readonly changes: readonly Change[];
  /** Runs whose inputs are no longer what was judged. */
  readonly otherInputs: readonly string[];
}

/** These were decided on what is not kept: a secret is cut out of what is stored. They stand. */
const NOT_KEPT = new Set(['schema', 'secrets', 'pii']);
const BATCH = 50;

/** The newest `limit` runs of the scope. */
export async function replayVerdicts(store: AppStore, scope: Scope, policy: GatePolicy, limit: number): Promise<Replay> {
  const total = { runs: 0, verdicts: 0, changes: [] as Change[], otherInputs: [] as string[] };
  for (let before: string | undefined; total.runs + total.otherInputs.length < limit;) {
    const from = before;
    const size = Math.min(BATCH, limit - total.runs - total.otherInputs.length);
    const judged = await store.withTenant(scope, async (tx) => {
      const runs = await judgedRuns(tx, from, size);
      const inputs: [StoredRun, GateInput | undefined][] = [];
      for (const run of runs) inputs.push([run, await inputOf(tx, run)]);
      return inputs;
    });
    for (const [run, input] of judged) {
      if (!input || inputsHash(input, run.inputs.pii) !== run.verdicts[0]?.inputsHash) { total.otherInputs.push(run.run); continue; }
      total.runs++;
      total.verdicts += run.verdicts.length;
      total.changes.push(...changesOf(run, input, policy));
    }
    if (judged.length < size) break;
    before = judged.at(-1)?.[0].run;
  }
  return total;
}

async function inputOf(tx: TenantTx, { run: id, inputs, verdicts }: StoredRun): Promise<GateInput | undefined> {
  const said = await finishedRun(tx, id);
  if (!said) return undefined;
  const now = new Map((await memoriesOf(tx, inputs.live.map((one) => one.id))).map((memory) => [memory.id, memory]));
  return {
    run: { tenant: tx.scope.tenant, id, user: said.run.user, agent: said.run.agent, observedMs: said.run.finishedMs },
    events: fitEvents(eventsOf(rawEventsOf(said), inputs.pii ?? POLICY.pii)), candidates: verdicts.map(({ candidate }) => candidate), ids: inputs.ids,
    live: inputs.live.flatMap(({ id: memory, ...then }) => { const found = now.get(memory); return found ? [{ ...found, ...then }] : []; }),
    waiting: readWaiting(await candidatesOf(tx, inputs.waiting)), injected: inputs.injected, neighbours: inputs.neighbours.map((near) => near ?? undefined), embedder: inputs.embedder, hints: inputs.hints, room: inputs.room,
  };
}

function changesOf(run: StoredRun, input: GateInput, policy: GatePolicy): Change[] {
  const again = judge(input, policy);
  return run.verdicts.flatMap((was, at): Change[] => {
    const now = again[at];
    if (!now || NOT_KEPT.has(was.stage) || (was.decision === now.decision && was.target === now.target)) return [];
    return [{ run: run.run, index: was.index, was: plain(was), now: plain(now), statement: statementOf(was) }];
  });
}

const plain = ({ decision, stage, reason }: Decided): Decided => ({ decision, stage, reason });
const statementOf = ({ candidate }: StoredVerdict): string => { const { statement } = (candidate ?? {}) as { statement?: unknown }; return typeof statement === 'string' ? statement : ''; };
