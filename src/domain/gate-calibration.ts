// From which cosine on are two statements the same, for one embedder? Told from labelled pairs of that embedder's own cosines, since the scales
// of two models have nothing to do with each other. Only pairs whose guards pass count for the upper bound: the gate merges no others.
import { z } from 'zod';
import { MainstayError } from './errors.ts';
import { guardFaults } from './gate-duplicates.ts';

/** Of those from `high` on, the share that must be the same; of those that are the same, the share from `low` on. */
const PRECISION = 0.98;
const RECALL = 0.95;
/** Pairs of each kind below which a bound is chance. */
const FEWEST = 20;

const words = z.string().trim().min(1).max(300);
export const pairsSchema = z.array(z.strictObject({
  a: words, b: words,
  /** Whether both say the same of the same. */
  same: z.boolean(),
  /** What each says of its property; left out: not compared. */
  values: z.tuple([words, words]).optional(),
})).max(20_000);
export type Pair = z.infer<typeof pairsSchema>[number];
export interface Measured extends Pair { readonly cosine: number }
export interface Bounds { readonly high: number; readonly low: number }

/** `high`: the lowest cosine from which on, guards passed, 98 % are the same; `low`: from here on lie 95 % of those that are, never above `high`.
 *  Throws `bad_request` for too few pairs, or an embedder that does not tell them apart. */
export function calibrate(pairs: readonly Measured[]): Bounds {
  const same = pairs.filter((pair) => pair.same);
  const passing = pairs.filter(({ a, b, values = ['', ''] }) => guardFaults({ statement: a, value: values[0] }, { statement: b, value: values[1] }).length === 0).sort((x, y) => y.cosine - x.cosine);
  const [alike, different] = [passing.filter((pair) => pair.same).length, pairs.length - same.length];
  if (alike < FEWEST || different < FEWEST) throw new MainstayError('bad_request', `${alike} pairs are the same and agree in numbers, dates, names, units and denials, ${different} are not the same: at least ${FEWEST} of each are needed.`);
  const [first] = passing.toReversed().filter((pair) => pair.same && precisionFrom(passing, pair.cosine) >= PRECISION);
  const high = first?.cosine;
  if (high === undefined) throw new MainstayError('bad_request', 'No cosine of this embedder tells pairs that are the same from others: it should merge nothing by meaning.');
  const cosines = same.map(({ cosine }) => cosine).sort((x, y) => y - x);
  return { high, low: Math.max(0, Math.min(high, cosines[Math.ceil(cosines.length * RECALL) - 1] ?? high)) };
}

function precisionFrom(pairs: readonly Measured[], cosine: number): number {
  const merged = pairs.filter((pair) => pair.cosine >= cosine);
  return merged.filter((pair) => pair.same).length / merged.length;
}
