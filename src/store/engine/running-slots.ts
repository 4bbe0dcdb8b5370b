// The slots that running runs of a pool hold, as Postgres knows them: what a ready queue that was lost must be told before it
// hands out more, or a tenant at its limit would be served past it until the first of them ends.
import type { EnginePool } from './pool.ts';
import { limitsOf } from './sweeps.ts';

export interface RunningSlot { readonly tenant: string; readonly run: string; /** Until its worker's lease ends. */ readonly leftMs: number; /** As in Ready. */ readonly limits: string }

/** Only runs that hold a permit: the others' slots are not counted. */
export async function runningSlots(pool: EnginePool, runPool: string): Promise<RunningSlot[]> {
  const { rows } = await pool.query<RunningSlot>(`
    SELECT r.tenant_id AS tenant, r.id AS run, (extract(epoch FROM w.lease_until - now()) * 1000)::float8 AS "leftMs", ${limitsOf('r')} AS limits
    FROM workers w JOIN agent_runs r ON r.claimed_by = w.incarnation AND r.status = 'running'
    WHERE w.pool = $1 AND w.ended_at IS NULL AND w.lease_until > now() AND r.pool = $1 AND num_nonnulls(r.tenant_permit, r.agent_permit, r.key_permit) > 0 ORDER BY 1, 2`, [runPool]);
  return rows;
}
