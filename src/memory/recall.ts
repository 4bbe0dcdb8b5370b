// Recall: the memories that may help with an input, as a block for the prompt. Scope comes first: tenant, user and agent are
// in every request, in the index and in Postgres, and what the index names is read again there before a word of it is used.
// Milvus that does not answer in a second is left out and Postgres goes on alone, marked degraded. Each recall leaves a
// trace (what was found, with which score, what was shown) and an audit row for each memory shown.
import { monoMs } from '../clock.ts';
import { isHeldOut } from '../domain/feedback.ts';
import type { Recall } from '../domain/machine.ts';
import { RECALL_TOKENS } from '../domain/tunables.ts';
import { newId } from '../ids.ts';
import type { Metrics } from '../metrics.ts';
import { holdRun } from '../store/hold-run.ts';
import { citeMemories, writeTrace, type Cited } from '../store/recall-memories.ts';
import { rankFound, searchIndex, type FindDeps, type FindRequest, type Ranked } from './find-memories.ts';
import { packBlock, type Packed } from './rank-memories.ts';

export interface RecallDeps extends FindDeps {
  readonly metrics?: Pick<Metrics, 'recalls' | 'recallSeconds' | 'recallOwnSeconds' | 'recallDegraded' | 'recallCache' | 'memoriesShown' | 'citations'> | undefined;
  readonly budgetTokens?: number | undefined;
  /** Share of runs that go without memory, so that its worth can be measured. */
  readonly holdout?: number | undefined;
}

export interface RecallRequest extends FindRequest {
  /** uuid */
  readonly run: string;
  /** Of the claim that runs the step: the trace is written only while it holds. */
  readonly fence: bigint;
  readonly stepSeq: number;
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
  const { query, semantic, degraded } = searched;
  const trace = newId();
  const heldOut = isHeldOut(request.run, deps.holdout ?? 0); // what must not be done it is told all the same
  const { packed, found } = await deps.store.withStatements({ tenant: request.tenant, user: request.user ?? null }, async (tx) => {
    const [, ranked] = await Promise.all([holdRun(tx, request), rankFound(deps, tx, request, searched)]); // sent in this order, at once
    const block = packBlock(heldOut ? ranked.scored.filter(({ row }) => row.type === 'constraint') : ranked.scored, deps.budgetTokens ?? RECALL_TOKENS);
    const written = writeTrace(tx, {
      id: trace, run: request.run, user: request.user, stepSeq: request.stepSeq, query, embedder: deps.embedder.fingerprint, semantic, degraded,
      candidates: JSON.stringify(tracedOf(ranked, block)), injected: block.memories.map((memory) => memory.id), tokens: block.tokens, heldOut, durationMs: monoMs() - startMs,
    });
    tx.sendEnd();
    await written;
    return { packed: block, found: ranked.scored.length > 0 };
  });
  const tookMs = monoMs() - startMs;
  deps.metrics?.recallSeconds.observe({ outcome: degraded ? 'degraded' : 'full' }, tookMs / 1_000);
  deps.metrics?.recallOwnSeconds.observe((tookMs - searched.waitedMs) / 1_000);
  deps.metrics?.recalls.inc({ outcome: degraded ? 'degraded' : found ? 'found' : 'empty', arm: heldOut ? 'held_out' : 'told' });
  for (const { type } of packed.memories) deps.metrics?.memoriesShown.inc({ type });
  return { ...packed, semantic, degraded, embedder: deps.embedder.fingerprint, trace };
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
