// What was used and what it cost: sums over model calls by day (UTC), agent, model and lane, from the ledger itself. A call that
// was refused before it began is none.
import type { TenantTx } from './app-store.ts';

export interface UsageRow {
  readonly tenantId: string;
  /** YYYY-MM-DD */
  readonly day: string;
  readonly agent: string;
  readonly model: string;
  /** `live` or `batch` */
  readonly lane: string;
  readonly calls: number;
  readonly runs: number;
  /** Calls whose usage nobody learnt; they count as their reserve. */
  readonly bookedCalls: number;
  readonly inputTokens: number;
  readonly cacheReadTokens: number;
  readonly cacheWrite5mTokens: number;
  readonly cacheWrite1hTokens: number;
  readonly outputTokens: number;
  readonly costMicroUsd: number;
}

/** Calls that began in [from, to). `user` narrows it to the runs of one user. */
export async function usage(tx: TenantTx, { from, to, user }: { from: Date; to: Date; user?: string | undefined }): Promise<UsageRow[]> {
  const { tenant } = tx.scope;
  return tx.own(await tx.db.$queryRaw<UsageRow[]>`
    SELECT m.tenant_id AS "tenantId", to_char(m.started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, m.agent, m.model, m.lane, count(*)::int AS calls, count(DISTINCT m.run_id)::int AS runs,
      count(*) FILTER (WHERE m.status = 'booked')::int AS "bookedCalls",
      sum(m.input_tokens)::float8 AS "inputTokens", sum(m.cache_read_tokens)::float8 AS "cacheReadTokens", sum(m.cache_write_5m_tokens)::float8 AS "cacheWrite5mTokens",
      sum(m.cache_write_1h_tokens)::float8 AS "cacheWrite1hTokens", sum(m.output_tokens)::float8 AS "outputTokens", sum(m.cost_micro_usd)::float8 AS "costMicroUsd"
    FROM model_calls m
    WHERE m.tenant_id = ${tenant} AND m.started_at >= ${from} AND m.started_at < ${to} AND m.status <> 'failed'
      AND (${user ?? null}::text IS NULL OR EXISTS (SELECT FROM agent_runs r WHERE r.tenant_id = m.tenant_id AND r.id = m.run_id AND r.user_id = ${user ?? null}))
    GROUP BY 1, 2, 3, 4, 5 ORDER BY 2, 3, 4, 5 LIMIT 10000`);
}
