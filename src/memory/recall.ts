// Recall: the memories that may help with an input, as a block for the prompt. Scope comes first: tenant, user and agent are
// in every request, in the index and in Postgres, and what the index names is read again there before a word of it is used.
// Milvus that does not answer in a second is left out and Postgres goes on alone, marked degraded. Each recall leaves a
// trace (for whom and by which rules it was looked, what was found, with which score, what was shown) and an audit row for each
// memory and summary shown.
import { monoMs } from '../clock.ts';
import { armOf, leftOutOf, type Arm } from '../domain/feedback.ts';
import { GATE_VERSION } from '../domain/gate.ts';
import type { Recall } from '../domain/machine.ts';
import { RECALL_TOKENS } from '../domain/tunables.ts';
import { newId } from '../ids.ts';
import type { Metrics } from '../metrics.ts';
import { holdRun } from '../store/hold-run.ts';
import { citeMemories, writeTrace, type Cited, type TraceRow } from '../store/recall-memories.ts';
import { rankFound, searchIndex, type FindDeps, type FindRequest, type Ranked, type Searched } from './find-memories.ts';
import { makeFindSummaries } from './find-summaries.ts';
import { DEFAULT_FUSER } from './fuse-hits.ts';
import { MAX_MEMORIES, packBlock, RANKING, type Packed, type Scored } from './rank-memories.ts';
import { recallSummaries, type EarlierRuns } from './recall-summaries.ts';

export interface RecallDeps extends FindDeps {
  readonly metrics?: Pick<Metrics, 'recalls' | 'recallSeconds' | 'recallOwnSeconds' | 'recallDegraded' | 'recallCache' | 'memoriesShown' | 'citations'> | undefined;
  readonly budgetTokens?: number | undefined;
  /** Share of runs that go without memory, so that its worth can be measured. */
  readonly holdout?: number | undefined;
  /** Share of runs whose recalls leave one memory out, so that the worth of each type can be. */
  readonly leaveOneOut?: number | undefined;
}

export interface RecallRequest extends FindRequest {
  /** uuid */
  readonly run: string;
  /** Of the claim that runs the step: the trace is written only while it holds. */
  readonly fence: bigint;
  readonly stepSeq: number;
  /** The run's, where it has one; for the trace alone. */
  readonly model?: string | undefined;
  /** Earlier runs whose summaries are wanted too; none unless told. */
  readonly summaries?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

export type CitingRun = Pick<RecallRequest, 'tenant' | 'run' | 'fence'>;

export interface MemoryRecall {
  /** Throws `fenced`, and what Postgres throws when it does not answer. */
  recall(request: RecallRequest): Promise<Recall>;
  /** Stores which injected memories an answer named and raises their count; invented ids are counted, not stored. */
  cite(run: CitingRun, trace: string, memories: readonly string[]): Promise<{ cited: number; fabricated: number }>;
}

/** Candidates kept in a trace. */
const TRACED = 60;

export function makeRecall(deps: RecallDeps): MemoryRecall {
  return { recall: (request) => recall(deps, request), cite: (run, trace, memories) => cite(deps, run, trace, memories) };
}

async function recall(deps: RecallDeps, request: RecallRequest): Promise<Recall> {
  const startMs = monoMs();
  request.signal?.throwIfAborted();
  const searched = await searchIndex(deps, request);
  request.signal?.throwIfAborted();
  const { query, semantic } = searched;
  const trace = newId();
  const arm = armOf(request.run, deps);
  const earlier = arm === 'held_out' ? undefined : await summariesOf(deps, request);
  const degraded = searched.degraded || earlier?.degraded === true;
  const { packed, found } = await deps.store.withStatements({ tenant: request.tenant, user: request.user ?? null }, async (tx) => {
    const [, ranked] = await Promise.all([holdRun(tx, request), rankFound(deps, tx, request, searched)]); // sent in this order, at once
    const { block, leftOut } = blockFor(deps, request.run, arm, ranked.scored);
    const written = writeTrace(tx, {
      id: trace, run: request.run, user: request.user, stepSeq: request.stepSeq, query, embedder: deps.embedder.fingerprint, semantic, degraded, ...ruledBy(deps, request, searched),
      candidates: JSON.stringify(tracedOf(ranked, block)), injected: block.memories.map((memory) => memory.id), tokens: block.tokens, heldOut: arm === 'held_out', leftOut,
      summaries: earlier?.summaries.map(({ run }) => run) ?? [], durationMs: monoMs() - startMs,
    });
    tx.sendEnd();
    await written;
    return { packed: block, found: ranked.scored.length > 0 };
  });
  const tookMs = monoMs() - startMs;
  deps.metrics?.recallSeconds.observe({ outcome: degraded ? 'degraded' : 'full' }, tookMs / 1_000);
  deps.metrics?.recallOwnSeconds.observe((tookMs - searched.waitedMs) / 1_000);
  deps.metrics?.recalls.inc({ outcome: degraded ? 'degraded' : found ? 'found' : 'empty', arm });
  for (const { type } of packed.memories) deps.metrics?.memoriesShown.inc({ type });
  return { ...packed, semantic, degraded, embedder: deps.embedder.fingerprint, trace, ...(earlier && { summaries: earlier.summaries }) };
}

/** Undefined where they are not wanted; what held on another day they do not say. */
const summariesOf = async (deps: RecallDeps, { summaries = 0, asOfMs, ...request }: RecallRequest): Promise<EarlierRuns | undefined> =>
  (summaries > 0 && asOfMs === undefined ? recallSummaries(makeFindSummaries(deps), request, summaries) : undefined);

/** What is shown. What must not be done a run is told in every arm. */
function blockFor({ budgetTokens = RECALL_TOKENS }: RecallDeps, run: string, arm: Arm, scored: readonly Scored[]): { readonly block: Packed; readonly leftOut?: string | undefined } {
  const block = packBlock(arm === 'held_out' ? scored.filter(({ row }) => row.type === 'constraint') : scored, budgetTokens);
  const leftOut = arm === 'left_out' ? leftOutOf(run, block.memories) : undefined;
  return leftOut === undefined ? { block } : { block: packBlock(scored.filter(({ row }) => row.id !== leftOut), budgetTokens), leftOut };
}

/** Whom it was looked for, as of which memories, and by which rules. */
function ruledBy({ index, fuser = DEFAULT_FUSER, budgetTokens = RECALL_TOKENS }: RecallDeps, { user, agent, asOfMs, model }: RecallRequest, { epoch, known }: Searched): Pick<TraceRow, 'filters' | 'epoch' | 'decidedBy'> {
  return {
    filters: JSON.stringify({ user: user ?? null, agent, asOf: asOfMs === undefined ? null : new Date(asOfMs).toISOString() }), epoch,
    decidedBy: JSON.stringify({ ranking: RANKING, fuser, generation: index.generation, gate: GATE_VERSION, model: model ?? null, budgetTokens, maxMemories: MAX_MEMORIES, cached: known !== undefined }),
  };
}

/** What the trace keeps: every partial score, also of ids the index named and Postgres did not confirm. */
function tracedOf({ scored, fused }: Ranked, block: Packed): unknown[] {
  const injected = new Set(block.memories.map((memory) => memory.id));
  const confirmed = new Set(scored.map(({ row }) => row.id));
  const round = (score: number): number => Math.round(score * 10_000) / 10_000;
  return [
    ...scored.map(({ row, dense, sparse, fused: together, strength, score }) => ({
      id: row.id, type: row.type, slot: row.slot, dense: round(dense), sparse: round(sparse), words: round(row.words), fused: round(together), strength: round(strength), confidence: row.confidence, score: round(score), injected: injected.has(row.id),
    })),
    ...fused.filter((hit) => !confirmed.has(hit.id)).map((hit) => ({ id: hit.id, dense: round(hit.dense), sparse: round(hit.sparse), refused: 'not live in this scope' })),
  ].slice(0, TRACED);
}

async function cite(deps: RecallDeps, { tenant, run, fence }: CitingRun, trace: string, memories: readonly string[]): Promise<{ cited: number; fabricated: number }> {
  const ids = [...new Set(memories.filter((id) => UUID.test(id)))];
  const found: Cited | undefined = await deps.store.withStatements({ tenant }, async (tx) => {
    await holdRun(tx, { run, fence });
    return citeMemories(tx, run, trace, ids);
  });
  const cited = found?.cited.length ?? 0;
  const fabricated = new Set(memories).size - cited;
  deps.metrics?.citations.inc({ outcome: 'cited' }, cited);
  deps.metrics?.citations.inc({ outcome: 'fabricated' }, fabricated);
  return { cited, fabricated };
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
