// What people say of memories and runs, and what follows from it. Pure.
import { createHash } from 'node:crypto';

export const MEMORY_FEEDBACK = ['useful', 'wrong', 'outdated'] as const;
/** `wrong`: it never held. `outdated`: it holds no more. */
export type MemoryFeedback = (typeof MEMORY_FEEDBACK)[number];

/** A tenth of the doubt that is left goes with each word of praise. */
export const praised = (confidence: number): number => Math.round((confidence + (1 - confidence) / 10) * 1_000) / 1_000;

/** Uses of a procedure of which it is known what came of them, the newest: fewer say little, and older ones may be of another time. */
export const TRIED_USES = 10;
/** It has failed when it was tried so often and came to something in less than two of five. */
export const hasFailed = ({ n, yes }: Rate): boolean => n >= TRIED_USES && yes / n < 0.4;

/** A memory that so many runs were shown, and that none of their answers cited or bore out, is unused. */
export const UNUSED_RUNS = 20;

/** `told`: all that fits. `held_out`: no memories. `left_out`: all but one. Constraints are told in all of them. */
export const ARMS = ['told', 'held_out', 'left_out'] as const;
export type Arm = (typeof ARMS)[number];
/** Shares of all runs, 0 to 0.5. */
export interface ArmShares { readonly holdout?: number | undefined; readonly leaveOneOut?: number | undefined }

/** Of a run, by its id: the same whenever it is asked. `leaveOneOut` is a share of those that are not held out. */
export function armOf(run: string, { holdout = 0, leaveOneOut = 0 }: ArmShares): Arm {
  if (shareOf(`holdout ${run}`) < holdout) return 'held_out';
  return shareOf(`leave one out ${run}`) < leaveOneOut ? 'left_out' : 'told';
}

/** The one of these that a run goes without, by chance and the same whenever it is asked; never a constraint. */
export function leftOutOf(run: string, memories: readonly { readonly id: string; readonly type: string }[]): string | undefined {
  const lots = memories.filter(({ type }) => type !== 'constraint').map(({ id }) => ({ id, lot: shareOf(`leave ${id} out of ${run}`) }));
  return lots.sort((a, b) => a.lot - b.lot)[0]?.id;
}

/** 0 to 1, below 1: a number drawn for these words. */
const shareOf = (words: string): number => createHash('sha256').update(words).digest().readUInt32BE(0) / 2 ** 32;

/** Outcomes of runs of one kind: how many said something, and their sums. */
export interface Outcomes { readonly runs: number; readonly satisfied: Rate; readonly resolved: Rate; readonly handlingMs: Mean }
/** Of `n` who said, `yes` said yes. */
export interface Rate { readonly n: number; readonly yes: number }
export interface Mean { readonly n: number; readonly sum: number; readonly squares: number }

/** A difference with its 95 % interval; null where one side has fewer than two. */
export interface Difference { readonly difference: number; readonly from: number; readonly to: number }

const Z = 1.96;
const difference = (a: number, b: number, variance: number): Difference => ({ difference: a - b, from: a - b - Z * Math.sqrt(variance), to: a - b + Z * Math.sqrt(variance) });

/**
 * Share of yes with memory less the share without: Wald, with `prior` of yes and of no added to each side, so that few answers claim little
 * (1: Agresti and Caffo's interval; 2: shrunk by a Beta(2, 2) prior, for shares of which there are many, as by type).
 */
export function rateDifference(treated: Rate, heldOut: Rate, prior = 1): Difference | null {
  if (treated.n < 2 || heldOut.n < 2) return null;
  const [p, q] = [treated, heldOut].map(({ n, yes }) => ({ n: n + 2 * prior, share: (yes + prior) / (n + 2 * prior) })) as [{ n: number; share: number }, { n: number; share: number }];
  return difference(p.share, q.share, (p.share * (1 - p.share)) / p.n + (q.share * (1 - q.share)) / q.n);
}

/** Mean with memory less the mean without (Welch). */
export function meanDifference(treated: Mean, heldOut: Mean): Difference | null {
  if (treated.n < 2 || heldOut.n < 2) return null;
  const [a, b] = [treated, heldOut].map(({ n, sum, squares }) => ({ mean: sum / n, error: Math.max(0, (squares - sum ** 2 / n) / (n - 1)) / n })) as [{ mean: number; error: number }, { mean: number; error: number }];
  return difference(a.mean, b.mean, a.error + b.error);
}
