// How much there is to do, counted in Postgres and not from a queue's length: for the autoscaler, for /metrics, and by tenant.
// Every arm reads a partial index of unfinished runs, so that the history costs nothing; 200,000 due runs cost about half a
// second, which is why maintenance asks every GAUGES_MS only.
import { TENANTS_SHOWN } from '../../domain/tunables.ts';
import type { EnginePool } from './pool.ts';

export interface Work {
  /** Could start now. */
  readonly runnable: number;
  /** Held by a worker, dead or alive. */
  readonly running: number;
  /** Due within a minute. */
  readonly dueSoon: number;
  /** Due now or within a minute, and no living worker of the pool has the version. */
  readonly blocked: number;
  /** What a pool is scaled by: runnable + running + dueSoon. */
  readonly work: number;
  /** Age of the oldest due run, blocked ones included: a queue may be stuck in that way too. */
  readonly oldestMs: number;
  /** The TENANTS_SHOWN that have most due runs, blocked ones included; null: all others together. */
  readonly tenants: readonly { readonly tenant: string | null; readonly due: number; readonly oldestMs: number }[];
}

// A blocked run is no work to scale by: a pool grows by workers of its present build, which cannot run it either, and would stay
// at its largest until somebody deploys the version. A pool without any living worker blocks nothing: what it needs is a
// worker, and to read 0 there would keep it without one.
const WORK = `
WITH known AS MATERIALIZED (SELECT array_agg(m) AS machines FROM workers w, unnest(w.machines) m WHERE w.pool = $1 AND w.ended_at IS NULL AND w.lease_until > now()),
grouped AS MATERIALIZED (
  SELECT tenant_id, agent || '@' || version AS machine, count(*) FILTER (WHERE wake_at <= now()) AS due, count(*) FILTER (WHERE wake_at > now()) AS soon, greatest(0, extract(epoch FROM now() - min(wake_at)) * 1000) AS age
  FROM agent_runs WHERE pool = $1 AND status IN ('queued', 'waiting') AND wake_at IS NOT NULL AND wake_at <= now() + interval '1 minute' GROUP BY tenant_id, agent, version
), d AS MATERIALIZED (SELECT g.*, coalesce(g.machine <> ALL (known.machines), false) AS blocked FROM grouped g, known),
t AS (SELECT tenant_id, sum(due) AS due, max(age) AS age, row_number() OVER (ORDER BY sum(due) DESC, tenant_id) AS place FROM d WHERE due > 0 GROUP BY tenant_id),
shown AS (SELECT CASE WHEN place <= ${TENANTS_SHOWN} THEN tenant_id END AS tenant, sum(due)::int AS due, max(age)::float8 AS "oldestMs" FROM t GROUP BY 1)
SELECT coalesce(sum(due) FILTER (WHERE NOT blocked), 0)::int AS runnable, coalesce(sum(soon) FILTER (WHERE NOT blocked), 0)::int AS "dueSoon", coalesce(sum(due + soon) FILTER (WHERE blocked), 0)::int AS blocked,
  (SELECT count(*)::int FROM agent_runs WHERE pool = $1 AND status = 'running') AS running, coalesce(max(age), 0)::float8 AS "oldestMs", (SELECT coalesce(json_agg(shown), '[]') FROM shown) AS tenants FROM d`;

export async function workOf(pool: EnginePool, runPool: string): Promise<Work> {
  const { rows } = await pool.query<Omit<Work, 'work'>>({ name: 'work', text: WORK, values: [runPool] });
  const row = rows[0] as Omit<Work, 'work'>;
  return { ...row, work: row.runnable + row.running + row.dueSoon };
}

export interface MemoryWork {
  /** Rows the index does not hold as they are; `oldestMs`: of those that could be found. */
  readonly owed: readonly { readonly table: string; readonly rows: number; readonly oldestMs: number }[];
  readonly quarantined: number;
}

/** What memory has yet to do. A row that was said again is as old as that: what it says may have changed. */
export async function memoryWork(pool: EnginePool): Promise<MemoryWork> {
  const arm = (table: string, live: string, since: string): string =>
    `SELECT '${table}' AS name, count(*)::int AS rows, coalesce(extract(epoch FROM now() - min(${since}) FILTER (WHERE ${live})) * 1000, 0)::float8 AS "oldestMs" FROM ${table} WHERE indexed_generation IS NULL`;
  const { rows } = await pool.query<{ name: string; rows: number; oldestMs: number }>({ name: 'memory-work', text: `
    ${arm('memories', 'valid_to IS NULL', 'greatest(created_at, last_seen_at)')} UNION ALL ${arm('run_summaries', 'erased_at IS NULL', 'created_at')} UNION ALL ${arm('document_chunks', 'closed_at IS NULL', 'created_at')}
    UNION ALL SELECT 'quarantine', count(*)::int, 0 FROM memory_candidates WHERE decision = 'QUARANTINE' AND promoted_at IS NULL` });
  return { owed: rows.filter(({ name }) => name !== 'quarantine').map(({ name, ...row }) => ({ table: name, ...row })), quarantined: rows.find(({ name }) => name === 'quarantine')?.rows ?? 0 };
}

/** Unfinished runs by status, the product's own left out: one arm for each index they stand in. */
export async function statusCounts(pool: EnginePool): Promise<{ status: string; count: number }[]> {
  const { rows } = await pool.query<{ status: string; count: number }>({ name: 'status-counts', text: `
    SELECT status::text AS status, count(*)::int AS count FROM (
      SELECT status FROM agent_runs WHERE status = 'running' AND visible
      UNION ALL SELECT status FROM agent_runs WHERE status IN ('queued', 'waiting') AND wake_at IS NOT NULL AND visible
      UNION ALL SELECT status FROM agent_runs WHERE status = 'waiting' AND wake_at IS NULL AND visible
    ) s GROUP BY 1` });
  return rows;
}
