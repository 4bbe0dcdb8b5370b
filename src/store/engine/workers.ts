// Worker rows: the lease of everything a worker has claimed is its own row's, renewed by one statement. A renewal that
// touches no row means the worker was declared dead: it must fence itself.
import type { EnginePool } from './pool.ts';

export interface WorkerRow { readonly id: bigint; readonly incarnation: string }

export async function registerWorker(pool: EnginePool, worker: { incarnation: string; name: string; pool: string; machines: readonly string[]; leaseMs: number }): Promise<WorkerRow> {
  const { rows } = await pool.query<WorkerRow>(
    `INSERT INTO workers (id, incarnation, name, pool, machines, lease_until) VALUES (nextval('worker_seq'), $1, $2, $3, $4, now() + $5 * interval '1 ms') RETURNING id, incarnation`,
    [worker.incarnation, worker.name, worker.pool, worker.machines, worker.leaseMs],
  );
  return rows[0] as WorkerRow;
}

/** Renews the lease; also answers which of the worker's runs somebody wants cancelled. Undefined = no longer a worker. */
export async function renewLeaseIfHeld(pool: EnginePool, incarnation: string, leaseMs: number): Promise<{ cancelled: string[] } | undefined> {
  const { rows } = await pool.query<{ cancelled: string[] }>(
    `UPDATE workers SET lease_until = now() + $2 * interval '1 ms' WHERE incarnation = $1 AND ended_at IS NULL
     RETURNING (SELECT coalesce(array_agg(r.id::text), '{}') FROM agent_runs r WHERE r.claimed_by = $1 AND r.status = 'running' AND r.cancel_requested_at IS NOT NULL) AS cancelled`,
    [incarnation, leaseMs],
  );
  return rows[0];
}

/** A worker that stops in good order: whatever it still holds may be claimed at once. */
export async function retireWorker(pool: EnginePool, incarnation: string): Promise<void> {
  await pool.query(`UPDATE workers SET lease_until = now(), ended_at = now() WHERE incarnation = $1 AND ended_at IS NULL`, [incarnation]);
}

/** Workers whose lease is over and who hold nothing any more are retired; the order is: lease over, reclaimed, retired. */
export async function retireDeadWorkers(pool: EnginePool): Promise<number> {
  const { rowCount } = await pool.query(
    `UPDATE workers w SET ended_at = now() WHERE w.ended_at IS NULL AND w.lease_until < now() - interval '1 minute'
     AND NOT EXISTS (SELECT FROM agent_runs r WHERE r.claimed_by = w.incarnation AND r.status = 'running')`,
  );
  return rowCount ?? 0;
}
