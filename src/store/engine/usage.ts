// What all tenants used, for whoever runs the fleet: sums over the ledger by tenant, model and lane, the dearest tenant first.
import type { EnginePool } from './pool.ts';

export interface TenantUsage {
  readonly tenant: string;
  /** `tool:<name>` for tools that cost */
  readonly model: string;
  readonly lane: string;
  readonly runs: number;
  readonly calls: number;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly costMicroUsd: number;
}

/** Calls that began in [from, to). */
export async function usageOfTenants(pool: EnginePool, from: Date, to: Date): Promise<TenantUsage[]> {
  const { rows } = await pool.query<TenantUsage>(`
    SELECT tenant_id AS tenant, model, lane, count(DISTINCT run_id)::int AS runs, count(*)::int AS calls, sum(input_tokens + cache_read_tokens + cache_write_5m_tokens + cache_write_1h_tokens)::float8 AS "inputTokens",
      sum(output_tokens)::float8 AS "outputTokens", sum(cost_micro_usd)::float8 AS "costMicroUsd"
    FROM model_calls WHERE started_at >= $1 AND started_at < $2 AND status <> 'failed' GROUP BY 1, 2, 3
    ORDER BY sum(sum(cost_micro_usd)) OVER (PARTITION BY tenant_id) DESC, 1, 8 DESC LIMIT 10000`, [from, to]);
  return rows;
}
