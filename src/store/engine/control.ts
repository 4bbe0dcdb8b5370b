// What people do to a run from outside: cancel, pause, resume, fork. Each is one compare-and-set on the run's row, so that the
// first terminal state stands and two people at once get one answer each. `user` undefined: any run of the tenant; null: only
// runs of no user.
import { guarded } from '../../guards.ts';
import { BY_NEWS, WOKEN } from './inbox.ts';
import { inTransaction, isDeadlock, type EnginePool } from './pool.ts';

export interface Target {
  readonly tenant: string;
  /** uuid */
  readonly id: string;
  readonly user: string | null | undefined;
}

/** The run of a target; $1 to $4 are `own(target)`. */
export const OWN = `tenant_id = $1 AND id = $2 AND visible AND ($3::boolean OR user_id IS NOT DISTINCT FROM $4)`;
export const own = ({ tenant, id, user }: Target): unknown[] => [tenant, id, user === undefined, user ?? null];

export interface Cancelled { readonly status: string; readonly ended: boolean; readonly already: boolean; readonly runs: readonly { readonly id: string; readonly pool: string; readonly ended: boolean }[] }

/** Marks a run and all it spawned for cancel; those nobody is running end at once, and their open questions are withdrawn.
 *  `already`: it had ended before. Undefined = no such run. A tree is locked from the top, the end of a child from below: where
 *  the two meet Postgres gives one of them up, and this one is tried again. */
export async function cancelRun(pool: EnginePool, target: Target, tries = 3): Promise<Cancelled | undefined> {
  try {
    return await cancelTree(pool, target);
  } catch (error) {
    if (tries <= 1 || !isDeadlock(error)) throw error;
    return cancelRun(pool, target, tries - 1);
  }
}

/** One try of `cancelRun`, also inside a transaction. */
export async function cancelTree(pool: Pick<EnginePool, 'query'>, target: Target): Promise<Cancelled | undefined> {
  const { rows } = await pool.query<{ status: string; already: boolean; ended: boolean; runs: Cancelled['runs'] | null }>(`
    WITH RECURSIVE root AS MATERIALIZED (SELECT tenant_id, id, status, finished_at FROM agent_runs WHERE ${OWN} FOR UPDATE), -- locked, so that the answer is not older than the wait for it
    tree AS (SELECT tenant_id, id FROM root UNION SELECT c.tenant_id, c.id FROM tree t JOIN agent_runs c ON c.tenant_id = t.tenant_id AND c.parent_id = t.id AND c.parent_path IS NOT NULL),
    held AS (SELECT r.tenant_id, r.id FROM agent_runs r JOIN tree t ON t.tenant_id = r.tenant_id AND t.id = r.id WHERE ${guarded('finish-first', 'r.finished_at IS NULL')} ORDER BY 1, 2 FOR UPDATE OF r),
    u AS (
      UPDATE agent_runs r SET cancel_requested_at = coalesce(r.cancel_requested_at, now()), interrupted_by = NULL, inbox_seq = r.inbox_seq + 1,
        status = CASE WHEN r.status = 'running' THEN r.status ELSE 'cancelled' END, wait_reason = NULL,
        finished_at = CASE WHEN r.status = 'running' THEN NULL ELSE now() END, holds_session = r.holds_session AND r.status = 'running',
        error_code = CASE WHEN r.status = 'running' THEN r.error_code ELSE 'cancelled' END, event_seq = r.event_seq + 1
      FROM held h WHERE r.tenant_id = h.tenant_id AND r.id = h.id AND ${guarded('finish-first', 'r.finished_at IS NULL')}
      RETURNING r.tenant_id, r.id, r.pool, r.status, r.event_seq
    ), e AS (
      INSERT INTO run_events (tenant_id, run_id, seq, type) SELECT tenant_id, id, event_seq, CASE WHEN status = 'cancelled' THEN 'run.cancelled' ELSE 'run.cancelling' END FROM u
    ), a AS (
      UPDATE approvals a SET status = 'withdrawn' FROM u WHERE a.tenant_id = u.tenant_id AND a.run_id = u.id AND u.status = 'cancelled' AND a.status = 'pending'
    ), p AS ( -- a cancelled child is news for a parent that lives on
      UPDATE agent_runs r SET ${WOKEN} FROM agent_runs c JOIN u ON u.tenant_id = c.tenant_id AND u.id = c.id AND u.status = 'cancelled' JOIN root ON root.tenant_id = c.tenant_id AND root.id = c.id
      WHERE c.parent_path IS NOT NULL AND r.tenant_id = c.tenant_id AND r.id = c.parent_id AND r.finished_at IS NULL
    )
    SELECT coalesce((SELECT u.status FROM u WHERE u.id = root.id), root.status)::text AS status, NOT EXISTS (SELECT FROM u WHERE u.id = root.id) AS already,
      NOT EXISTS (SELECT FROM u WHERE u.id = root.id AND u.status <> 'cancelled') AS ended,
      (SELECT jsonb_agg(jsonb_build_object('id', u.id, 'pool', u.pool, 'ended', u.status = 'cancelled')) FROM u) AS runs FROM root`, own(target));
  const [row] = rows;
  return row && { status: row.status, already: row.already, ended: row.ended, runs: row.runs ?? [] };
}

/** `paused`: it stands. `pausing`: it stops at its next checkpoint. `finished`: it has ended. Undefined = no such run. */
export async function pauseRun(pool: EnginePool, target: Target): Promise<'paused' | 'pausing' | 'finished' | undefined> {
  const { rows } = await pool.query<{ finished: boolean; running: boolean }>(`
    WITH h AS (SELECT tenant_id, id, status, finished_at, pause_requested_at FROM agent_runs WHERE ${OWN} FOR UPDATE),
    u AS (
      UPDATE agent_runs r SET pause_requested_at = now(), status = CASE WHEN r.status = 'running' THEN r.status ELSE 'waiting' END,
        wait_reason = CASE WHEN r.status <> 'running' THEN 'paused'::wait_reason END, wake_at = CASE WHEN r.status = 'running' THEN r.wake_at END,
        resume_at = CASE WHEN r.status = 'running' OR r.wait_reason IN ${BY_NEWS} THEN NULL ELSE r.wake_at END, event_seq = r.event_seq + 1
      FROM h WHERE r.tenant_id = h.tenant_id AND r.id = h.id AND h.finished_at IS NULL AND h.pause_requested_at IS NULL RETURNING r.tenant_id, r.id, r.status, r.event_seq
    ), e AS (INSERT INTO run_events (tenant_id, run_id, seq, type) SELECT tenant_id, id, event_seq, CASE WHEN status = 'running' THEN 'run.pausing' ELSE 'run.paused' END FROM u)
    SELECT finished_at IS NOT NULL AS finished, status = 'running' AS running FROM h`, own(target));
  const [row] = rows;
  return row && (row.finished ? 'finished' : row.running ? 'pausing' : 'paused');
}

const STANDS = `r.wait_reason IN ('paused', 'restored')`;

/** Lets a run go on that was paused, or stands since a restore: at once, or when its time comes. `not_paused`: neither. Undefined = no such run. */
export async function resumeRun(pool: EnginePool, target: Target): Promise<'resumed' | 'not_paused' | undefined> {
  const { rows } = await pool.query<{ resumed: boolean }>(`
    WITH h AS (SELECT tenant_id, id, finished_at FROM agent_runs WHERE ${OWN} FOR UPDATE),
    u AS (
      UPDATE agent_runs r SET pause_requested_at = NULL, resume_at = NULL,
        status = CASE WHEN ${STANDS} THEN 'queued' ELSE r.status END, wait_reason = CASE WHEN ${STANDS} THEN NULL ELSE r.wait_reason END,
        wake_at = CASE WHEN ${STANDS} THEN greatest(now(), coalesce(r.resume_at, now())) ELSE r.wake_at END, event_seq = r.event_seq + 1
      FROM h WHERE r.tenant_id = h.tenant_id AND r.id = h.id AND h.finished_at IS NULL AND (r.pause_requested_at IS NOT NULL OR ${STANDS}) RETURNING r.tenant_id, r.id, r.event_seq
    ), e AS (INSERT INTO run_events (tenant_id, run_id, seq, type) SELECT tenant_id, id, event_seq, 'run.resumed' FROM u)
    SELECT EXISTS (SELECT FROM u) AS resumed FROM h`, own(target));
  const [row] = rows;
  return row && (row.resumed ? 'resumed' : 'not_paused');
}

export interface Fork {
  /** The run to begin with. */
  readonly origin: Target;
  /** uuid of the new run */
  readonly id: string;
  /** Steps taken over; undefined = all there are (a retry). */
  readonly seq: number | undefined;
  /** The machine's first step, for a fork from 0. */
  readonly start: string;
  readonly idempotencyKey: string | undefined;
  /** 32 hex digits: see `requestDigest`. Older rows, and those made by SQL, hold the whole SHA-256. */
  readonly requestHash: string;
}

/** A new run that begins with the first steps of another: same version, input, user and session, a place of its own there.
 *  `no_checkpoint`: that step is not recorded. Undefined = no such run. */
export function forkRun(pool: EnginePool, fork: Fork): Promise<'no_checkpoint' | { readonly id: string; readonly created: boolean; readonly requestHash: string } | undefined> {
  return inTransaction(pool, async (client) => {
    const { tenant, id } = fork.origin;
    const found = await client.query<{ seq: number; user: string | null; session: string | null; next: string | null }>(
      `SELECT r.step_seq AS seq, r.user_id AS "user", r.session_id AS session, (SELECT next_step FROM run_steps s WHERE s.tenant_id = r.tenant_id AND s.run_id = r.id AND s.seq = coalesce($5::int, r.step_seq)) AS next
       FROM agent_runs r WHERE ${OWN}`, [...own(fork.origin), fork.seq ?? null]);
    const origin = found.rows[0];
    if (!origin) return undefined;
    const seq = fork.seq ?? origin.seq;
    const next = seq === 0 ? fork.start : origin.next;
    if (seq < 0 || seq > origin.seq || next === null) return 'no_checkpoint' as const;
    if (fork.idempotencyKey !== undefined) {
      const before = await client.query<{ id: string; hash: string }>(`SELECT id, encode(substring(request_hash FOR 16), 'hex') AS hash FROM agent_runs WHERE tenant_id = $1 AND idempotency_key = $2`, [tenant, fork.idempotencyKey]);
      if (before.rows[0]) return { id: before.rows[0].id, created: false, requestHash: before.rows[0].hash };
    }
    await client.query(`
      WITH s AS (UPDATE sessions SET next_seq = next_seq + 1 WHERE tenant_id = $1 AND user_id = $8 AND id = $9 RETURNING next_seq - 1 AS place)
      INSERT INTO agent_runs (tenant_id, id, agent, version, pool, user_id, session_id, session_seq, priority, concurrency_key, concurrency_limit, idempotency_key, request_hash, metadata, input, model, budget_micro_usd, lane, deadline_at, step_seq, next_step, event_seq, wake_at, forked_from, forked_seq)
      SELECT tenant_id, $3, agent, version, pool, user_id, session_id, (SELECT place FROM s), priority, concurrency_key, concurrency_limit, $6, decode($7, 'hex'), metadata, input, model, budget_micro_usd, lane, deadline_at, $4::int, $5, $4::int + 1, now(), id, $4::int
      FROM agent_runs WHERE tenant_id = $1 AND id = $2`, [tenant, id, fork.id, seq, next, fork.idempotencyKey ?? null, fork.requestHash, origin.user, origin.session]);
    await client.query(`INSERT INTO run_events (tenant_id, run_id, seq, type, data) VALUES ($1, $2, 1, 'run.queued', json_build_object('forkedFrom', $3::uuid, 'seq', $4::int))`, [tenant, fork.id, id, seq]);
    await client.query(`INSERT INTO run_steps (tenant_id, run_id, seq, event_seq, fence, name, next_step, data, data_blob, duration_ms, created_at)
      SELECT tenant_id, $3, seq, seq + 1, fence, name, next_step, data, data_blob, duration_ms, created_at FROM run_steps WHERE tenant_id = $1 AND run_id = $2 AND seq <= $4`, [tenant, id, fork.id, seq]);
    return { id: fork.id, created: true, requestHash: fork.requestHash };
  });
}
