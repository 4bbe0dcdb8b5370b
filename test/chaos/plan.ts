// The plan of faults: from the seed alone, so that the same seed gives the same faults in the same order with the same dice.
// First every kind once, in a shuffled order, then kinds at random until the load ends.
import { pick, seeded } from '../faults/seed.ts';

export interface Planned<Kind extends string> {
  readonly kind: Kind;
  /** After the load began. */
  readonly atMs: number;
  /** Seed of what this fault chooses: the victim, the place, the length. */
  readonly dice: number;
}

/** Before the first fault, so that there is something to break. */
const CALM_MS = 1_500;

/** A kind that stands in `kinds` more often is chosen more often. */
export function planFaults<Kind extends string>(seed: number, loadMs: number, kinds: readonly Kind[], perMinute: number): Planned<Kind>[] {
  const random = seeded(seed);
  const order = shuffled([...new Set(kinds)], random);
  const count = Math.max(order.length, Math.ceil((loadMs / 60_000) * perMinute));
  while (order.length < count) order.push(pick(kinds, random));
  const everyMs = (loadMs - CALM_MS) / (count + 1);
  return order.map((kind, at) => ({ kind, atMs: Math.round(CALM_MS + everyMs * (at + random() * 0.8)), dice: Math.floor(random() * 2 ** 31) }));
}

export function shuffled<T>(from: readonly T[], random: () => number): T[] {
  const left = [...from];
  const order: T[] = [];
  while (left.length > 0) order.push(...left.splice(Math.floor(random() * left.length), 1));
  return order;
}
