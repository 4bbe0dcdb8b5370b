// Search of a collection that stands for itself, as passages and summaries do: by meaning and by words in the index, and by their words in
// Postgres what the index does not hold yet. Every hit is read again there before a word of it is used. An index that does not answer
// in a second is left out: full text and exact vectors stand in, and the answer is marked degraded.
import type { VectorCollection, VectorSearch } from '../domain/vector-index.ts';
import type { TenantTx } from '../store/app-store.ts';
import { queryWords } from '../store/recall-memories.ts';
import { fuseHits } from './fuse-hits.ts';
import { embedQuery, fusionOf, listsOf, nearest, searchable, type SearchDeps } from './search-lists.ts';

/** Where the texts are, for one searcher: each of these reads only what the searcher may see. */
export interface Texts<Row extends { readonly id: string }> {
  readonly collection: VectorCollection;
  /** Best first. `generation`: only those that this generation of the index does not hold. */
  byWords(tx: TenantTx, query: string, limit: number, generation?: string): Promise<{ id: string; score: number }[]>;
  vectors(tx: TenantTx, embedder: string): Promise<{ id: string; vector: number[] }[]>;
  rows(tx: TenantTx, ids: readonly string[]): Promise<Row[]>;
}

export interface TextQuery extends Pick<VectorSearch, 'tenant' | 'user' | 'agent' | 'type'> { readonly query: string; /** Texts at most. */ readonly limit: number }

export interface FoundTexts<Row> {
  /** Best first; `score`: 0 to 1, comparable within one answer. */
  readonly found: readonly (Row & { readonly score: number })[];
  /** False: searched by words, not by meaning. */
  readonly semantic: boolean;
  /** The index should have answered and did not. */
  readonly degraded: boolean;
}

/** Hits asked of each list. */
const LIST = 100;

/** Throws only what Postgres throws. */
export async function searchTexts<Row extends { readonly id: string }>(deps: SearchDeps, request: TextQuery, texts: Texts<Row>): Promise<FoundTexts<Row>> {
  const { store, embedder, index } = deps;
  const scope = { tenant: request.tenant, user: request.user ?? null };
  const query = searchable(request.query);
  const [vector, text] = await Promise.all([embedQuery(deps, query), store.withTenant(scope, (tx) => queryWords(tx, query))]);
  const lists = await listsOf(deps, texts.collection, { ...request, vector, text, limit: LIST });
  const found = await store.withTenant(scope, async (tx) => {
    const byWords = ranked(await texts.byWords(tx, query, LIST, lists === undefined ? undefined : index.generation));
    const dense = lists?.dense ?? (vector === undefined ? [] : nearest(vector, await texts.vectors(tx, embedder.fingerprint), LIST));
    const scores = new Map(fuse(deps, dense, lists?.sparse ?? byWords));
    if (lists !== undefined) for (const [id, score] of fuse(deps, [], byWords)) scores.set(id, score);
    const best = [...scores].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, 2 * LIST);
    const rows = new Map((await texts.rows(tx, best.map(([id]) => id))).map((row) => [row.id, row]));
    return best.flatMap(([id, score]) => { const row = rows.get(id); return row ? [{ ...row, score: Math.round(score * 10_000) / 10_000 }] : []; }).slice(0, request.limit);
  });
  return { found, semantic: embedder.semantic && vector !== undefined, degraded: lists === undefined };
}

type Fuse = Parameters<typeof fuseHits>;

/** A text holds its own surroundings, so that what stands beside it counts for nothing here. */
function fuse(deps: SearchDeps, dense: Fuse[0], sparse: Fuse[1]): [id: string, score: number][] {
  const { fuser, ...rest } = fusionOf(deps);
  return fuseHits(dense, sparse, { ...rest, fuser: fuser === 'context' ? 'zscores' : fuser, limit: LIST }).map(({ id, fused }) => [id, fused]);
}

const ranked = (hits: readonly { id: string; score: number }[]): Fuse[1] => hits.map((hit, at) => ({ ...hit, rank: at + 1 }));
