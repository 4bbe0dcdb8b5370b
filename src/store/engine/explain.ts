// What the engine's tables know of one run that does or does not move: one statement, so that one snapshot answers. Only reads,
// all by tenant and id; of other tenants it learns nothing, of the fleet only how many workers live and what they run.
import type { RunFacts } from '../../domain/explain.ts';
import { roomOf } from './budget-sql.ts';
import { AGENT_LIMIT, HOLDS, TENANT_LIMIT } from './permits.ts';
import type { EnginePool } from './pool.ts';

/** The facts Postgres holds; runs and approvals by their uuid. */
export type StoredFacts = Omit<RunFacts, 'run' | 'attempts' | 'breakerUntilMs' | 'locks' | 'place'>;

/** Of the runs that hold a permit it lacks: enough to go on looking. */
const HOLDERS_SHOWN = 3;
const ms = (time: string): string => `(extract(epoch FROM ${time}) * 1000)::float8`;
const LIVE = `w.ended_at IS NULL AND w.lease_until > now()`;
const OF_RUN = `tenant_id = r.tenant_id AND run_id = r.id`;
/** Rows as a JSON array, empty where there are none. */
const list = (fields: string, from: string, order: string): string => `(SELECT coalesce(json_agg(json_build_object(${fields}) ORDER BY ${order}), '[]') FROM ${from})`;

const FACTS = `
SELECT r.status::text AS status, r.wait_reason::text AS "waitReason", r.agent, r.version, r.pool, r.next_step AS step, r.step_seq AS steps, r.attempt, r.crashes, r.ran_alone AS "ranAlone",
  r.cancel_requested_at IS NOT NULL AS "cancelRequested", r.error_code AS "errorCode", r.error_message AS "errorMessage",
  ${ms('now()')} AS "nowMs", ${ms('r.started_at')} AS "startedMs", ${ms('r.finished_at')} AS "finishedMs", ${ms('r.wake_at')} AS "wakeMs", ${ms('r.expires_at')} AS "expiresMs",
  ${ms('r.step_deadline_at')} AS "deadlineMs", ${ms('r.pause_requested_at')} AS "pausedMs",
  ${ms(`greatest(r.created_at, r.started_at, (SELECT created_at FROM run_events WHERE ${OF_RUN} ORDER BY seq DESC LIMIT 1), (SELECT created_at FROM run_steps WHERE ${OF_RUN} AND seq = r.step_seq),
    (SELECT max(opened_at) FROM step_waits WHERE ${OF_RUN}), (SELECT max(coalesce(finished_at, started_at)) FROM tool_calls WHERE ${OF_RUN}), (SELECT max(coalesce(finished_at, started_at)) FROM model_calls WHERE ${OF_RUN}))`)} AS "movedMs",
  (SELECT json_build_object('name', w.name, 'leaseUntilMs', ${ms('w.lease_until')}, 'isAlive', ${LIVE}) FROM workers w WHERE w.incarnation = r.claimed_by) AS worker,
  (SELECT count(*)::int FROM workers w WHERE w.pool = r.pool AND ${LIVE}) AS "liveWorkers",
  ARRAY(SELECT DISTINCT split_part(m, '@', 2)::int FROM workers w, unnest(w.machines) m WHERE w.pool = r.pool AND ${LIVE} AND split_part(m, '@', 1) = r.agent ORDER BY 1) AS versions,
  EXISTS (SELECT FROM workers w WHERE w.pool = r.pool AND ${LIVE} AND r.agent || '@' || r.version = ANY (w.machines)) AS "canRun",
  CASE WHEN r.wait_reason = 'paused' THEN (SELECT actor FROM audit_events WHERE tenant_id = r.tenant_id AND object_type = 'run' AND object_id = $3 AND action = 'run.paused' AND created_at <= r.pause_requested_at ORDER BY id DESC LIMIT 1) END AS "pausedBy",
  ${list(`'id', id, 'subject', subject, 'sinceMs', ${ms('created_at')}, 'expiresMs', ${ms('expires_at')}`, `approvals WHERE ${OF_RUN} AND status = 'pending'`, 'created_at')} AS approvals,
  ${list(`'kind', kind, 'name', name, 'sinceMs', ${ms('opened_at')}, 'untilMs', ${ms('deadline_at')}`, `step_waits WHERE ${OF_RUN} AND step_seq = r.step_seq + 1 AND settled_at IS NULL`, 'opened_at, path')} AS waits,
  ${list(`'run', c.id, 'status', c.status`, `agent_runs c WHERE c.tenant_id = r.tenant_id AND c.finished_at IS NULL AND c.id IN (
    SELECT unnest(targets) FROM step_waits WHERE ${OF_RUN} AND step_seq = r.step_seq + 1 AND kind = 'child' AND settled_at IS NULL)`, 'c.id')} AS children,
  ${list(`'stepSeq', step_seq, 'path', path, 'tool', tool, 'sinceMs', ${ms('coalesce(finished_at, started_at)')}`, `tool_calls WHERE ${OF_RUN} AND status IN ('intent', 'unknown') AND effect <> 'read'`, 'step_seq, path')} AS unsettled,
  ${list(`'key', g.key, 'roomMicroUsd', ${roomOf('g')}::float8, 'limitMicroUsd', g.limit_micro_usd::float8`, `budgets g WHERE g.tenant_id = r.tenant_id AND (g.subject IN ('tenant', 'agent:' || r.agent, 'user:' || r.user_id) OR g.key = ANY (r.budget_keys))`, `g.key = r.wants_budget DESC NULLS LAST, ${roomOf('g')}`)} AS budgets,
  r.wants_micro_usd::float8 AS "wantsMicroUsd",
  (SELECT json_build_object('callee', k.callee, 'code', k.code, 'endedMs', ${ms('k.ended')}) FROM (
    SELECT 'tool:' || tool AS callee, error_code AS code, finished_at AS ended FROM tool_calls WHERE ${OF_RUN} AND step_seq = r.step_seq + 1
    UNION ALL SELECT 'model:' || model, error_code, finished_at FROM model_calls WHERE ${OF_RUN} AND step_seq = r.step_seq + 1) k WHERE k.code IN ('breaker_open', 'rate_limited', 'spend_limit', 'quota_exhausted') ORDER BY k.ended DESC LIMIT 1) AS refused,
  (SELECT data FROM run_events WHERE ${OF_RUN} AND type = 'step.failed' ORDER BY seq DESC LIMIT 1) AS failure,
  CASE WHEN r.session_id IS NOT NULL AND NOT r.holds_session THEN (SELECT json_build_object('run', o.id, 'status', o.status, 'waitReason', o.wait_reason) FROM agent_runs o WHERE o.tenant_id = r.tenant_id AND o.user_id = r.user_id
    AND o.session_id = r.session_id AND o.session_seq < r.session_seq AND o.status IN ('queued', 'running', 'waiting') ORDER BY o.holds_session DESC, o.session_seq LIMIT 1) END AS before,
  r.tenant_id AS tenant,
  (SELECT coalesce(json_agg(json_build_object('of', v.of, 'name', v.name, 'limit', v.most, 'running', cardinality(v.held), 'holders', v.held[1:${HOLDERS_SHOWN}]) ORDER BY v.at), '[]') FROM (VALUES
    (1, 'tenant', r.tenant_id, ${TENANT_LIMIT}, ARRAY(SELECT o.id FROM agent_runs o WHERE ${HOLDS.tenant('r.tenant_id')} ORDER BY o.started_at)),
    (2, 'agent', r.agent, ${AGENT_LIMIT}, ARRAY(SELECT o.id FROM agent_runs o WHERE ${HOLDS.agent('r.tenant_id', 'r.agent')} ORDER BY o.started_at)),
    (3, 'key', r.concurrency_key, r.concurrency_limit, ARRAY(SELECT o.id FROM agent_runs o WHERE ${HOLDS.key('r.tenant_id', 'r.concurrency_key')} ORDER BY o.started_at))) v(at, of, name, most, held) WHERE v.most IS NOT NULL) AS limits
FROM agent_runs r WHERE r.tenant_id = $1 AND r.id = $2`;

/** id: uuid; publicId: as audit lines name it. Undefined = no such run. */
export async function storedFacts(pool: EnginePool, tenant: string, id: string, publicId: string): Promise<StoredFacts | undefined> {
  const { rows } = await pool.query<StoredFacts>({ name: 'explain', text: FACTS, values: [tenant, id, publicId] });
  return rows[0];
}
