// Worker rows: the lease of everything a worker has claimed is its own row's, renewed by one statement. A renewal that
// touches no row means the lease was over: the worker must fence itself. Order of a reclaim: the lease ends, its runs are
// claimed by others until it holds none, only then is the row retired; the other order loses runs with a second death.
import { guarded } from '../../guards.ts';
import { HANDED_BACK } from './suspects.ts';
import type { EnginePool } from './pool.ts';
import { READY, type Ready } from './sweeps.ts';

export interface WorkerRow { readonly id: bigint; readonly incarnation: string }

export interface NewWorker {
  readonly incarnation: string;
  readonly name: string;
  readonly pool: string;
  readonly machines: readonly string[];
  readonly leaseMs: number;
  /** The id whose lock it holds, and under which life of the server. Without it only its lease tells whether it lives. */
  readonly lock?: { readonly id: bigint; readonly life: string };
}

export async function registerWorker(pool: EnginePool, worker: NewWorker): Promise<WorkerRow> {
  const { rows } = await pool.query<WorkerRow>(
    `INSERT INTO workers (id, incarnation, name, pool, machines, lease_until, locked_under) VALUES (coalesce($6, nextval('worker_seq')), $1, $2, $3, $4, now() + $5 * interval '1 ms', $7) RETURNING id, incarnation`,
    [worker.incarnation, worker.name, worker.pool, worker.machines, worker.leaseMs, worker.lock?.id ?? null, worker.lock?.life ?? null],
  );
  return rows[0] as WorkerRow;
}

/** Behind the id of a run that is to end because another message takes its place, where a bare one is cancelled. */
export const INTERRUPT = ':interrupt';
const RUNNING = `r.claimed_by = $1 AND r.status = 'running'`;
const CANCELLED = `(SELECT coalesce(array_agg(r.id || CASE WHEN r.interrupted_by IS NULL THEN '' ELSE '${INTERRUPT}' END), '{}') FROM agent_runs r WHERE ${RUNNING} AND r.cancel_requested_at IS NOT NULL) AS cancelled`;

/** Renews the lease; also answers which of the worker's runs somebody wants cancelled. Undefined = no longer a worker: a lease
 *  that is over is never renewed. */
export async function renewLeaseIfHeld(db: Pick<EnginePool, 'query'>, incarnation: string, leaseMs: number): Promise<{ cancelled: string[] } | undefined> {
  const { rows } = await db.query<{ cancelled: string[] }>({ name: 'renew', text: `UPDATE workers SET lease_until = now() + $2 * interval '1 ms' WHERE incarnation = $1 AND ended_at IS NULL AND lease_until > now() RETURNING ${CANCELLED}`, values: [incarnation, leaseMs] });
  return rows[0];
}

/** The worker has retaken its lock in another life of the server. False = its lease was over. */
export async function relockIfHeld(pool: EnginePool, incarnation: string, life: string): Promise<boolean> {
  const { rowCount } = await pool.query(`UPDATE workers SET locked_under = $2 WHERE incarnation = $1 AND ended_at IS NULL AND lease_until > now()`, [incarnation, life]);
  return rowCount === 1;
}

/** Runs of the worker that somebody wants cancelled. */
export async function cancelledRuns(pool: EnginePool, incarnation: string): Promise<string[]> {
  const { rows } = await pool.query<{ cancelled: string[] }>({ name: 'cancelled', text: `SELECT ${CANCELLED}`, values: [incarnation] });
  return rows[0]?.cancelled ?? [];
}

export interface HeldRun { readonly tenant: string; readonly id: string; readonly fence: bigint }

/** All that the worker holds, by the database. */
export async function heldRuns(pool: EnginePool, incarnation: string): Promise<HeldRun[]> {
  const { rows } = await pool.query<HeldRun>({ name: 'held', text: `SELECT r.tenant_id AS tenant, r.id, r.fence FROM agent_runs r WHERE ${RUNNING}`, values: [incarnation] });
  return rows;
}

/** What the worker still holds goes back to the queue; no crash is counted. By the worker itself, when it stops or is fenced. */
export async function handBackAll(pool: EnginePool, incarnation: string): Promise<{ tenant: string; id: string }[]> {
  const { rows } = await pool.query<{ tenant: string; id: string }>(
    `WITH held AS (SELECT r.tenant_id, r.id FROM agent_runs r WHERE ${RUNNING} ORDER BY 1, 2 FOR UPDATE)
     UPDATE agent_runs r SET ${HANDED_BACK('0')} FROM held h WHERE r.tenant_id = h.tenant_id AND r.id = h.id AND ${RUNNING} RETURNING r.tenant_id AS tenant, r.id`, [incarnation]);
  return rows;
}

/** Ends the worker's row: whatever it still holds may be claimed at once. */
export async function retireWorker(pool: EnginePool, incarnation: string): Promise<void> {
  await pool.query(`UPDATE workers SET lease_until = least(lease_until, now()), ended_at = now() WHERE incarnation = $1 AND ended_at IS NULL`, [incarnation]);
}

/** Runs of a pool whose worker is dead and not yet retired, as something to offer: claims see the same. */
export async function orphanedRuns(pool: EnginePool, runPool: string, limit: number): Promise<Ready[]> {
  const { rows } = await pool.query<Ready>({ name: 'orphans', text: `SELECT ${READY} FROM workers w JOIN agent_runs r ON r.claimed_by = w.incarnation AND r.status = 'running'
    LEFT JOIN tenants t ON t.id = r.tenant_id WHERE w.pool = $1 AND w.ended_at IS NULL AND w.lease_until <= now() LIMIT $2`, values: [runPool, limit] });
  return rows;
}

/** Retires workers whose lease is over and who hold nothing any more. */
export async function retireDeadWorkers(pool: EnginePool): Promise<number> {
  const { rowCount } = await pool.query({ name: 'retire-dead', text:
    `UPDATE workers w SET ended_at = now() WHERE w.ended_at IS NULL AND w.lease_until < now()
     AND ${guarded('reclaim-order', `NOT EXISTS (SELECT FROM agent_runs r WHERE r.claimed_by = w.incarnation AND r.status = 'running')`)}` });
  return rowCount ?? 0;
}
