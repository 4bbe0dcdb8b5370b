// The slots that running runs of a pool hold, as Postgres knows them: what a ready queue that was lost must be told before it
// hands out more, or a tenant at its limit would be served past it until the first of them ends.
import type { EnginePool } from './pool.ts';

export interface RunningSlot { readonly tenant: string; readonly run: string; /** Until its worker's lease ends. */ readonly leftMs: number }

/** Only of tenants that have a limit: the others' slots are not counted. */
export async function runningSlots(pool: EnginePool, runPool: string): Promise<RunningSlot[]> {
  const { rows } = await pool.query<RunningSlot>(`
    SELECT r.tenant_id AS tenant, r.id AS run, (extract(epoch FROM w.lease_until - now()) * 1000)::float8 AS "leftMs"
    FROM workers w JOIN agent_runs r ON r.claimed_by = w.incarnation AND r.status = 'running' JOIN tenants t ON t.id = r.tenant_id
    WHERE w.pool = $1 AND w.ended_at IS NULL AND w.lease_until > now() AND r.pool = $1 AND t.max_running IS NOT NULL ORDER BY 1, 2`, [runPool]);
  return rows;
}
