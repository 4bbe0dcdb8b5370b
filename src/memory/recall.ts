// Recall: the memories that may help with an input, as a block for the prompt. Scope comes first: tenant, user and agent are
// in every request, in the index and in Postgres, and what the index names is read again there before a word of it is used.
// Milvus that does not answer in a second is left out and Postgres goes on alone, marked degraded. Each recall leaves a
// trace (what was found, with which score, what was shown) and an audit row for each memory shown.
import { monoMs } from '../clock.ts';
import type { Embedder } from '../domain/embedder.ts';
import { codeOf } from '../domain/errors.ts';
import { fold } from '../domain/gate-words.ts';
import type { Recall } from '../domain/machine.ts';
import { scrub } from '../domain/secrets.ts';
import { RECALL_TIMEOUT_MS, RECALL_TOKENS } from '../domain/tunables.ts';
import type { Hit, VectorIndex } from '../domain/vector-index.ts';
import { newId } from '../ids.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { AppStore } from '../store/app-store.ts';
import { holdRun } from '../store/hold-run.ts';
import { citeMemories, memoriesFor, writeTrace, type Cited } from '../store/recall-memories.ts';
import { fuseHits, type Fused, type Fuser } from './fuse-hits.ts';
import { packBlock, scoreRows, type Packed, type Scored } from './rank-memories.ts';

export interface RecallDeps {
  readonly store: AppStore;
  readonly index: VectorIndex;
  readonly embedder: Embedder;
  readonly log: Log;
  readonly metrics?: Pick<Metrics, 'recallSeconds' | 'recallDegraded' | 'citations'> | undefined;
  /** How the two lists of the index become one; `weighted` unless told. */
  readonly fuser?: Fuser | undefined;
  readonly budgetTokens?: number | undefined;
}

export interface RecallRequest {
  readonly tenant: string;
  readonly user: string | undefined;
  readonly agent: string;
  /** uuid */
  readonly run: string;
  /** Of the claim that runs the step: the trace is written only while it holds. */
  readonly fence: bigint;
  readonly stepSeq: number;
  readonly query: string;
  readonly signal?: AbortSignal | undefined;
}

export type CitingRun = Pick<RecallRequest, 'tenant' | 'run' | 'fence'>;

export interface MemoryRecall {
  /** Throws `fenced`, and what Postgres throws when it does not answer. */
  recall(request: RecallRequest): Promise<Recall>;
  /** Stores which injected memories an answer named and raises their count; invented ids are counted, not stored. */
  cite(run: CitingRun, trace: string, memories: readonly string[]): Promise<{ cited: number; fabricated: number }>;
}

/** Hits asked of each list. */
const LIST = 60;
/** Characters of a query that are searched with: what an embedding model reads at most, and enough for words. */
const MAX_QUERY = 2_000;
/** Candidates kept in a trace. */
const TRACED = 60;
/** Words-only embedders know no meaning: their list repeats what BM25 says better. */
const DENSE_SHARE = { semantic: 0.6, lexical: 0.3 } as const;
/** Cosine below which a hit of this embedder is noise; 0 where nobody has measured. */
const FLOORS: readonly (readonly [RegExp, number])[] = [[/^builtin:.*minilm/i, 0.18], [/^lexical:/, 0.05]];

export function makeRecall(deps: RecallDeps): MemoryRecall {
  return { recall: (request) => recall(deps, request), cite: (run, trace, memories) => cite(deps, run, trace, memories) };
}

async function recall(deps: RecallDeps, request: RecallRequest): Promise<Recall> {
  const startMs = monoMs();
  request.signal?.throwIfAborted();
  // Memories are found by what is asked, not by what is secret in it; the trace keeps no secret either.
  const query = scrub(request.query.toWellFormed().replaceAll('\u0000', ' ')).slice(0, MAX_QUERY).toWellFormed();
  const vector = await embedQuery(deps, query);
  const lists = await searchIndex(deps, request, query, vector);
  request.signal?.throwIfAborted();
  const fused = fuseHits(lists?.dense ?? [], lists?.sparse ?? [], { fuser: deps.fuser ?? 'weighted', denseShare: deps.embedder.semantic ? DENSE_SHARE.semantic : DENSE_SHARE.lexical, floor: floorOf(deps.embedder) });
  const semantic = deps.embedder.semantic && vector !== undefined;
  const degraded = lists === undefined;
  const trace = newId();
  const packed = await deps.store.withTenant({ tenant: request.tenant, user: request.user ?? null }, async (tx) => {
    await holdRun(tx, request);
    const rows = await memoriesFor(tx, {
      user: request.user, agent: request.agent, query, folded: ` ${fold(query)} `, ids: fused.map((hit) => hit.id), fullText: degraded, generation: deps.index.generation,
    });
    const scored = scoreRows(rows, fused);
    const block = packBlock(scored, deps.budgetTokens ?? RECALL_TOKENS);
    await writeTrace(tx, {
      id: trace, run: request.run, user: request.user, stepSeq: request.stepSeq, query, embedder: deps.embedder.fingerprint, semantic, degraded,
      candidates: JSON.stringify(tracedOf(scored, fused, block)), injected: block.memories.map((memory) => memory.id), tokens: block.tokens, durationMs: monoMs() - startMs,
    });
    return block;
  });
  deps.metrics?.recallSeconds.observe({ outcome: degraded ? 'degraded' : 'full' }, (monoMs() - startMs) / 1_000);
  return { ...packed, semantic, degraded, embedder: deps.embedder.fingerprint, trace };
}

const floorOf = (embedder: Embedder): number => FLOORS.find(([pattern]) => pattern.test(embedder.fingerprint))?.[1] ?? 0;

/** Undefined when the embedder fails or takes as long as the index may: words and keys go on without it. */
async function embedQuery(deps: RecallDeps, query: string): Promise<number[] | undefined> {
  if (query.trim() === '') return undefined;
  let timer: NodeJS.Timeout | undefined;
  try {
    const late = new Promise<undefined>((resolve) => { timer = setTimeout(() => resolve(undefined), RECALL_TIMEOUT_MS); });
    const work = deps.embedder.embed([query], 'query').then(([vector]) => vector);
    work.catch(() => undefined); // it may fail after it was given up
    const vector = await Promise.race([work, late]);
    if (vector === undefined) degrade(deps, 'embedder_failed');
    return vector;
  } catch (error) {
    degrade(deps, codeOf(error, 'embedder_failed'));
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}

async function searchIndex(deps: RecallDeps, { tenant, user, agent }: RecallRequest, query: string, vector: number[] | undefined): Promise<{ dense: Hit[]; sparse: Hit[] } | undefined> {
  try {
    return await deps.index.search('memories', { tenant, user, agent, vector, text: query, limit: LIST, timeoutMs: RECALL_TIMEOUT_MS });
  } catch (error) {
    degrade(deps, codeOf(error, 'index_unavailable'));
    return undefined;
  }
}

function degrade(deps: RecallDeps, reason: string): void {
  deps.metrics?.recallDegraded.inc({ reason });
  deps.log.warn({ reason }, 'recall goes on without a part');
}

/** What the trace keeps: every partial score, also of ids the index named and Postgres did not confirm. */
function tracedOf(scored: readonly Scored[], fused: readonly Fused[], block: Packed): unknown[] {
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
  const found: Cited | undefined = await deps.store.withTenant({ tenant }, async (tx) => {
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
