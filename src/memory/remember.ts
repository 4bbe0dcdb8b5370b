// `mainstay.remember`: the machine that remembers a finished run. extract (one call of a model, none for a run that teaches nothing) →
// judge (the gate, all verdicts in one transaction) → index, which also keeps long answers of tools to be searched. A run of its own on the memory pool, unique by (run, gate
// version), so that it resumes, is fenced and is paid for like any other. Without a valid summary nothing is admitted.
import { z } from 'zod';
import { codeOf } from '../domain/errors.ts';
import { ineligible, templateSummary, trivial, type Skip } from '../domain/gate-intake.ts';
import { fold } from '../domain/gate-words.ts';
import { GATE_VERSION } from '../domain/gate.ts';
import type { Verdict } from '../domain/gate-input.ts';
import type { Json } from '../domain/json.ts';
import type { Machine, ModelCallOptions, Move, RunInfo, Step } from '../domain/machine.ts';
import type { Extraction } from '../domain/memory.ts';
import { extractionLane, gatePolicyOf, type MemoryPolicy } from '../domain/memory-settings.ts';
import { redact } from '../domain/pii.ts';
import { scrubSecrets } from '../domain/secrets.ts';
import { eventsOf, fitEvents, MAX_TRANSCRIPT_CHARS, type TranscriptEvent } from '../domain/transcript.ts';
import { STEP_ATTEMPTS, STEP_TIMEOUT_MS } from '../domain/tunables.ts';
import { faultPoint } from '../fault-points.ts';
import type { Metrics } from '../metrics.ts';
import { memoryPolicy } from '../store/memory-policies.ts';
import { finishedRun, memoriesSpokenOf, type FinishedRun, type Said } from '../store/remember-run.ts';
import { emptyRecords } from '../store/engine/ledger.ts';
import type { EnginePool } from '../store/engine/pool.ts';
import { extractionRequest, readExtraction, type Told } from './extraction-request.ts';
import { indexRows } from './index-rows.ts';
import { endUnjudged, judgeRun, type JudgeDeps, type Support } from './judge-run.ts';
import { keepOutputs, type OutputDeps } from './keep-outputs.ts';
import { rawEventsOf } from './run-transcript.ts';

export const REMEMBER = 'mainstay.remember';
/** One remembering run per finished run and gate version, however often it is asked for. */
export const rememberKey = (run: string): string => `remember:${run}:${GATE_VERSION}`;

export interface RememberDeps extends JudgeDeps, OutputDeps {
  readonly pool: EnginePool;
  readonly metrics: Pick<Metrics, 'gateVerdicts' | 'memorySupport'>;
  /** Model that summarises and extracts. */
  readonly model: string;
}

const input = z.strictObject({ run: z.uuid() });
type Input = z.infer<typeof input>;
type RunFacts = Pick<FinishedRun, 'id' | 'user' | 'session' | 'agent' | 'finishedMs'>;
/** What was said, and the version of the tenant's settings it was read under. `told`: by a build that tells the model what is known. */
interface Read { readonly told?: boolean; readonly events: readonly TranscriptEvent[]; readonly settings?: number; readonly skip?: Skip; readonly lane?: 'realtime' | 'batch' }
/** What the model is shown of a memory that is known: it is no evidence. */
interface Known { readonly id: string; readonly line: string }
interface JudgeData extends Omit<Read, 'told'> { readonly known?: readonly string[]; readonly run: RunFacts; readonly extraction: Extraction; readonly skipped?: Skip }
interface IndexData { readonly memories: readonly string[]; readonly verdicts: Readonly<Record<string, number>>; readonly summary?: 'missing'; readonly skipped?: Skip }

export function rememberMachine(deps: RememberDeps): Machine {
  return memoryMachine(deps, {
    name: REMEMBER, description: 'Summarises a finished run and lets the memory gate judge what it proposes.', input,
    steps: {
      extract: (step: Step<Input>) => extract(deps, step),
      judge: (step: Step<Input, JudgeData>) => judge(deps, step),
      index: (step: Step<Input, IndexData>) => index(deps, step),
    },
  });
}

/** A machine of the product's own on the memory pool, which begins with `extract`. */
export const memoryMachine = ({ model }: Pick<RememberDeps, 'model'>, own: Pick<Machine, 'name' | 'description' | 'input' | 'steps'>): Machine => ({
  ...own, version: GATE_VERSION, pool: 'memory', visible: false, data: undefined, migrates: undefined, start: 'extract', tools: [], remembers: false, locks: undefined, budgetMicroUsd: undefined, overBudget: 'ask', interrupted: undefined,
  model, lane: 'realtime', stepTimeoutMs: STEP_TIMEOUT_MS, attempts: STEP_ATTEMPTS,
});

async function extract(deps: RememberDeps, step: Step<Input>): Promise<Move> {
  const { tenant } = step.run;
  const { said, origin, set } = await deps.store.withTenant({ tenant }, async (tx) => {
    const run = await finishedRun(tx, step.input.run);
    return { said: run, origin: run?.run.rememberedOrigin ? await finishedRun(tx, run.run.rememberedOrigin) : undefined, set: await memoryPolicy(tx) };
  });
  if (!said) return step.done({ skipped: 'the run is not there' });
  const { id, user, session, agent, finishedMs } = said.run;
  // Recorded, because a late tool result or other settings may still come: both tries and the gate go by the same.
  const recorded = await step.record('transcript', () => Promise.resolve(read(said, origin, set)) as Promise<unknown> as Promise<Json>) as unknown as Read | Read['events'];
  const { skip, told, ...heard }: Read = isEvents(recorded) ? { events: recorded } : recorded;
  const { events } = heard;
  const held = { run: step.run.id, fence: step.run.fence };
  if (skip) deps.metrics.gateVerdicts.inc({ decision: 'SKIP', stage: 'intake', reason: skip });
  if (skip?.startsWith('SKIP_INELIGIBLE')) {
    countSupport(deps, await endUnjudged(deps, held, tenant, id, events, 'done', skip));
    return step.next('index', { memories: [], verdicts: {}, skipped: skip });
  }
  const known = skip || !told ? undefined : await step.record(KNOWN, () => knownOf(deps, tenant, said.run, heard.events, set) as Promise<unknown> as Promise<Json>) as unknown as readonly Known[];
  const extraction = skip ? { summary: templateSummary(events), candidates: [] } : await askTwice(step, events, known && { agent, known: known.map(({ line }) => line) }, heard.lane ? { lane: heard.lane } : {});
  if (!extraction) {
    countSupport(deps, await endUnjudged(deps, held, tenant, id, events, 'summary_missing'));
    return step.next('index', { memories: [], verdicts: {}, summary: 'missing' });
  }
  return step.next('judge', { run: { id, user, session, agent, finishedMs }, ...heard, extraction, ...(known && { known: known.map((one) => one.id) }), ...(skip && { skipped: skip }) });
}

function read(said: Said, origin: Said | undefined, set: MemoryPolicy): Read {
  const { pii } = gatePolicyOf(set);
  const eventsIn = (of: Said): TranscriptEvent[] => fitEvents(eventsOf(rawEventsOf(of), pii));
  const events = eventsIn(said);
  const skip = ineligible(events, set.settings.paused === true) ?? trivial(events, origin && eventsIn(origin));
  return { told: true, events, settings: set.version, ...(skip ? { skip } : extractionLane(set)) };
}

/** The record of what the model was shown of known memories. Whose run it is has not said all of that: it is emptied when the run is remembered,
 *  so that an erasure need not look for it. */
const KNOWN = 'known';

async function knownOf(deps: RememberDeps, tenant: string, { user, agent }: FinishedRun, events: Read['events'], set: MemoryPolicy): Promise<Known[]> {
  const { pii } = gatePolicyOf(set);
  const text = ` ${fold(events.filter(({ role }) => role !== 'agent').map((event) => event.text).join('\n').slice(0, MAX_NAMING))} `;
  const known = await deps.store.withTenant({ tenant, user }, (tx) => memoriesSpokenOf(tx, user, agent, text, MOST_KNOWN));
  return known.map(({ id, type, subject, attribute, statement }) => ({ id, line: redact(scrubSecrets(`(${type}, ${subject}, ${attribute}): ${statement}`), pii) }));
}

/** Known memories the model is shown, and characters of a run in which their subjects are looked for. */
const MOST_KNOWN = 10;
const MAX_NAMING = 8_000;

/** As builds recorded it that knew no settings of tenants: a deploy may come between a record and the end of its step. */
const isEvents = (recorded: Read | Read['events']): recorded is Read['events'] => Array.isArray(recorded);

/** A second time with half of the transcript: what overflowed or confused the model once may not twice. */
async function askTwice(step: Step<Input>, events: readonly TranscriptEvent[], told: Told | undefined, by: ModelCallOptions): Promise<Extraction | undefined> {
  const { model } = step.run;
  return readExtraction(await step.model(extractionRequest(model, events, told), by)) ?? readExtraction(await step.model(extractionRequest(model, events, told, MAX_TRANSCRIPT_CHARS / 2), by));
}

async function judge(deps: RememberDeps, step: Step<Input, JudgeData>): Promise<Move> {
  const { verdicts, owed, support } = await judgeRun(deps, { run: step.run.id, fence: step.run.fence }, { tenant: step.run.tenant, ...step.data });
  faultPoint('verdicts-stored');
  countSupport(deps, support);
  return step.next('index', { memories: owed, verdicts: countVerdicts(deps, verdicts), ...(step.data.skipped && { skipped: step.data.skipped }) });
}

/** By decision. */
export function countVerdicts({ metrics }: RememberDeps, verdicts: readonly Verdict[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { decision, stage, reason } of verdicts) {
    counts[decision] = (counts[decision] ?? 0) + 1;
    metrics.gateVerdicts.inc({ decision, stage, reason });
  }
  return counts;
}

function countSupport({ metrics }: RememberDeps, { shown, supported }: Support): void {
  metrics.memorySupport.inc({ outcome: 'supported' }, supported);
  metrics.memorySupport.inc({ outcome: 'unsupported' }, shown - supported);
}

async function index(deps: RememberDeps, step: Step<Input, IndexData>): Promise<Move> {
  const { verdicts, summary, skipped } = step.data;
  await emptyRecords(deps.pool, step.run, KNOWN);
  const indexed = await isIndexed(deps, step.run, step.data.memories, step.input.run);
  const outputs = await step.record('outputs', () => outputsOf(deps, step));
  return step.done({ ...(summary === undefined ? { verdicts, indexed } : { summary }), ...(skipped && { skipped }), outputs });
}

async function outputsOf(deps: RememberDeps, { run, input }: Step<Input, IndexData>): Promise<number> {
  const said = await deps.store.withTenant({ tenant: run.tenant }, (tx) => finishedRun(tx, input.run));
  return said ? keepOutputs(deps, { run: run.id, fence: run.fence }, run.tenant, said.run) : 0;
}

/** Indexing that cannot be done now is done by maintenance: the rows themselves say that they are owed. */
export async function isIndexed(deps: RememberDeps, { id, tenant }: RunInfo, memories: readonly string[], summaryOf?: string): Promise<boolean> {
  try {
    await indexRows(deps, 'memories', tenant, memories);
    if (summaryOf !== undefined) await indexRows(deps, 'run_summaries', tenant, [summaryOf]);
    return true;
  } catch (error) {
    const code = codeOf(error);
    if (code !== 'index_unavailable' && code !== 'embedder_failed') throw error;
    deps.log.warn({ run: id, code }, 'indexing is left to maintenance');
    return false;
  }
}
