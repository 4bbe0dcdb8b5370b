// Looks for what a broken product does wrong, with one seed after another: whether a fault meets the moment that a mutant needs
// is chance, on a slow machine more than elsewhere, and one seed that catches it is proof enough.
import type { InvariantId } from './invariants.ts';
import { caughtBy, type MutantName } from './mutants.ts';
import { runChaos, type ChaosOptions, type ChaosReport } from './run-chaos.ts';

const SEEDS = 5;
/** What a mutant leaves unfinished is not waited for as long as a sound product's runs. */
const REST_MS = 15_000;
const CALM_MS = 5_000;

/** The report of the seed that caught it, or of the last. `told` hears each. */
export async function catchMutant(options: ChaosOptions & { readonly mutant: MutantName }, told?: (report: ChaosReport, caught: readonly InvariantId[]) => void): Promise<{ readonly report: ChaosReport; readonly caught: readonly InvariantId[] }> {
  for (let tries = 1; ; tries++) {
    const report = await runChaos({ restMs: REST_MS, calmMs: CALM_MS, ...options, seed: options.seed + tries - 1 });
    const caught = caughtBy(options.mutant, report.violations);
    told?.(report, caught);
    if (caught.length > 0 || tries === SEEDS) return { report, caught };
  }
}
