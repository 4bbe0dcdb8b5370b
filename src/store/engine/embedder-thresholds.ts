// What was measured of embedders: from which cosine on the gate takes two statements for the same. Of all tenants alike.
import type { EnginePool } from './pool.ts';

/** The last measurement of an embedder counts. */
export async function keepThresholds(pool: EnginePool, embedder: string, { high, low, pairs }: { readonly high: number; readonly low: number; readonly pairs: number }): Promise<void> {
  await pool.query(`INSERT INTO embedder_thresholds (embedder, high, low, pairs) VALUES ($1, $2, $3, $4) ON CONFLICT (embedder) DO UPDATE SET high = $2, low = $3, pairs = $4, calibrated_at = now()`, [embedder, high, low, pairs]);
}
