// Two lists of an index become one score. Pure. Scores of the two lists have nothing in common (a cosine, BM25), so each is
// brought to standard deviations from its own mean before they are added. What stands beside a hit in the run it comes from
// counts in part: a question is often answered by the sentence before or after the one that shares its words. Ranks alone
// (`rrf`) and shares of the best (`weighted`) are kept as settings to be measured against: see docs/eval-recall.md.
import type { Hit } from '../domain/vector-index.ts';

export const FUSERS = ['context', 'zscores', 'weighted', 'rrf'] as const;
export type Fuser = (typeof FUSERS)[number];
export const DEFAULT_FUSER: Fuser = 'context';

export interface Fused { readonly id: string; readonly dense: number; readonly sparse: number; readonly fused: number }

/** A memory among those of its run, in the order they were written. */
export interface Place { readonly id: string; readonly run: string; readonly before: string | null; readonly after: string | null }

export interface FuseOptions {
  readonly fuser: Fuser;
  /** Share of the dense list in `weighted`; the rest is the words'. */
  readonly denseShare: number;
  /** Dense hits below this cosine count for nothing: noise has a cosine too. */
  readonly floor: number;
  /** Hits asked of each list: a list that is full says nothing about scores below its last. */
  readonly limit: number;
  /** Of the hits; only `context` reads it. */
  readonly places?: readonly Place[];
}

/** The usual constant of reciprocal rank fusion. */
const RRF_K = 60;
/** What a neighbour's score counts for, and what the best of the whole run does. An answer stands behind
 *  the question it answers, and it is that question whose words are asked again: what stands before counts twice what follows. */
const BEFORE = 0.4;
const AFTER = 0.2;
const RUN = 0.2;
/** The last of a list still was found. */
const LEAST = 0.1;

type Scores = ReadonlyMap<string, number>;

export function fuseHits(dense: readonly Hit[], sparse: readonly Hit[], options: FuseOptions): Fused[] {
  const near = dense.filter((hit) => hit.score >= options.floor);
  const fused = scorerOf(options)(near, sparse, options);
  const cosines = scoresOf(dense);
  const words = scoresOf(sparse);
  return [...fused].map(([id, score]) => ({ id, dense: cosines.get(id) ?? 0, sparse: words.get(id) ?? 0, fused: score })).sort((a, b) => b.fused - a.fused || (a.id < b.id ? -1 : 1));
}

type Scorer = (near: readonly Hit[], sparse: readonly Hit[], options: FuseOptions) => Scores;
const scorerOf = ({ fuser }: FuseOptions): Scorer => (fuser === 'context' || fuser === 'zscores' ? byDeviation : byShare);

// ---- standard deviations, added

function byDeviation(near: readonly Hit[], sparse: readonly Hit[], { fuser, floor, limit, places = [] }: FuseOptions): Scores {
  const beside = withNeighbours(fuser === 'context' ? places : []);
  // Above what an unlisted row may have at most, so that "not in the list" is 0 in both.
  const base = near.length < limit ? floor : Math.max(floor, near.at(-1)?.score ?? floor);
  const meaning = new Map(near.map((hit) => [hit.id, Math.max(0, hit.score - base)]));
  const words = scoresOf(sparse);
  const found = [...new Set([...near, ...sparse, ...beside.values()].map(({ id }) => id))].map((id) => {
    const place = beside.get(id);
    return { id, run: place?.run ?? '', meaning: spread(meaning, place, id), words: spread(words, place, id) };
  }).filter((one) => one.meaning + one.words > 0 || meaning.has(one.id));
  const parts = [deviations(found.map((one) => one.meaning)), deviations(found.map((one) => one.words))];
  const runs = beside.size === 0 ? [] : [bestOfRuns(words, beside), bestOfRuns(meaning, beside)].map((best) => deviations(found.map(({ run }) => best.get(run) ?? 0)));
  const sums = found.map((_, at) => parts.reduce((sum, part) => sum + (part[at] ?? 0), 0) + RUN * runs.reduce((sum, part) => sum + (part[at] ?? 0), 0));
  const least = Math.min(...sums);
  const width = Math.max(...sums) - least;
  return new Map(found.map(({ id }, at) => [id, width > 0 ? LEAST + (1 - LEAST) * (((sums[at] ?? 0) - least) / width) : 1]));
}

/** The places of the hits and of what stands beside them, as far as these know: who stands beside a neighbour and is no hit has no score to give. */
function withNeighbours(places: readonly Place[]): Map<string, Place> {
  const all = new Map(places.map((place) => [place.id, place]));
  const hits = new Set(all.keys());
  const add = (id: string | null, run: string, side: Partial<Place>): void => {
    if (id !== null && !hits.has(id)) all.set(id, { ...(all.get(id) ?? { id, run, before: null, after: null }), ...side });
  };
  for (const { id, run, before, after } of places) {
    add(before, run, { after: id });
    add(after, run, { before: id });
  }
  return all;
}

function spread(scores: Scores, place: Place | undefined, id: string): number {
  return (scores.get(id) ?? 0) + BEFORE * (scores.get(place?.before ?? '') ?? 0) + AFTER * (scores.get(place?.after ?? '') ?? 0);
}

function bestOfRuns(scores: Scores, beside: ReadonlyMap<string, Place>): Map<string, number> {
  const best = new Map<string, number>();
  for (const { id, run } of beside.values()) best.set(run, Math.max(best.get(run) ?? 0, scores.get(id) ?? 0));
  return best;
}

/** All 0 where nothing differs: such a list decides nothing. */
function deviations(values: readonly number[]): number[] {
  const mean = values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / Math.max(1, values.length));
  return values.map((value) => (deviation > 0 ? (value - mean) / deviation : 0));
}

// ---- shares of the best, or of the best rank

function byShare(near: readonly Hit[], sparse: readonly Hit[], { fuser, denseShare }: FuseOptions): Scores {
  const [d, s] = fuser === 'rrf' ? [byRank(near), byRank(sparse)] : [ofBest(near), ofBest(sparse)];
  // A list that is not there must not halve the other's scores.
  const share = near.length === 0 ? 0 : sparse.length === 0 ? 1 : denseShare;
  return new Map([...new Set([...d.keys(), ...s.keys()])].map((id) => [id, share * (d.get(id) ?? 0) + (1 - share) * (s.get(id) ?? 0)]));
}

const scoresOf = (hits: readonly Hit[]): Map<string, number> => new Map(hits.map((hit) => [hit.id, hit.score]));

function ofBest(hits: readonly Hit[]): Map<string, number> {
  const best = Math.max(0, ...hits.map((hit) => hit.score));
  return new Map(hits.map((hit) => [hit.id, best > 0 ? Math.max(0, hit.score) / best : 0]));
}

const byRank = (hits: readonly Hit[]): Map<string, number> => new Map(hits.map((hit) => [hit.id, (RRF_K + 1) / (RRF_K + hit.rank)]));
