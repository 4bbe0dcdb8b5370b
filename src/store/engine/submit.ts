// The submit statement: one row per run, unique by (tenant, idempotency key), with its place in the session taken in the
// same statement. What was submitted before under the same key is returned, not made again; what is debounced is folded into the
// run of its key that has not started, if there is one.
import type { Lane } from '../../domain/lane.ts';
import type { RunStatus } from '../../domain/status.ts';
import { asLeanJson, inTransaction, type EnginePool } from './pool.ts';
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
  /** 32 hex digits: see `requestDigest`. Older rows, and those made by SQL, hold the whole SHA-256. */
  readonly requestHash: string;
  /** JSON text */
  readonly metadata: string;
  readonly input: string;
  readonly model: string | null;
  readonly budgetMicroUsd: string | null;
  /** null = as its machine says */
  readonly lane: Lane | null;
  /** ISO time */
  readonly deadlineAt: string | null;
  /** ISO time, or null for a delay from now */
  readonly startAt: string | null;
  readonly delayMs: number;
  /** hex SHA-256 of agent, user, session and the debounce key; null = not debounced */
  readonly debounceKey: string | null;
  /** Later submits of the key move its start no further than so many milliseconds from now; null = any time. */
  readonly debounceMaxMs: number | null;
}

export interface Submitted {
  readonly id: string;
  /** false: an earlier submit with the same key made it, or with the same debounce key */
  readonly created: boolean;
  readonly requestHash: string;
  readonly status: RunStatus;
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
  priority int, "concurrencyKey" text, "concurrencyLimit" int, "idempotencyKey" text, "requestHash" text, metadata json, input json, model text, "budgetMicroUsd" bigint, lane text, "deadlineAt" timestamptz, "startAt" timestamptz, "delayMs" float8, "debounceKey" text, "debounceMaxMs" float8`;

/** Whole milliseconds, cut: rounded up by the column, a run that may start now would be due in the future. */
const DUE = `date_trunc('milliseconds', greatest(now(), coalesce(c."startAt", now() + c."delayMs" * interval '1 ms')))`;

const ONCE = `ON CONFLICT (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING`;
/** When a debounced run starts after one more submit. */
const MOVED = `least(excluded.wake_at, o.debounce_until)`;
// The index holds what has neither started nor ended. A claim under way is waited for: if it commits, the run is not in the index
// any more and the row is inserted; if it does not, it finds the new input. The last submit wins whole, with the version its
// input was checked by; the run keeps its id, its place in the session and, where it is paused, its pause.
const FOLD = `ON CONFLICT (tenant_id, debounce_key) WHERE debounce_key IS NOT NULL AND started_at IS NULL AND finished_at IS NULL DO UPDATE SET
    version = excluded.version, pool = excluded.pool, next_step = excluded.next_step, model = excluded.model, budget_micro_usd = excluded.budget_micro_usd, priority = excluded.priority, lane = excluded.lane, deadline_at = excluded.deadline_at,
    concurrency_key = excluded.concurrency_key, concurrency_limit = excluded.concurrency_limit,
    request_hash = excluded.request_hash, metadata = excluded.metadata, input = excluded.input, debounced = o.debounced + 1, event_seq = o.event_seq + 1,
    wake_at = CASE WHEN o.status = 'queued' THEN ${MOVED} ELSE o.wake_at END, resume_at = CASE WHEN o.wait_reason = 'paused' THEN ${MOVED} ELSE o.resume_at END,
    expires_at = ${MOVED} + (excluded.expires_at - excluded.wake_at),
    budget_keys = CASE WHEN excluded.budget_micro_usd IS NOT NULL THEN ARRAY['run:' || o.id || '/total'] END`;

// A session's counter is raised by as many places as the group has runs for it; a run repeated under its key leaves a gap.
const PLACED = {
  runs: `c.*, row_number() OVER (PARTITION BY tenant, "user", session ORDER BY ord) AS place, count(*) OVER (PARTITION BY tenant, "user", session) AS places`,
  sessions: `, s AS (
  INSERT INTO sessions AS s (tenant_id, user_id, id, next_seq)
  SELECT tenant, "user", session, count(*) + 1 FROM c WHERE session IS NOT NULL GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
  ON CONFLICT (tenant_id, user_id, id) DO UPDATE SET next_seq = s.next_seq + excluded.next_seq - 1
  RETURNING tenant_id, user_id, id, next_seq
)`,
  place: 's.next_seq - c.places + c.place - 1', join: 'LEFT JOIN s ON s.tenant_id = c.tenant AND s.user_id = c."user" AND s.id = c.session',
};
/** Of runs without a session. */
const UNPLACED = { runs: 'c.*', sessions: '', place: 'NULL', join: '' };

/** That a run was queued is told by its row. */
const FOLDED = `, e AS (
  INSERT INTO run_events (tenant_id, run_id, seq, type, data) SELECT tenant_id, id, event_seq, 'run.debounced', json_build_object('count', debounced) FROM r WHERE debounced > 0
), b AS ( -- a new row's budget is made by its trigger; one for updates too would cost every checkpoint a lock of its row
  INSERT INTO budgets (tenant_id, subject, limit_micro_usd) SELECT tenant_id, 'run:' || id, budget_micro_usd FROM r WHERE debounced > 0 AND budget_micro_usd IS NOT NULL
  ON CONFLICT (tenant_id, subject, budget_window) DO UPDATE SET limit_micro_usd = excluded.limit_micro_usd
)`;

const SUBMIT = (onConflict: string, placed: typeof PLACED, more: string): string => `
WITH c AS MATERIALIZED (SELECT ${placed.runs} FROM json_to_recordset($1::json) AS c(${COLUMNS}))${placed.sessions}, r AS (
  INSERT INTO agent_runs AS o (tenant_id, id, agent, version, pool, visible, user_id, session_id, session_seq, parent_id, parent_step_seq, parent_path, next_step, priority, concurrency_key, concurrency_limit,
    idempotency_key, request_hash, metadata, input, model, budget_micro_usd, lane, deadline_at, wake_at, expires_at, debounce_key, debounce_until)
  SELECT c.tenant, c.id, c.agent, c.version, c.pool, c.visible, c."user", c.session, ${placed.place}, c.parent, c."parentStepSeq", c."parentPath", c.start, c.priority, c."concurrencyKey", c."concurrencyLimit",
    c."idempotencyKey", decode(c."requestHash", 'hex'), c.metadata, c.input, c.model, c."budgetMicroUsd", c.lane, c."deadlineAt",
    ${DUE}, ${DUE} + c."expiresInMs" * interval '1 ms', decode(c."debounceKey", 'hex'), now() + c."debounceMaxMs" * interval '1 ms'
  FROM c ${placed.join}
  ORDER BY c.tenant, c."idempotencyKey", c.ord
  ${onConflict}
  RETURNING o.tenant_id, o.id, o.status, o.wake_at, o.created_at, o.event_seq, o.debounced, o.visible, o.agent, o.concurrency_key, o.concurrency_limit, o.budget_micro_usd
)${more}
SELECT r.id, r.status::text AS status, ceil(extract(epoch FROM r.wake_at - now()) * 1000)::float8 AS due, (extract(epoch FROM r.created_at) * 1000)::float8 AS created, coalesce(t.weight, 1)::float8 AS weight,
  CASE WHEN r.visible THEN t.max_running END AS cap, ${limitsOf('r')} AS limits
FROM r LEFT JOIN tenants t ON t.id = r.tenant_id`;

const EXISTING = `
SELECT k.ord::int AS ord, r.id, encode(substring(r.request_hash FOR 16), 'hex') AS hash, r.status::text AS status, (extract(epoch FROM r.created_at) * 1000)::float8 AS created
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k(tenant, key, ord) JOIN agent_runs r ON r.tenant_id = k.tenant AND r.idempotency_key = k.key`;

// An earlier run of the bulk itself counts as well: places are taken in order. LATERAL, so that each session is looked up by its
// index; a join would read the tenant.
const BUSY = `
SELECT r.id FROM unnest($2::uuid[]) AS m(id), LATERAL (SELECT * FROM agent_runs r WHERE r.tenant_id = $1 AND r.id = m.id LIMIT 1) r,
  LATERAL (SELECT FROM agent_runs b WHERE b.tenant_id = $1 AND b.user_id = r.user_id AND b.session_id = r.session_id AND b.session_seq < r.session_seq AND b.status IN ('queued', 'running', 'waiting') LIMIT 1) b`;

const SUBMIT_ONCE = { name: 'submit', text: SUBMIT(ONCE, UNPLACED, '') };
const SUBMIT_IN_SESSION = { name: 'submit-session', text: SUBMIT(ONCE, PLACED, '') };
const SUBMIT_OR_FOLD = { name: 'submit-debounced', text: SUBMIT(FOLD, PLACED, FOLDED) };

type Queryable = { query: EnginePool['query'] };
interface Row { id: string; status: RunStatus; due: number; created: number; weight: number; cap: number | null; limits: string }

const asSubmitted = (run: NewRun, row: Row): Submitted =>
  ({ id: row.id, created: row.id === run.id, requestHash: run.requestHash, status: row.status, dueInMs: Math.max(0, row.due), createdMs: row.created, weight: row.weight, cap: row.cap, limits: row.limits });

/** Answers in the order of `runs`, none of which is debounced. */
export async function submitRuns(db: Queryable, runs: readonly NewRun[]): Promise<Submitted[]> {
  const made = await db.query<Row>({ ...(runs.some(({ session }) => session !== null) ? SUBMIT_IN_SESSION : SUBMIT_ONCE), values: [`[${runs.map(asJson).join(',')}]`] });
  const byId = new Map(made.rows.map((row) => [row.id, row]));
  const repeated = runs.filter((run) => !byId.has(run.id));
  const earlier = new Map<string, Submitted>();
  if (repeated.length > 0) {
    const found = await db.query<{ ord: number; id: string; hash: string; status: RunStatus; created: number }>(EXISTING, [repeated.map((run) => run.tenant), repeated.map((run) => run.idempotencyKey)]);
    for (const row of found.rows) {
      const run = repeated[row.ord - 1] as NewRun;
      earlier.set(run.id, { id: row.id, created: false, requestHash: row.hash, status: row.status, dueInMs: 0, createdMs: row.created, weight: 1, cap: null, limits: '' });
    }
  }
  return runs.map((run) => {
    const row = byId.get(run.id);
    if (row) return asSubmitted(run, row);
    const before = earlier.get(run.id);
    if (!before) throw new Error('a submitted run was neither made nor found');
    return before;
  });
}

/** One debounced run: a row of its own, or folded into the one of its key that has not started. */
export async function submitDebounced(db: Queryable, run: NewRun): Promise<Submitted> {
  const { rows } = await db.query<Row>({ ...SUBMIT_OR_FOLD, values: [`[${asJson(run, 0)}]`] });
  if (!rows[0]) throw new Error('a debounced run was neither made nor folded');
  return asSubmitted(run, rows[0]);
}

export interface Together {
  readonly submitted: readonly Submitted[];
  /** Of `rejecting`: those whose session has an unfinished run. */
  readonly busy: ReadonlySet<string>;
}

/** All runs of one tenant or none: none where a key was used with another request, or where a session of `rejecting` (ids) is busy.
 *  One statement, so that two bulks lock sessions and keys in one order; it takes the lock of each session's row, so that
 *  what is looked for afterwards is all there is. */
export function submitTogether(pool: EnginePool, runs: readonly NewRun[], rejecting: readonly string[]): Promise<Together> {
  return inTransaction(pool, async (client) => {
    await client.query('SAVEPOINT before'); // a refusal is an answer, not an error that costs the connection
    const submitted = await submitRuns(client, runs);
    const made = new Set(submitted.filter(({ created }) => created).map(({ id }) => id));
    const asked = rejecting.filter((id) => made.has(id));
    const busy = asked.length === 0 ? [] : (await client.query<{ id: string }>(BUSY, [runs[0]?.tenant, asked])).rows.map(({ id }) => id);
    if (busy.length > 0 || submitted.some((one, at) => one.requestHash !== runs[at]?.requestHash)) await client.query('ROLLBACK TO SAVEPOINT before');
    return { submitted, busy: new Set(busy) };
  });
}

/** Input and metadata are JSON text already: they are placed, not encoded again. */
function asJson({ input, metadata, ...run }: NewRun, ord: number): string {
  return `${asLeanJson({ ord, ...run }).slice(0, -1)},"input":${input},"metadata":${metadata}}`;
}
