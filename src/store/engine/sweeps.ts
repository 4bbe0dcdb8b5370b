// What maintenance and submitters ask of the engine's tables: due runs, the heads of sessions, runs owed to memory, runs
// that expire. All of it is safe to ask twice and from anywhere.
import type { Lane } from '../../domain/lane.ts';
import { WOKEN } from './inbox.ts';
import type { EnginePool } from './pool.ts';

export interface Ready {
  readonly tenant: string;
  readonly id: string;
  readonly pool: string;
  readonly priority: number;
  readonly createdMs: number;
  readonly weight: number;
  readonly cap: number | null;
  /** Its limits besides the tenant's: `<most> agent:<agent>` and `<most> key:<key>`, one a line; empty = none. */
  readonly limits: string;
}

/** The limits of a run's row as the ready queue takes them. */
export const limitsOf = (run: string): string =>
  `concat_ws(E'\\n', (SELECT l.max_running || ' agent:' || l.agent FROM agent_limits l WHERE l.tenant_id = ${run}.tenant_id AND l.agent = ${run}.agent), ${run}.concurrency_limit || ' key:' || ${run}.concurrency_key)`;
/** Of `agent_runs r` and its `tenants t`. The product's own runs (remembering) do not count for the tenant. */
export const READY = `r.tenant_id AS tenant, r.id, r.pool, r.priority, (extract(epoch FROM r.created_at) * 1000)::float8 AS "createdMs",
  coalesce(t.weight, 1)::float8 AS weight, CASE WHEN r.visible THEN t.max_running END AS cap, ${limitsOf('r')} AS limits`;
export const IS_HEAD = `(r.session_id IS NULL OR r.holds_session OR NOT EXISTS (SELECT FROM agent_runs o WHERE o.tenant_id = r.tenant_id AND o.user_id = r.user_id
  AND o.session_id = r.session_id AND o.session_seq < r.session_seq AND o.status IN ('queued', 'running', 'waiting')))`;
// Only what some live worker can run: the rest is `blocked: version` and must not stand at the head of the queue.
export const HAS_WORKER = `EXISTS (SELECT FROM workers w WHERE w.pool = r.pool AND w.ended_at IS NULL AND w.lease_until > now() AND r.agent || '@' || r.version = ANY (w.machines))`;

export interface DueRun extends Ready {
  /** Since when, with its id its place among the due: text of the database's, exact. */
  readonly dueAt: string;
}

/** Before every due run. */
export const FIRST_DUE: Pick<DueRun, 'dueAt' | 'id'> = { dueAt: '-infinity', id: '00000000-0000-0000-0000-000000000000' };

const DUE = `SELECT ${READY}, r.wake_at::text AS "dueAt" FROM agent_runs r LEFT JOIN tenants t ON t.id = r.tenant_id
  WHERE r.pool = $1 AND r.status IN ('queued', 'waiting') AND r.wake_at IS NOT NULL AND r.wake_at <= now() AND ${IS_HEAD} AND ${HAS_WORKER}`;

/** Due runs of a pool that some living worker can run, the longest due first, so that a caller can page through all of them: by
 *  the index of due runs, or each page would read the whole backlog. */
export async function duePage(pool: EnginePool, runPool: string, after: Pick<DueRun, 'dueAt' | 'id'>, limit: number): Promise<DueRun[]> {
  const { rows } = await pool.query<DueRun>({ name: 'due-page', text: `${DUE} AND (r.wake_at, r.id) > ($2::timestamptz, $3::uuid) ORDER BY r.wake_at, r.id LIMIT $4`, values: [runPool, after.dueAt, after.id, limit] });
  return rows;
}

/** The same, but those that became due last: of them a hint is lost, where one is. */
export async function latestDue(pool: EnginePool, runPool: string, limit: number): Promise<DueRun[]> {
  const { rows } = await pool.query<DueRun>({ name: 'due-latest', text: `${DUE} ORDER BY r.wake_at DESC, r.id DESC LIMIT $2`, values: [runPool, limit] });
  return rows;
}

/** Those of the runs that are due still; by their ids, whatever the index of due runs would promise. */
export async function stillDue(pool: EnginePool, runs: readonly Pick<Ready, 'tenant' | 'id'>[]): Promise<Ready[]> {
  const { rows } = await pool.query<Ready>({ name: 'still-due', text: `
    SELECT ${READY} FROM unnest($1::text[], $2::uuid[]) AS c(tenant, id) JOIN agent_runs r ON r.tenant_id = c.tenant AND r.id = c.id LEFT JOIN tenants t ON t.id = r.tenant_id
    WHERE r.status::text IN ('queued', 'waiting') AND now() - r.wake_at >= '0' AND ${IS_HEAD} AND ${HAS_WORKER}`, values: [runs.map(({ tenant }) => tenant), runs.map(({ id }) => id)] });
  return rows;
}

/** Running runs of a pool whose holder is dead: as many as the dead had places. */
export async function abandonedRuns(pool: EnginePool, runPool: string): Promise<Ready[]> {
  const { rows } = await pool.query<Ready>({ name: 'abandoned', text: `
    SELECT ${READY} FROM agent_runs r LEFT JOIN tenants t ON t.id = r.tenant_id
    WHERE r.pool = $1 AND r.status = 'running' AND ${HAS_WORKER} AND NOT EXISTS (SELECT FROM workers w WHERE w.incarnation = r.claimed_by AND w.lease_until > now() AND w.ended_at IS NULL)`, values: [runPool] });
  return rows;
}

/** The run that may go next in a session, if it is due now; asked after a submit and after an end (commit, then look). */
export async function sessionHead(pool: EnginePool, tenant: string, user: string, session: string): Promise<(Ready & { dueInMs: number }) | undefined> {
  const { rows } = await pool.query<Ready & { dueInMs: number }>({ name: 'session-head', text: `
    SELECT ${READY}, greatest(0, extract(epoch FROM r.wake_at - now()) * 1000)::float8 AS "dueInMs" FROM agent_runs r LEFT JOIN tenants t ON t.id = r.tenant_id
    WHERE r.tenant_id = $1 AND r.user_id = $2 AND r.session_id = $3 AND r.status IN ('queued', 'running', 'waiting') ORDER BY r.session_seq LIMIT 1`, values: [tenant, user, session] });
  return rows[0];
}

/** One run as something to offer, if it is the head of its session; `dueInMs` says when it may start. */
export async function readyRun(pool: EnginePool, tenant: string, id: string): Promise<(Ready & { dueInMs: number }) | undefined> {
  return (await readyRuns(pool, tenant, [id]))[0];
}

/** The same of many, in any order. */
export async function readyRuns(pool: EnginePool, tenant: string, ids: readonly string[]): Promise<(Ready & { dueInMs: number })[]> {
  const { rows } = await pool.query<Ready & { dueInMs: number }>({ name: 'ready-runs', text: `
    SELECT ${READY}, greatest(0, extract(epoch FROM r.wake_at - now()) * 1000)::float8 AS "dueInMs" FROM agent_runs r LEFT JOIN tenants t ON t.id = r.tenant_id
    WHERE r.tenant_id = $1 AND r.id = ANY ($2::uuid[]) AND r.status IN ('queued', 'waiting') AND r.wake_at IS NOT NULL AND ${IS_HEAD}`, values: [tenant, ids] });
  return rows;
}

export interface OwedRun { readonly tenant: string; readonly id: string; readonly user: string | null; readonly session: string | null; readonly agent: string; readonly lane: Lane | null }

/** Finished runs that have not been remembered and for which no remembering run is under way. */
export async function runsOwedToMemory(pool: EnginePool, limit: number): Promise<OwedRun[]> {
  const { rows } = await pool.query<OwedRun>(
    `SELECT r.tenant_id AS tenant, r.id, r.user_id AS "user", r.session_id AS session, r.agent, r.lane FROM agent_runs r WHERE r.memory_state = 'due'
     AND NOT EXISTS (SELECT FROM agent_runs m WHERE m.tenant_id = r.tenant_id AND m.idempotency_key LIKE 'remember:' || r.id || ':%')
     ORDER BY r.finished_at LIMIT $1`, [limit]);
  return rows;
}

export interface Expired { readonly tenant: string; readonly id: string; readonly user: string | null; readonly session: string | null }

/** Ends runs that have not started in their time; whoever claims one meanwhile wins. */
export async function expireUnstarted(pool: EnginePool, limit: number): Promise<Expired[]> {
  const { rows } = await pool.query<Expired>(`
    WITH d AS (SELECT tenant_id, id FROM agent_runs WHERE status = 'queued' AND started_at IS NULL AND expires_at IS NOT NULL AND expires_at <= now() ORDER BY expires_at LIMIT $1 FOR UPDATE SKIP LOCKED),
    u AS (UPDATE agent_runs r SET status = 'expired', finished_at = now(), error_code = 'expired', event_seq = r.event_seq + 1 FROM d WHERE r.tenant_id = d.tenant_id AND r.id = d.id RETURNING r.*),
    e AS (INSERT INTO run_events (tenant_id, run_id, seq, type) SELECT tenant_id, id, event_seq, 'run.expired' FROM u),
    p AS (UPDATE agent_runs r SET ${WOKEN} FROM (SELECT DISTINCT tenant_id, parent_id FROM u WHERE parent_path IS NOT NULL) u WHERE r.tenant_id = u.tenant_id AND r.id = u.parent_id AND r.finished_at IS NULL)
    SELECT tenant_id AS tenant, id, user_id AS "user", session_id AS session FROM u`, [limit]);
  return rows;
}
