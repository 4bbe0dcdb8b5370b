// What maintenance and submitters ask of the engine's tables: due runs, the heads of sessions, runs owed to memory, work for
// the autoscaler, a cancel. All of it is safe to ask twice and from anywhere.
import type { EnginePool } from './pool.ts';

export interface Ready {
  readonly tenant: string;
  readonly id: string;
  readonly pool: string;
  readonly priority: number;
  readonly createdMs: number;
  readonly weight: number;
  readonly cap: number | null;
}

const READY = `r.tenant_id AS tenant, r.id, r.pool, r.priority, (extract(epoch FROM r.created_at) * 1000)::float8 AS "createdMs",
  coalesce(t.weight, 1)::float8 AS weight, t.max_running AS cap`;
const IS_HEAD = `(r.session_id IS NULL OR r.holds_session OR NOT EXISTS (SELECT FROM agent_runs o WHERE o.tenant_id = r.tenant_id AND o.user_id = r.user_id
  AND o.session_id = r.session_id AND o.session_seq < r.session_seq AND o.status IN ('queued', 'running', 'waiting')))`;
// Only what some live worker can run: the rest is `blocked: version` and must not stand at the head of the queue.
const HAS_WORKER = `EXISTS (SELECT FROM workers w WHERE w.pool = r.pool AND w.ended_at IS NULL AND w.lease_until > now() AND r.agent || '@' || r.version = ANY (w.machines))`;

/** Runnable runs of a pool after (tenant, id), by key, so that a caller can page through all of them. */
export async function runnablePage(pool: EnginePool, runPool: string, after: { tenant: string; id: string }, limit: number): Promise<Ready[]> {
  const { rows } = await pool.query<Ready>({ name: 'runnable', text: `
    SELECT ${READY} FROM agent_runs r LEFT JOIN tenants t ON t.id = r.tenant_id
    WHERE r.pool = $1 AND (r.tenant_id, r.id) > ($2, $3::uuid) AND ${IS_HEAD} AND ${HAS_WORKER}
      AND (r.status IN ('queued', 'waiting') AND r.wake_at IS NOT NULL AND r.wake_at <= now()
        OR r.status = 'running' AND NOT EXISTS (SELECT FROM workers w WHERE w.incarnation = r.claimed_by AND w.lease_until > now() AND w.ended_at IS NULL))
    ORDER BY r.tenant_id, r.id LIMIT $4`, values: [runPool, after.tenant, after.id, limit] });
  return rows;
}

/** The run that may go next in a session, if it is due now; asked after a submit and after an end (commit, then look). */
export async function sessionHead(pool: EnginePool, tenant: string, user: string, session: string): Promise<(Ready & { dueInMs: number }) | undefined> {
  const { rows } = await pool.query<Ready & { dueInMs: number }>({ name: 'session-head', text: `
    SELECT ${READY}, greatest(0, extract(epoch FROM r.wake_at - now()) * 1000)::float8 AS "dueInMs" FROM agent_runs r LEFT JOIN tenants t ON t.id = r.tenant_id
    WHERE r.tenant_id = $1 AND r.user_id = $2 AND r.session_id = $3 AND r.status IN ('queued', 'running', 'waiting') ORDER BY r.session_seq LIMIT 1`, values: [tenant, user, session] });
  return rows[0];
}

/** One run as something to offer, if it is runnable now; `againInMs` where it is only not due yet. */
export async function readyRun(pool: EnginePool, tenant: string, id: string): Promise<(Ready & { dueInMs: number }) | undefined> {
  const { rows } = await pool.query<Ready & { dueInMs: number }>({ name: 'ready-run', text: `
    SELECT ${READY}, greatest(0, extract(epoch FROM r.wake_at - now()) * 1000)::float8 AS "dueInMs" FROM agent_runs r LEFT JOIN tenants t ON t.id = r.tenant_id
    WHERE r.tenant_id = $1 AND r.id = $2 AND r.status IN ('queued', 'waiting') AND r.wake_at IS NOT NULL AND ${IS_HEAD}`, values: [tenant, id] });
  return rows[0];
}

export interface OwedRun { readonly tenant: string; readonly id: string; readonly user: string | null; readonly session: string | null; readonly agent: string }

/** Finished runs that have not been remembered and for which no remembering run is under way. */
export async function runsOwedToMemory(pool: EnginePool, limit: number): Promise<OwedRun[]> {
  const { rows } = await pool.query<OwedRun>(
    `SELECT r.tenant_id AS tenant, r.id, r.user_id AS "user", r.session_id AS session, r.agent FROM agent_runs r WHERE r.memory_state = 'due'
     AND NOT EXISTS (SELECT FROM agent_runs m WHERE m.tenant_id = r.tenant_id AND m.idempotency_key LIKE 'remember:' || r.id || ':%')
     ORDER BY r.finished_at LIMIT $1`, [limit]);
  return rows;
}

/** What the autoscaler and /metrics count, from rows and not from a queue's length. */
export async function workOf(pool: EnginePool, runPool: string): Promise<{ runnable: number; running: number; dueSoon: number; oldestMs: number }> {
  const { rows } = await pool.query<{ runnable: number; running: number; dueSoon: number; oldestMs: number }>(
    `SELECT count(*) FILTER (WHERE status <> 'running' AND wake_at <= now())::int AS runnable, count(*) FILTER (WHERE status = 'running')::int AS running,
       count(*) FILTER (WHERE status <> 'running' AND wake_at > now() AND wake_at <= now() + interval '1 minute')::int AS "dueSoon",
       coalesce(extract(epoch FROM now() - min(wake_at) FILTER (WHERE status <> 'running' AND wake_at <= now())) * 1000, 0)::float8 AS "oldestMs"
     FROM agent_runs WHERE pool = $1 AND status IN ('queued', 'waiting', 'running') AND (status = 'running' OR wake_at IS NOT NULL)`, [runPool]);
  return rows[0] ?? { runnable: 0, running: 0, dueSoon: 0, oldestMs: 0 };
}

export async function statusCounts(pool: EnginePool): Promise<{ status: string; count: number }[]> {
  const { rows } = await pool.query<{ status: string; count: number }>(`SELECT status::text AS status, count(*)::int AS count FROM agent_runs WHERE visible AND status IN ('queued', 'running', 'waiting') GROUP BY 1`);
  return rows;
}

/**
 * Marks a run for cancel; one that nobody is running ends at once. Answers what became of it (`already`: it had ended before),
 * undefined = no such run.
 */
export async function cancelRun(pool: EnginePool, tenant: string, id: string, user: string | undefined): Promise<{ status: string; ended: boolean; already: boolean } | undefined> {
  const { rows } = await pool.query<{ status: string; ended: boolean; already: boolean }>(`
    WITH held AS (SELECT tenant_id, id, status, finished_at FROM agent_runs WHERE tenant_id = $1 AND id = $2 AND ($3::text IS NULL OR user_id = $3) FOR UPDATE),
    u AS (
      UPDATE agent_runs r SET cancel_requested_at = coalesce(r.cancel_requested_at, now()), inbox_seq = r.inbox_seq + 1,
        status = CASE WHEN r.status = 'running' THEN r.status ELSE 'cancelled' END, wait_reason = NULL,
        finished_at = CASE WHEN r.status = 'running' THEN NULL ELSE now() END, holds_session = r.holds_session AND r.status = 'running',
        error_code = CASE WHEN r.status = 'running' THEN r.error_code ELSE 'cancelled' END, event_seq = r.event_seq + 1
      FROM held WHERE r.tenant_id = held.tenant_id AND r.id = held.id AND held.finished_at IS NULL
      RETURNING r.tenant_id, r.id, r.status, r.event_seq
    ), e AS (
      INSERT INTO run_events (tenant_id, run_id, seq, type) SELECT tenant_id, id, event_seq, CASE WHEN status = 'cancelled' THEN 'run.cancelled' ELSE 'run.cancelling' END FROM u
    )
    SELECT coalesce(u.status, held.status)::text AS status, (u.id IS NULL OR u.status = 'cancelled') AS ended, u.id IS NULL AS already FROM held LEFT JOIN u ON true`, [tenant, id, user ?? null]);
  return rows[0];
}
