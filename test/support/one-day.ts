// For tests of what a day or a month has cost: they must not see it turn.
import { pause, wallMs } from '../../src/clock.ts';

const DAY_MS = 86_400_000;
/** Longer than such a file takes on a busy machine. */
const FILE_MS = 120_000;

/** Resolves at once, or in the last two minutes of a UTC day when that day is over. */
export async function dayThatLasts(): Promise<void> {
  const leftMs = DAY_MS - (wallMs() % DAY_MS);
  if (leftMs < FILE_MS) await pause(leftMs + 1_000);
}
