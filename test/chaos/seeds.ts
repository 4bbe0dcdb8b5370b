// Seeds that once found something, each with what it found: run again by `npm run chaos -- --regressions`.
export interface KnownSeed { readonly seed: number; readonly minutes: number; readonly found: string }

export const KNOWN_SEEDS: readonly KnownSeed[] = [
  { seed: 42, minutes: 3, found: 'an unkeyed call whose result was recorded and the answer to that lost: its run waited for a person who had nothing to settle (I1)' },
  { seed: 45, minutes: 3, found: 'four delayed jobs 40 seconds after all had ended: a delayed job may lie for 60, and longer where the clock of its writer stood ahead' },
  { seed: 71, minutes: 3, found: 'a claim that waited for the checkpoint of a worker cut off from PostgreSQL went on without its data: the run began again and its effect was applied twice (I7)' },
  { seed: 105, minutes: 2, found: 'delayed jobs ten minutes ahead, left by a process whose clock had jumped: nobody removed them (I17)' },
];
