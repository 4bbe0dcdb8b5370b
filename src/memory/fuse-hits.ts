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
  /** Of the hits, in any order; only `context` reads it. */
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

/** Best first. */
export function fuseHits(dense: readonly Hit[], sparse: readonly Hit[], options: FuseOptions): Fused[] {
  const { fuser } = options;
  const fused = (fuser === 'context' || fuser === 'zscores' ? byDeviation : byShare)(dense, sparse, options);
  return fused.sort((a, b) => b.fused - a.fused || (a.id < b.id ? -1 : 1));
}

// ---- standard deviations, added

/** A hit of either list, or what stands beside one. `meaning`: what its cosine has above the least. */
interface Candidate { readonly id: string; cosine: number; meaning: number; words: number; listed: boolean; run: string; placed: boolean; before: Candidate | undefined; after: Candidate | undefined }

function byDeviation(dense: readonly Hit[], sparse: readonly Hit[], { fuser, floor, limit, places = [] }: FuseOptions): Fused[] {
  const candidates = new Map<string, Candidate>();
  const candidate = (id: string): Candidate => {
    let one = candidates.get(id);
    if (!one) candidates.set(id, one = { id, cosine: 0, meaning: 0, words: 0, listed: false, run: '', placed: false, before: undefined, after: undefined });
    return one;
  };
  const near = dense.filter((hit) => hit.score >= floor);
  // Above what an unlisted row may have at most, so that "not in the list" is 0 in both.
  const base = near.length < limit ? floor : Math.max(floor, near.at(-1)?.score ?? floor);
  for (const { id, score } of dense) { const one = candidate(id); one.cosine = score; one.listed = score >= floor; one.meaning = one.listed ? Math.max(0, score - base) : 0; }
  for (const { id, score } of sparse) candidate(id).words = score;
  // In one order: what is summed is then the same to the last digit, however the places came.
  if (fuser === 'context') place(candidate, places.toSorted((a, b) => (a.id < b.id ? -1 : 1)));
  const found: Candidate[] = [];
  candidates.forEach((one) => { if (one.listed || meaningOf(one) + wordsOf(one) > 0) found.push(one); });
  const sums = new Float64Array(found.length);
  addDeviations(sums, 1, found, meaningOf);
  addDeviations(sums, 1, found, wordsOf);
  const runs = bestOfRuns(candidates);
  if (runs.size > 0) {
    addDeviations(sums, RUN, found, ({ run }) => runs.get(run)?.words ?? 0);
    addDeviations(sums, RUN, found, ({ run }) => runs.get(run)?.meaning ?? 0);
  }
  const least = Math.min(...sums);
  const width = Math.max(...sums) - least;
  return found.map(({ id, cosine, words }, at) => ({ id, dense: cosine, sparse: words, fused: width > 0 ? LEAST + (1 - LEAST) * (((sums[at] ?? 0) - least) / width) : 1 }));
}

/** Links each hit with what stands beside it; a neighbour that is no hit knows the hits it stands beside, and nothing else. */
function place(candidate: (id: string) => Candidate, places: readonly Place[]): void {
  for (const { id, run } of places) { const hit = candidate(id); hit.run = run; hit.placed = true; }
  for (const { id, run, before, after } of places) {
    const hit = candidate(id);
    if (before !== null) { const beside = hit.before = candidate(before); if (!beside.placed) { beside.after = hit; beside.run ||= run; } }
    if (after !== null) { const beside = hit.after = candidate(after); if (!beside.placed) { beside.before = hit; beside.run ||= run; } }
  }
}

const meaningOf = ({ meaning, before, after }: Candidate): number => meaning + BEFORE * (before?.meaning ?? 0) + AFTER * (after?.meaning ?? 0);
const wordsOf = ({ words, before, after }: Candidate): number => words + BEFORE * (before?.words ?? 0) + AFTER * (after?.words ?? 0);

function bestOfRuns(candidates: ReadonlyMap<string, Candidate>): Map<string, Pick<Candidate, 'meaning' | 'words'>> {
  const best = new Map<string, Pick<Candidate, 'meaning' | 'words'>>();
  candidates.forEach(({ run, meaning, words }) => {
    if (run === '') return;
    const of = best.get(run);
    if (of) { of.meaning = Math.max(of.meaning, meaning); of.words = Math.max(of.words, words); }
    else best.set(run, { meaning, words });
  });
  return best;
}

/** To each sum its candidate's distance from the mean of all, in standard deviations. Where nothing differs nothing is decided. In plain loops:
 *  numbers that pass through callbacks are each an object more for the collector. */
function addDeviations(sums: Float64Array, share: number, found: readonly Candidate[], valueOf: (one: Candidate) => number): void {
  const values = new Float64Array(found.length);
  let [sum, squares] = [0, 0];
  for (let at = 0; at < values.length; at++) sum += values[at] = valueOf(found[at] as Candidate);
  const mean = sum / Math.max(1, values.length);
  for (let at = 0; at < values.length; at++) squares += ((values[at] as number) - mean) ** 2;
  const deviation = Math.sqrt(squares / Math.max(1, values.length));
  if (deviation > 0) for (let at = 0; at < values.length; at++) sums[at] = (sums[at] as number) + share * (((values[at] as number) - mean) / deviation);
}

// ---- shares of the best, or of the best rank

function byShare(dense: readonly Hit[], sparse: readonly Hit[], { fuser, denseShare, floor }: FuseOptions): Fused[] {
  const near = dense.filter((hit) => hit.score >= floor);
  const [d, s] = fuser === 'rrf' ? [byRank(near), byRank(sparse)] : [ofBest(near), ofBest(sparse)];
  const [cosines, words] = [dense, sparse].map((hits) => new Map(hits.map((hit) => [hit.id, hit.score])));
  // A list that is not there must not halve the other's scores.
  const share = near.length === 0 ? 0 : sparse.length === 0 ? 1 : denseShare;
  return [...new Set([...d.keys(), ...s.keys()])].map((id) => ({ id, dense: cosines?.get(id) ?? 0, sparse: words?.get(id) ?? 0, fused: share * (d.get(id) ?? 0) + (1 - share) * (s.get(id) ?? 0) }));
}

type Scores = ReadonlyMap<string, number>;

function ofBest(hits: readonly Hit[]): Scores {
  const best = Math.max(0, ...hits.map((hit) => hit.score));
  return new Map(hits.map((hit) => [hit.id, best > 0 ? Math.max(0, hit.score) / best : 0]));
}

const byRank = (hits: readonly Hit[]): Scores => new Map(hits.map((hit) => [hit.id, (RRF_K + 1) / (RRF_K + hit.rank)]));
