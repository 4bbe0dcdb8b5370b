// What `mainstay doctor` asks Postgres: the server itself and its logins (as whoever asks), and the state of the fleet (with the
// engine's role). Only reads. The counts go over all tenants; nothing that belongs to one is in an answer.
import type { FleetFacts } from '../../domain/fleet-checks.ts';
import { DOCTOR_DUE_MS, DOCTOR_SWEPT_MS } from '../../domain/tunables.ts';
import { wallMs } from '../../clock.ts';
import type { EnginePool } from './pool.ts';

export interface ServerFacts {
  readonly version: string;
  readonly fsync: string;
  readonly synchronousCommit: string;
  readonly fullPageWrites: string;
  /** The database's clock less this machine's, give or take half of the round trip. */
  readonly skewMs: number;
}

export async function serverFacts(pool: EnginePool): Promise<ServerFacts> {
  await pool.query('SELECT 1'); // connected: the next round trip is a short one
  const sentMs = wallMs();
  const { rows } = await pool.query<Omit<ServerFacts, 'skewMs'> & { ms: number }>(`SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS ms, current_setting('server_version') AS version,
    current_setting('fsync') AS fsync, current_setting('synchronous_commit') AS "synchronousCommit", current_setting('full_page_writes') AS "fullPageWrites"`);
  const { ms, ...facts } = rows[0] as Omit<ServerFacts, 'skewMs'> & { ms: number };
  return { ...facts, skewMs: ms - (sentMs + wallMs()) / 2 };
}

export interface Migration { readonly name: string; /** hex SHA-256 of its SQL */ readonly checksum: string }
export interface AppliedMigration extends Migration { readonly isFinished: boolean }

/** Undefined: this database was never migrated. Asked as the owner of the schema. */
export async function appliedMigrations(pool: EnginePool): Promise<AppliedMigration[] | undefined> {
  const table = await pool.query<{ found: boolean }>(`SELECT to_regclass('_prisma_migrations') IS NOT NULL AS found`);
  if (!table.rows[0]?.found) return undefined;
  const { rows } = await pool.query<AppliedMigration>(`SELECT migration_name AS name, checksum, finished_at IS NOT NULL AS "isFinished" FROM _prisma_migrations WHERE rolled_back_at IS NULL ORDER BY 1`);
  return rows;
}

export interface LoginFacts { readonly login: string; readonly isEngine: boolean; readonly isApp: boolean; /** Row-level security does not bind it. */ readonly sees: boolean }

/** Of the login of this pool. A role that does not exist is nobody's. */
export async function loginFacts(pool: EnginePool): Promise<LoginFacts> {
  const { rows } = await pool.query<LoginFacts>(`SELECT session_user AS login, rolsuper OR rolbypassrls AS sees,
    coalesce((SELECT pg_has_role(session_user, oid, 'MEMBER') FROM pg_roles WHERE rolname = 'mainstay_engine'), false) AS "isEngine",
    coalesce((SELECT pg_has_role(session_user, oid, 'MEMBER') FROM pg_roles WHERE rolname = 'mainstay_app'), false) AS "isApp" FROM pg_roles WHERE rolname = session_user`);
  return rows[0] as LoginFacts;
}

const LIVE = `w.ended_at IS NULL AND w.lease_until > now()`;
const DUE = `r.status IN ('queued', 'waiting') AND r.wake_at IS NOT NULL AND r.wake_at <= now()`;
const HEAD = `(r.session_id IS NULL OR r.holds_session OR NOT EXISTS (SELECT FROM agent_runs o WHERE o.tenant_id = r.tenant_id AND o.user_id = r.user_id
  AND o.session_id = r.session_id AND o.session_seq < r.session_seq AND o.status IN ('queued', 'running', 'waiting')))`;
const HAS_WORKER = `EXISTS (SELECT FROM workers w WHERE w.pool = r.pool AND ${LIVE} AND r.agent || '@' || r.version = ANY (w.machines))`;
const age = (oldest: string): string => `coalesce(extract(epoch FROM now() - ${oldest}) * 1000, 0)::float8`;
const rowsOf = (query: string): string => `(SELECT coalesce(json_agg(x), '[]') FROM (${query}) x)`;
const LONG = `now() - interval '${DOCTOR_SWEPT_MS} ms'`;

const FLEET = `SELECT
  ${rowsOf(`SELECT w.pool, count(*)::int AS count, min(extract(epoch FROM w.lease_until - now()) * 1000)::float8 AS "leaseLeftMs" FROM workers w WHERE ${LIVE} GROUP BY 1 ORDER BY 1`)} AS workers,
  ${rowsOf(`SELECT coalesce(w.name, r.claimed_by::text) AS worker, count(*)::int AS runs FROM agent_runs r LEFT JOIN workers w ON w.incarnation = r.claimed_by WHERE r.status = 'running' AND NOT coalesce(${LIVE}, false) GROUP BY 1 ORDER BY 1`)} AS "deadHolders",
  ${rowsOf(`SELECT r.pool, count(*)::int AS count, ${age('min(r.wake_at)')} AS "oldestMs" FROM agent_runs r WHERE ${DUE} AND ${HAS_WORKER} AND ${HEAD} GROUP BY 1 ORDER BY 1`)} AS due,
  ${rowsOf(`SELECT r.agent, r.version, count(*)::int AS runs FROM agent_runs r WHERE ${DUE} AND NOT ${HAS_WORKER} AND EXISTS (SELECT FROM workers w WHERE w.pool = r.pool AND ${LIVE}) GROUP BY 1, 2 ORDER BY 1, 2`)} AS blocked,
  (SELECT count(*)::int FROM agent_runs WHERE status = 'waiting' AND wait_reason = 'outcome') AS outcomes,
  (SELECT count(*)::int FROM agent_runs WHERE status = 'waiting' AND wait_reason = 'restored') AS restored,
  (SELECT count(*)::int FROM agent_runs WHERE status = 'failed' AND error_code = 'poison' AND finished_at > now() - interval '1 day') AS poison,
  (SELECT count(*)::int FROM agent_runs WHERE status IN ('queued', 'running', 'waiting') AND crashes > 0) AS suspects,
  (SELECT count(*)::int FROM agent_runs WHERE status = 'queued' AND started_at IS NULL AND expires_at IS NOT NULL AND expires_at < ${LONG}) AS unexpired,
  (SELECT count(DISTINCT (r.tenant_id, r.id))::int FROM agent_runs r JOIN step_waits s ON s.tenant_id = r.tenant_id AND s.run_id = r.id AND s.step_seq = r.step_seq + 1 AND s.settled_at IS NULL WHERE r.status = 'waiting' AND (
    r.wait_reason = 'signal' AND s.kind = 'signal' AND EXISTS (SELECT FROM signals g WHERE g.tenant_id = r.tenant_id AND g.run_id = r.id AND g.name = s.name AND g.consumed_at IS NULL AND g.created_at < ${LONG})
    OR r.wait_reason = 'child' AND s.kind = 'child' AND NOT EXISTS (SELECT FROM agent_runs c WHERE c.tenant_id = r.tenant_id AND c.id = ANY (s.targets) AND (c.finished_at IS NULL OR c.finished_at > ${LONG}))))
  + (SELECT count(*)::int FROM agent_runs r JOIN approvals a ON a.tenant_id = r.tenant_id AND a.run_id = r.id AND a.step_seq = r.step_seq + 1 WHERE r.status = 'waiting' AND r.wait_reason = 'approval' AND a.status IN ('approved', 'denied') AND a.decided_at < ${LONG}) AS unread,
  (SELECT json_build_object('count', count(*), 'oldestMs', ${age('min(finished_at)')}) FROM agent_runs WHERE memory_state = 'due') AS owed,
  (SELECT count(*)::int FROM agent_runs r WHERE r.memory_state = 'due' AND EXISTS (SELECT FROM agent_runs m WHERE m.tenant_id = r.tenant_id AND m.idempotency_key LIKE 'remember:' || r.id || ':%' AND m.status IN ('failed', 'cancelled', 'expired'))) AS unremembered,
  ${rowsOf(`SELECT collection, count(*)::int AS count, ${age('min(since)')} AS "oldestMs" FROM (
    SELECT 'memories' AS collection, least(now(), greatest(created_at, last_seen_at, valid_to)) AS since FROM memories WHERE indexed_generation IS NULL
    UNION ALL SELECT 'conversation_summaries', created_at FROM run_summaries WHERE indexed_generation IS NULL UNION ALL SELECT 'run_artifacts', created_at FROM document_chunks WHERE indexed_generation IS NULL) i GROUP BY 1 ORDER BY 1`)} AS unindexed,
  (SELECT json_build_object('count', count(*), 'oldestMs', ${age('min(created_at)')}) FROM batch_items WHERE batch_id IS NULL) AS unsent,
  (SELECT count(*)::int FROM model_batches WHERE finished_at IS NULL AND look_at < now() - interval '${DOCTOR_DUE_MS} ms') AS unwatched,
  (SELECT json_build_object('count', count(*), 'oldestMs', ${age('min(sent_at)')}) FROM model_batches WHERE finished_at IS NULL) AS "openBatches"`;

/** Asked with the engine's role, which sees all tenants. */
export async function fleetFacts(pool: EnginePool): Promise<FleetFacts> {
  const { rows } = await pool.query<FleetFacts>(FLEET);
  return rows[0] as FleetFacts;
}
