// The submit statement: one row per run, unique by (tenant, idempotency key), with its place in the session taken in the
// same statement. What was submitted before under the same key is returned, not made again.
import type { EnginePool } from './pool.ts';
import { inTransaction } from './pool.ts';
import { limitsOf } from './sweeps.ts';

export interface NewRun {
  readonly tenant: string;
  readonly id: string;
  readonly agent: string;
  readonly version: number;
  readonly pool: string;
  readonly visible: boolean;
  readonly user: string | null;
  readonly session: string | null;
  readonly parent: string | null;
  /** Where the parent's step spawned it; null for all others. */
  readonly parentStepSeq: number | null;
  readonly parentPath: string | null;
  /** Ends as `expired` when it has not started so many milliseconds after it may; null = never. */
  readonly expiresInMs: number | null;
  readonly start: string;
  readonly priority: number;
  /** Of runs of the tenant with this key at most so many are running; both or neither. */
  readonly concurrencyKey: string | null;
  readonly concurrencyLimit: number | null;
  readonly idempotencyKey: string | null;
  /** hex SHA-256 of the request */
  readonly requestHash: string;
  /** JSON text */
  readonly metadata: string;
  readonly input: string;
  readonly model: string | null;
  readonly budgetMicroUsd: string | null;
  /** ISO time, or null for a delay from now */
  readonly startAt: string | null;
  readonly delayMs: number;
}

export interface Submitted {
  readonly id: string;
  /** false: an earlier submit with the same key made it */
  readonly created: boolean;
  readonly requestHash: string;
  readonly status: string;
  /** Milliseconds until it may start, by the database's clock; 0 = now. */
  readonly dueInMs: number;
  /** Milliseconds since the epoch, by the database's clock. */
  readonly createdMs: number;
  /** Of the tenant, as the ready queue wants them; a run made earlier was offered then. */
  readonly weight: number;
  readonly cap: number | null;
  readonly limits: string;
}

const COLUMNS = `ord int, tenant text, id uuid, agent text, version int, pool text, visible boolean, "user" text, session text, parent uuid, "parentStepSeq" int, "parentPath" text, "expiresInMs" float8, start text,
  priority int, "concurrencyKey" text, "concurrencyLimit" int, "idempotencyKey" text, "requestHash" text, metadata json, input json, model text, "budgetMicroUsd" bigint, "startAt" timestamptz, "delayMs" float8`;

/** Whole milliseconds, cut: rounded up by the column, a run that may start now would be due in the future. */
const DUE = `date_trunc('milliseconds', greatest(now(), coalesce(c."startAt", now() + c."delayMs" * interval '1 ms')))`;

// A session's counter is raised by as many places as the group has runs for it; a run repeated under its key leaves a gap.
const SUBMIT = `
WITH c AS MATERIALIZED (
  SELECT c.*, row_number() OVER (PARTITION BY tenant, "user", session ORDER BY ord) AS place, count(*) OVER (PARTITION BY tenant, "user", session) AS places FROM json_to_recordset($1::json) AS c(${COLUMNS})
), s AS (
  INSERT INTO sessions AS s (tenant_id, user_id, id, next_seq)
  SELECT tenant, "user", session, count(*) + 1 FROM c WHERE session IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
  ON CONFLICT (tenant_id, user_id, id) DO UPDATE SET next_seq = s.next_seq + excluded.next_seq - 1
  RETURNING tenant_id, user_id, id, next_seq
), r AS (
  INSERT INTO agent_runs (tenant_id, id, agent, version, pool, visible, user_id, session_id, session_seq, parent_id, parent_step_seq, parent_path, next_step, priority, concurrency_key, concurrency_limit,
    idempotency_key, request_hash, metadata, input, model, budget_micro_usd, wake_at, expires_at)
  SELECT c.tenant, c.id, c.agent, c.version, c.pool, c.visible, c."user", c.session, s.next_seq - c.places + c.place - 1, c.parent, c."parentStepSeq", c."parentPath", c.start, c.priority, c."concurrencyKey", c."concurrencyLimit",
    c."idempotencyKey", decode(c."requestHash", 'hex'), c.metadata, c.input, c.model, c."budgetMicroUsd",
    ${DUE}, ${DUE} + c."expiresInMs" * interval '1 ms'
  FROM c LEFT JOIN s ON s.tenant_id = c.tenant AND s.user_id = c."user" AND s.id = c.session
  ORDER BY c.tenant, c."idempotencyKey", c.ord
  ON CONFLICT (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
  RETURNING tenant_id, id, wake_at, created_at, visible, agent, concurrency_key, concurrency_limit
), e AS (INSERT INTO run_events (tenant_id, run_id, seq, type) SELECT tenant_id, id, 1, 'run.queued' FROM r)
SELECT r.id, ceil(extract(epoch FROM r.wake_at - now()) * 1000)::float8 AS due, (extract(epoch FROM r.created_at) * 1000)::float8 AS created, coalesce(t.weight, 1)::float8 AS weight,
  CASE WHEN r.visible THEN t.max_running END AS cap, ${limitsOf('r')} AS limits
FROM r LEFT JOIN tenants t ON t.id = r.tenant_id`;

const EXISTING = `
SELECT k.ord::int AS ord, r.id, encode(r.request_hash, 'hex') AS hash, r.status::text AS status, (extract(epoch FROM r.created_at) * 1000)::float8 AS created
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k(tenant, key, ord) JOIN agent_runs r ON r.tenant_id = k.tenant AND r.idempotency_key = k.key`;

type Queryable = { query: EnginePool['query'] };

/** Answers in the order of `runs`. */
export async function submitRuns(db: Queryable, runs: readonly NewRun[]): Promise<Submitted[]> {
  const made = await db.query<{ id: string; due: number; created: number; weight: number; cap: number | null; limits: string }>({ name: 'submit', text: SUBMIT, values: [`[${runs.map(asJson).join(',')}]`] });
  const byId = new Map(made.rows.map((row) => [row.id, row]));
  const repeated = runs.filter((run) => !byId.has(run.id));
  const earlier = new Map<string, Submitted>();
  if (repeated.length > 0) {
    const found = await db.query<{ ord: number; id: string; hash: string; status: string; created: number }>(EXISTING, [repeated.map((run) => run.tenant), repeated.map((run) => run.idempotencyKey)]);
    for (const row of found.rows) {
      const run = repeated[row.ord - 1] as NewRun;
      earlier.set(run.id, { id: row.id, created: false, requestHash: row.hash, status: row.status, dueInMs: 0, createdMs: row.created, weight: 1, cap: null, limits: '' });
    }
  }
  return runs.map((run) => {
    const row = byId.get(run.id);
    if (row) return { id: run.id, created: true, requestHash: run.requestHash, status: 'queued', dueInMs: Math.max(0, row.due), createdMs: row.created, weight: row.weight, cap: row.cap, limits: row.limits };
    const before = earlier.get(run.id);
    if (!before) throw new Error('a submitted run was neither made nor found');
    return before;
  });
}

/** `reject`: refuses (undefined) when the session has an unfinished run. The session row's lock makes two such callers take turns. */
export function submitUnlessBusy(pool: EnginePool, run: NewRun): Promise<Submitted | undefined> {
  return inTransaction(pool, async (client) => {
    await client.query(`INSERT INTO sessions (tenant_id, user_id, id) VALUES ($1, $2, $3) ON CONFLICT (tenant_id, user_id, id) DO UPDATE SET next_seq = sessions.next_seq`, [run.tenant, run.user, run.session]);
    const busy = await client.query(
      `SELECT FROM agent_runs WHERE tenant_id = $1 AND user_id = $2 AND session_id = $3 AND status IN ('queued', 'running', 'waiting') AND ($4::text IS NULL OR idempotency_key IS DISTINCT FROM $4) LIMIT 1`,
      [run.tenant, run.user, run.session, run.idempotencyKey],
    );
    if (busy.rowCount) return undefined;
    return (await submitRuns(client, [run]))[0];
  });
}

/** Input and metadata are JSON text already: they are placed, not encoded again. */
function asJson({ input, metadata, ...run }: NewRun, ord: number): string {
  return `${JSON.stringify({ ord, ...run }).slice(0, -1)},"input":${input},"metadata":${metadata}}`;
}
