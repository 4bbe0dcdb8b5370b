// Finds memories for words: by meaning and words in the index, by key and by what the index does not hold yet in Postgres,
// where every id is read again under tenant, user and agent before a word of it is used. An index that does not answer in a
// second is left out: full text and exact vectors of what the searcher may see stand in, and the answer is marked degraded.
// What held at an earlier time is asked of Postgres alone, for the index keeps only what holds now.
import { monoMs } from '../clock.ts';
import { fold } from '../domain/gate-words.ts';
import type { Hit } from '../domain/vector-index.ts';
import type { Metrics } from '../metrics.ts';
import type { SqlTx } from '../store/app-store.ts';
import { memoriesById, type Memory } from '../store/read-memories.ts';
import { memoriesOf, memoryEpoch, namedMemories, placesOf, queryWords, vectorsFor, type NamedRow, type NamingQuery, type PlaceRow, type RecalledRow, type RecallScope } from '../store/recall-memories.ts';
import { readMuch } from '../store/statements.ts';
import { fuseHits, type Fused } from './fuse-hits.ts';
import { keepHits, knownHits, placeOf, rankKnown, type KnownDeps, type KnownHits } from './known-hits.ts';
import { scoreRows, type Scored } from './rank-memories.ts';
import { embedQuery, fusionOf, listsOf, nearest, searchable, type SearchDeps } from './search-lists.ts';

export interface FindDeps extends SearchDeps, Pick<KnownDeps, 'cache'> {
  readonly metrics?: Pick<Metrics, 'recallDegraded' | 'recallCache'> | undefined;
}

export interface FindRequest {
  readonly tenant: string;
  readonly user: string | undefined;
  readonly agent: string;
  /** What was found in it is known for a while. */
  readonly session?: string | undefined;
  readonly query: string;
  /** What held then, in milliseconds since 1970; unset: what holds now. */
  readonly asOfMs?: number | undefined;
}

/** What was learned outside of any transaction; `lists` undefined: the index was not asked or did not answer. */
export interface Searched {
  /** As it was searched with: without secrets, cut to what an embedder reads. */
  readonly query: string;
  readonly vector: number[] | undefined;
  readonly lists: { readonly dense: readonly Hit[]; readonly sparse: readonly Hit[] } | undefined;
  /** What the query names, and what the index does not hold yet; undefined: as yet unasked. */
  readonly named?: readonly NamedRow[] | undefined;
  /** Where the first of the list that came first stand in their runs; undefined: as yet unasked. */
  readonly places?: readonly PlaceRow[] | undefined;
  /** The embedder tells meaning and has answered. */
  readonly semantic: boolean;
  /** The index should have answered and did not. */
  readonly degraded: boolean;
  /** As of which memories it was looked for; undefined: nothing is kept. */
  readonly epoch: string | undefined;
  /** Of the search, the time in which the embedder or the index was at work. */
  readonly waitedMs: number;
  /** Found before, and nothing has changed since. */
  readonly known?: KnownHits;
}

export interface Ranked { readonly scored: readonly Scored[]; readonly fused: readonly Fused[] }

/** Hits asked of each list. */
const LIST = 150;
/** Of the fused ones, those that are read and ranked. */
const RANKED = 60;
/** Of each list, the hits whose neighbours are looked at. */
const PLACED = 30;
/** Words of the longest subject that a query can name, and words of a query that are looked at. */
const SUBJECT_WORDS = 5;
const NAMING_WORDS = 100;

/** Embeds and asks the index: a second for each at most. Throws only what Postgres throws. */
export async function searchIndex(deps: FindDeps, request: FindRequest): Promise<Searched> {
  const query = searchable(request.query);
  const semantic = deps.embedder.semantic;
  const startMs = monoMs();
  const embedding = embedQuery(deps, query).then((vector) => ({ vector, embedMs: monoMs() - startMs })); // begun at once: whoever knows nothing yet needs it
  // The epoch is read before anything else: what is found later is at least as new.
  const [epoch, words] = await deps.store.withStatements({ tenant: request.tenant, user: request.user ?? null }, (tx) => {
    const asked = Promise.all([deps.cache && memoryEpoch(tx, request), request.asOfMs === undefined ? queryWords(tx, query) : '']);
    tx.sendEnd();
    return asked;
  });
  const known = epoch === undefined ? undefined : await knownHits(deps, placeOf(deps, request, query, epoch));
  if (epoch !== undefined) deps.metrics?.recallCache.inc({ outcome: known ? 'hit' : 'miss' });
  if (known) return { query, vector: undefined, lists: undefined, semantic: known.semantic, degraded: false, epoch, waitedMs: 0, known };
  const naming = request.asOfMs === undefined ? nameMemories(deps, request, query) : undefined;
  naming?.catch(() => undefined); // met below
  const { vector, embedMs } = await embedding;
  if (naming === undefined) return { query, vector, lists: undefined, semantic: semantic && vector !== undefined, degraded: false, epoch, waitedMs: embedMs };
  const askedMs = monoMs();
  let placing: Promise<PlaceRow[]> | undefined;
  const heard = (hits: readonly Hit[]): void => { if (fusionOf(deps).fuser === 'context') placing ??= placeHits(deps, request, hits); };
  const lists = await listsOf(deps, 'memories', { ...request, vector, text: words, limit: LIST, heard });
  const waitedMs = embedMs + monoMs() - askedMs;
  return { query, vector, lists, named: lists && await naming, places: lists && await placing, semantic: semantic && vector !== undefined, degraded: lists === undefined, epoch, waitedMs };
}

/** In a transaction of its own, while the embedder and the index are at work. */
const nameMemories = (deps: FindDeps, request: FindRequest, query: string): Promise<NamedRow[]> =>
  deps.store.withStatements({ tenant: request.tenant, user: request.user ?? null }, (tx) => {
    const asked = namedMemories(tx, namingOf(deps, request, query, false));
    tx.sendEnd();
    return asked;
  });

/** In a transaction of its own, while the other list is on its way. */
function placeHits(deps: FindDeps, { tenant, user, agent }: FindRequest, hits: readonly Hit[]): Promise<PlaceRow[]> {
  const places = deps.store.withStatements({ tenant, user: user ?? null }, (tx) => {
    const asked = placesOf(tx, { user, agent }, hits.slice(0, PLACED).map(({ id }) => id));
    tx.sendEnd();
    return asked;
  });
  places.catch(() => undefined); // met by whoever waits for it, or of no use any more
  return places;
}

const namingOf = ({ index }: FindDeps, { user, agent, asOfMs }: FindRequest, query: string, fullText: boolean): NamingQuery =>
  ({ user, agent, asOfMs, query, subjects: runsOfWords(fold(query)), fullText, generation: index.generation });

/** Reads what was found, best first; everything in it is of this scope and holds. */
export async function rankFound(deps: FindDeps, tx: SqlTx, request: FindRequest, { query, vector, lists, semantic, degraded, epoch, known, ...searched }: Searched): Promise<Ranked> {
  const { user, agent, asOfMs } = request;
  const scope = { user, agent, asOfMs };
  if (known) return { scored: await rankKnown(tx, scope, known), fused: [] };
  if (lists === undefined) await readMuch(tx.db); // all that may be seen is read for its words
  const exact = lists === undefined && vector !== undefined ? nearest(vector, await vectorsFor(tx, scope, deps.embedder.fingerprint), LIST) : [];
  const [dense, sparse] = [lists?.dense ?? exact, lists?.sparse ?? []];
  const fusion = fusionOf(deps);
  const places = fusion.fuser === 'context' ? await placesOfBoth(tx, scope, [...dense.slice(0, PLACED), ...sparse.slice(0, PLACED)], searched.places) : [];
  const fused = fuseHits(dense, sparse, { ...fusion, places, limit: LIST }).slice(0, RANKED);
  const named = searched.named ?? await namedMemories(tx, namingOf(deps, request, query, lists === undefined));
  const rows = await memoriesOf(tx, scope, [...new Set([...fused, ...named].map(({ id }) => id))]);
  const scored = scoreRows(withNames(rows, named), fused);
  if (epoch !== undefined && vector !== undefined && !degraded) keepHits(deps, placeOf(deps, request, query, epoch), scored, semantic);
  return { scored, fused };
}

/** Those that are known, and the rest. */
async function placesOfBoth(tx: SqlTx, scope: RecallScope, hits: readonly Hit[], known: readonly PlaceRow[] = []): Promise<PlaceRow[]> {
  const ids = new Set(hits.map(({ id }) => id));
  for (const { id } of known) ids.delete(id);
  return [...known, ...await placesOf(tx, scope, [...ids])];
}

function withNames(rows: readonly Omit<RecalledRow, 'slot' | 'words'>[], named: readonly NamedRow[]): RecalledRow[] {
  const slots = new Set(named.filter(({ slot }) => slot).map(({ id }) => id));
  const words = new Map(named.filter(({ slot }) => !slot).map((row) => [row.id, row.words]));
  return rows.map((row) => ({ ...row, slot: slots.has(row.id), words: words.get(row.id) ?? 0 }));
}

/** Best first, each as its row is now. */
export interface FoundMemories { readonly memories: readonly { readonly row: Memory; readonly score: number }[]; readonly semantic: boolean; readonly degraded: boolean }
/** For a person. Throws only what Postgres throws. */
export type FindMemories = (request: FindRequest, limit: number) => Promise<FoundMemories>;

export const makeFindMemories = (deps: FindDeps): FindMemories => async (request, limit) => {
  const searched = await searchIndex(deps, request);
  const memories = await deps.store.withTenant({ tenant: request.tenant, user: request.user ?? null }, async (tx) => {
    const best = (await rankFound(deps, tx, request, searched)).scored.slice(0, limit);
    const rows = new Map((await memoriesById(tx, best.map(({ row }) => row.id))).map((row) => [row.id, row]));
    return best.flatMap(({ row: { id }, score }) => { const row = rows.get(id); return row ? [{ row, score: Math.round(score * 10_000) / 10_000 }] : []; });
  });
  return { memories, semantic: searched.semantic, degraded: searched.degraded };
};

/** Runs of up to five words: a subject is named where it stands as whole words. */
function runsOfWords(folded: string): string[] {
  const words = folded.split(' ').filter(Boolean).slice(0, NAMING_WORDS);
  return [...new Set(words.flatMap((_, at) => Array.from({ length: Math.min(SUBJECT_WORDS, words.length - at) }, (__, more) => words.slice(at, at + more + 1).join(' '))))];
}
