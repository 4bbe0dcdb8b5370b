// Finds passages of documents and of tool outputs: by meaning and by words in the index, and by their words in Postgres what the index
// does not hold yet. Every passage is read again there under tenant, user and agent before a word of it is used. An index that
// does not answer in a second is left out: full text and exact vectors stand in, and the answer is marked degraded.
import { queryWords } from '../store/recall-memories.ts';
import { chunksByWords, chunksFor, chunkVectors, type ChunkScope, type FoundChunk } from '../store/find-chunks.ts';
import { fuseHits } from './fuse-hits.ts';
import { embedQuery, fusionOf, listsOf, nearest, searchable, type SearchDeps } from './search-lists.ts';

export interface FindChunks extends ChunkScope {
  readonly tenant: string;
  readonly query: string;
  /** Passages at most. */
  readonly limit: number;
}

export interface Passage extends FoundChunk { /** 0 to 1, comparable within one answer. */ readonly score: number }

export interface FoundPassages {
  /** Best first. */
  readonly passages: readonly Passage[];
  /** False: searched by words, not by meaning. */
  readonly semantic: boolean;
  /** The index should have answered and did not. */
  readonly degraded: boolean;
}

/** Throws only what Postgres throws. */
export type FindPassages = (request: FindChunks) => Promise<FoundPassages>;

/** Hits asked of each list. */
const LIST = 100;

export const makeFindPassages = (deps: SearchDeps): FindPassages => (request) => findChunks(deps, request);

async function findChunks(deps: SearchDeps, request: FindChunks): Promise<FoundPassages> {
  const { store, embedder, index } = deps;
  const scope = { tenant: request.tenant, user: request.user ?? null };
  const query = searchable(request.query);
  const [vector, text] = await Promise.all([embedQuery(deps, query), store.withTenant(scope, (tx) => queryWords(tx, query))]);
  const lists = await listsOf(deps, 'run_artifacts', { ...request, type: request.kind, vector, text, limit: LIST });
  const passages = await store.withTenant(scope, async (tx) => {
    const byWords = ranked(await chunksByWords(tx, request, query, LIST, lists === undefined ? undefined : index.generation));
    const dense = lists?.dense ?? (vector === undefined ? [] : nearest(vector, await chunkVectors(tx, request, embedder.fingerprint), LIST));
    const scores = new Map(fuse(deps, dense, lists?.sparse ?? byWords));
    if (lists !== undefined) for (const [id, score] of fuse(deps, [], byWords)) scores.set(id, score);
    const best = [...scores].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, 2 * LIST);
    const rows = new Map((await chunksFor(tx, request, best.map(([id]) => id))).map((row) => [row.id, row]));
    return best.flatMap(([id, score]) => { const row = rows.get(id); return row ? [{ ...row, score: Math.round(score * 10_000) / 10_000 }] : []; }).slice(0, request.limit);
  });
  return { passages, semantic: embedder.semantic && vector !== undefined, degraded: lists === undefined };
}

type Fuse = Parameters<typeof fuseHits>;

/** A chunk holds its own surroundings, so that what stands beside it counts for nothing here. */
function fuse(deps: SearchDeps, dense: Fuse[0], sparse: Fuse[1]): [id: string, score: number][] {
  const { fuser, ...rest } = fusionOf(deps);
  return fuseHits(dense, sparse, { ...rest, fuser: fuser === 'context' ? 'zscores' : fuser, limit: LIST }).map(({ id, fused }) => [id, fused]);
}

const ranked = (hits: readonly { id: string; score: number }[]): Fuse[1] => hits.map((hit, at) => ({ ...hit, rank: at + 1 }));
