// From which cosine on two statements may be the same, per embedder: the scales of two models have nothing to do with each
// other. An embedder without a row here merges nothing by meaning; identical words and slots still count. Rows are
// calibrated on the pairs in test/support/gate-pairs.ts; `high` alone never merges, the guards of gate-duplicates.ts decide.
export interface Thresholds {
  /** From here on, with all guards passed, a paraphrase. */
  readonly high: number;
  /** From here on to `high`: kept apart, noted as related. */
  readonly low: number;
  /** ISO date */
  readonly calibratedAt: string;
  readonly pairs: number;
}

const ROWS: readonly (readonly [fingerprint: RegExp, thresholds: Thresholds])[] = [
  // Paraphrases .823 to .983, same topic up to .794, unrelated up to .071; near misses .62 to .99, which only the guards tell.
  [/^builtin:.*minilm/i, { high: 0.82, low: 0.60, calibratedAt: '2026-11-24', pairs: 48 }],
];

export const thresholdsOf = (fingerprint: string): Thresholds | undefined => ROWS.find(([pattern]) => pattern.test(fingerprint))?.[1];
