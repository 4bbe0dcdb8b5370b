// What was used and what it cost: sums over model calls by day (UTC), agent and model, from the ledger itself.
import type { TenantTx } from './app-store.ts';

export interface UsageRow {
  readonly tenantId: string;
  /** YYYY-MM-DD */
  readonly day: string;
  readonly agent: string;
  readonly model: string;
  readonly calls: number;
  readonly runs: number;
  readonly inputTokens: number;
  readonly cacheReadTokens: number;
  readonly cacheWriteTokens: number;
  readonly outputTokens: number;
  readonly costMicroUsd: number;
}

/** Calls that began in [from, to). `user` narrows it to the runs of one user. */
export async function usage(tx: TenantTx, { from, to, user }: { from: Date; to: Date; user?: string | undefined }): Promise<UsageRow[]> {
  const { tenant } = tx.scope;
  return tx.own(await tx.db.$queryRaw<UsageRow[]>`
    SELECT m.tenant_id AS "tenantId", to_char(m.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, m.agent, m.model, count(*)::int AS calls, count(DISTINCT m.run_id)::int AS runs,
      sum(m.input_tokens)::float8 AS "inputTokens", sum(m.cache_read_tokens)::float8 AS "cacheReadTokens",
      sum(m.cache_write_5m_tokens + m.cache_write_1h_tokens)::float8 AS "cacheWriteTokens", sum(m.output_tokens)::float8 AS "outputTokens", sum(m.cost_micro_usd)::float8 AS "costMicroUsd"
    FROM model_calls m
    WHERE m.tenant_id = ${tenant} AND m.started_at >= ${from} AND m.started_at < ${to}
      AND (${user ?? null}::text IS NULL OR EXISTS (SELECT FROM agent_runs r WHERE r.tenant_id = m.tenant_id AND r.id = m.run_id AND r.user_id = ${user ?? null}))
    GROUP BY 1, 2, 3, 4 ORDER BY 2, 3, 4 LIMIT 10000`);
}
