// Two lists of an index become one score. Pure. Scores of the two lists have nothing in common (a cosine, BM25), so each is
// brought to 0…1 by its own best first; ranks alone (`rrf`) are the other way, kept as a setting to be measured.
import type { Hit } from '../domain/vector-index.ts';

export type Fuser = 'weighted' | 'rrf';

export interface Fused { readonly id: string; readonly dense: number; readonly sparse: number; readonly fused: number }

export interface FuseOptions {
  readonly fuser: Fuser;
  /** Share of the dense list in `weighted`; the rest is the words'. */
  readonly denseShare: number;
  /** Dense hits below this cosine count for nothing: noise has a cosine too. */
  readonly floor: number;
}

/** The usual constant of reciprocal rank fusion. */
const RRF_K = 60;

export function fuseHits(dense: readonly Hit[], sparse: readonly Hit[], { fuser, denseShare, floor }: FuseOptions): Fused[] {
  const near = dense.filter((hit) => hit.score >= floor);
  const [d, s] = fuser === 'rrf' ? [byRank(near), byRank(sparse)] : [byScore(near), byScore(sparse)];
  const cosines = new Map(dense.map((hit) => [hit.id, hit.score]));
  const words = new Map(sparse.map((hit) => [hit.id, hit.score]));
  // A list that is not there must not halve the other's scores.
  const share = near.length === 0 ? 0 : sparse.length === 0 ? 1 : denseShare;
  const ids = new Set([...d.keys(), ...s.keys()]);
  return [...ids].map((id) => ({ id, dense: cosines.get(id) ?? 0, sparse: words.get(id) ?? 0, fused: share * (d.get(id) ?? 0) + (1 - share) * (s.get(id) ?? 0) }))
    .sort((a, b) => b.fused - a.fused || (a.id < b.id ? -1 : 1));
}

function byScore(hits: readonly Hit[]): Map<string, number> {
  const best = Math.max(0, ...hits.map((hit) => hit.score));
  return new Map(hits.map((hit) => [hit.id, best > 0 ? Math.max(0, hit.score) / best : 0]));
}

const byRank = (hits: readonly Hit[]): Map<string, number> => new Map(hits.map((hit) => [hit.id, (RRF_K + 1) / (RRF_K + hit.rank)]));
