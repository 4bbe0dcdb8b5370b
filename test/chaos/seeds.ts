// Seeds that once found something, each with what it found: run again by `npm run chaos -- --regressions`.
export interface KnownSeed { readonly seed: number; readonly minutes: number; readonly found: string }

export const KNOWN_SEEDS: readonly KnownSeed[] = [];
