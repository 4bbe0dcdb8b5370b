// Waits inside a step, and what is sent to a run. A wait is opened once, with its deadline by the database's clock; a signal
// is kept until a wait consumes it, also when it came before. Whatever is sent raises `inbox_seq` on the run's row in the
// statement that stores it; a wait reads that number under the row's lock *before* it looks, so that a commit which would
// park past an unread message sees another number and becomes `queued` instead. The end of a child is the exception: a parent of
// a thousand would be a row that everybody waits for. It changes nothing of the parent's; instead both sides commit, then look
// (`wakeAnswered`): the worker of the child that ended, and the parent's that parked. One of the two always sees the other.
import { guarded } from '../../guards.ts';
import type { Json } from '../../domain/json.ts';
import type { RunStatus } from '../../domain/status.ts';
import { BY_NEWS, WOKEN } from './inbox.ts';
import { lockHeld, type Place } from './ledger.ts';
import { inTransaction, type EnginePool } from './pool.ts';

export interface WaitSpec {
  readonly kind: 'signal' | 'timer' | 'child';
  /** Of the signal; for a timer and for children a word for people. */
  readonly name: string;
  /** hex */
  readonly argsHash: string;
  /** null = for as long as it takes */
  readonly timeoutMs: number | null;
  /** uuids of the children waited for */
  readonly targets: readonly string[];
  /** Children: whether the first end is enough. */
  readonly any: boolean;
}

export interface ChildEnd { readonly run: string; readonly status: RunStatus; readonly output: Json; readonly errorCode: string | null; readonly errorMessage: string | null; readonly outputBlob: string | null }

/** What a wait was answered with; stored as the record of its call. */
export type WaitResult =
  | { readonly signal: { readonly payload: Json; readonly sentBy: string } }
  | { readonly children: readonly ChildEnd[] }
  | { readonly timedOut: true };

export type WaitAnswer = 'fenced' | { readonly result: WaitResult } | { readonly dueInMs: number | null; readonly inboxSeq: number };

/** Opens the wait or settles it. Two statements on purpose: the second one's snapshot is younger than the row's lock. */
export function settleOrOpenWaitIfHeld(pool: EnginePool, place: Place, spec: WaitSpec): Promise<WaitAnswer> {
  return inTransaction(pool, async (client) => {
    const held = await lockHeld(client, place, 'UPDATE'); // two branches of a step may look at once: they take turns, or both would take the same signal
    if (!held) return 'fenced' as const;
    const at = [place.tenant, place.run, place.stepSeq, place.path];
    await client.query(`INSERT INTO step_waits (tenant_id, run_id, step_seq, path, kind, name, args_hash, targets, deadline_at)
      VALUES ($1, $2, $3, $4, $5::wait_kind, $6, decode($7, 'hex'), $8::uuid[], now() + $9::float8 * interval '1 ms') ON CONFLICT DO NOTHING`, [...at, spec.kind, spec.name, spec.argsHash, spec.targets, spec.timeoutMs]);
    const result = await answered(client, place, spec);
    const { rows } = await client.query<{ due: number | null }>(
      `SELECT (extract(epoch FROM deadline_at - clock_timestamp()) * 1000)::float8 AS due FROM step_waits WHERE tenant_id = $1 AND run_id = $2 AND step_seq = $3 AND path = $4`, at);
    const due = rows[0]?.due ?? null;
    const settled = result ?? (due !== null && due <= 0 ? { timedOut: true as const } : undefined);
    if (!settled) return { dueInMs: due, inboxSeq: held.inboxSeq };
    await client.query(`INSERT INTO step_records (tenant_id, run_id, step_seq, path, fence, name, args_hash, result) VALUES ($1, $2, $3, $4, $5, $6, decode($7, 'hex'), $8::json)`,
      [...at, place.fence, `${spec.kind}:${spec.name}`, spec.argsHash, JSON.stringify(settled)]);
    await client.query(`UPDATE step_waits SET settled_at = now() WHERE tenant_id = $1 AND run_id = $2 AND step_seq = $3 AND path = $4`, at);
    return { result: settled };
  });
}

type Client = Parameters<Parameters<typeof inTransaction>[1]>[0];

async function answered(client: Client, place: Place, spec: WaitSpec): Promise<WaitResult | undefined> {
  if (spec.kind === 'signal') {
    const { rows } = await client.query<{ payload: Json; sentBy: string }>(
      `UPDATE signals SET consumed_at = now(), consumed_step_seq = $4, consumed_path = $5
       WHERE tenant_id = $1 AND run_id = $2 AND id = (SELECT id FROM signals WHERE tenant_id = $1 AND run_id = $2 AND name = $3 AND ${guarded('signal-once', 'consumed_at IS NULL')} ORDER BY seq LIMIT 1)
       RETURNING payload, sent_by AS "sentBy"`, [place.tenant, place.run, spec.name, place.stepSeq, place.path]);
    return rows[0] && { signal: rows[0] };
  }
  if (spec.kind === 'child') {
    const { rows } = await client.query<ChildEnd & { ended: boolean }>(
      `SELECT id AS run, status::text AS status, output, output_blob AS "outputBlob", error_code AS "errorCode", error_message AS "errorMessage", finished_at IS NOT NULL AS ended
       FROM agent_runs WHERE tenant_id = $1 AND parent_id = $2 AND id = ANY ($3::uuid[]) ORDER BY array_position($3::uuid[], id)`, [place.tenant, place.run, spec.targets]);
    const ended = rows.filter((row) => row.ended);
    if (rows.length === 0 || (spec.any ? ended.length === 0 : ended.length < rows.length)) return undefined;
    return { children: ended.map(({ run, status, output, errorCode, errorMessage, outputBlob }) => ({ run, status, output, errorCode, errorMessage, outputBlob })) };
  }
  return undefined;
}

// `r` waits for children, and all of them have ended, or one where one is enough.
const IS_ANSWERED = `r.status = 'waiting' AND r.wait_reason IN ${BY_NEWS} AND EXISTS (SELECT FROM step_waits w
  WHERE w.tenant_id = r.tenant_id AND w.run_id = r.id AND w.step_seq = r.step_seq + 1 AND w.kind = 'child' AND w.settled_at IS NULL AND CASE w.name
    WHEN 'any' THEN EXISTS (SELECT FROM agent_runs c WHERE c.tenant_id = w.tenant_id AND c.id = ANY (w.targets) AND c.finished_at IS NOT NULL)
    ELSE NOT EXISTS (SELECT FROM agent_runs c WHERE c.tenant_id = w.tenant_id AND c.id = ANY (w.targets) AND c.finished_at IS NULL) END)`;
const WAKE_ANSWERED = (of: string): string => `WITH a AS MATERIALIZED (SELECT r.tenant_id, r.id FROM agent_runs r WHERE ${of} AND ${IS_ANSWERED} ORDER BY 1, 2 LIMIT $1 FOR UPDATE OF r)
  UPDATE agent_runs r SET ${WOKEN} FROM a WHERE r.tenant_id = a.tenant_id AND r.id = a.id RETURNING r.tenant_id AS tenant, r.id`;
const WAKE_THESE = WAKE_ANSWERED(`(r.tenant_id, r.id) IN (SELECT * FROM unnest($2::text[], $3::uuid[]))`);
const WAKE_ANY = WAKE_ANSWERED(`(r.tenant_id, r.id) IN (SELECT tenant_id, run_id FROM step_waits WHERE kind = 'child' AND settled_at IS NULL)`);

export interface Parent { readonly tenant: string; readonly id: string }

/** Wakes those of the runs whose wait for children is answered; tells of each whether it did. Its snapshot is younger than the
 *  commit it follows: that is what it is for. */
export async function wakeAnswered(pool: EnginePool, runs: readonly Parent[]): Promise<boolean[]> {
  const { rows } = await pool.query<Parent>({ name: 'wake-answered', text: WAKE_THESE, values: [runs.length, runs.map(({ tenant }) => tenant), runs.map(({ id }) => id)] });
  const woken = new Set(rows.map(({ tenant, id }) => `${tenant} ${id}`));
  return runs.map(({ tenant, id }) => woken.has(`${tenant} ${id}`));
}

/** The same of whatever waits, for the sweep: the worker that should have looked died before it could. */
export async function wakeAllAnswered(pool: EnginePool, limit: number): Promise<number> {
  return (await pool.query(WAKE_ANY, [limit])).rowCount ?? 0;
}

export interface NewSignal {
  readonly tenant: string;
  readonly run: string;
  /** Only a run of this user. */
  readonly user: string | null | undefined;
  readonly id: string;
  readonly name: string;
  /** JSON text */
  readonly payload: string;
  readonly sentBy: string;
  readonly idempotencyKey: string | undefined;
}

/** Stores a signal. `repeated`: the same key was sent before. `finished`: the run has ended. Undefined = no such run. */
export async function sendSignal(pool: EnginePool, signal: NewSignal): Promise<'sent' | 'repeated' | 'finished' | undefined> {
  const { rows } = await pool.query<{ sent: boolean; finished: boolean }>(`
    WITH h AS (SELECT tenant_id, id, finished_at FROM agent_runs WHERE tenant_id = $1 AND id = $2 AND visible AND ($3::boolean OR user_id IS NOT DISTINCT FROM $4) FOR UPDATE),
    s AS (INSERT INTO signals (tenant_id, run_id, id, name, payload, sent_by, idempotency_key) SELECT tenant_id, id, $5, $6, $7::json, $8, $9 FROM h WHERE finished_at IS NULL ON CONFLICT DO NOTHING RETURNING tenant_id, run_id),
    u AS (UPDATE agent_runs r SET ${WOKEN}, event_seq = r.event_seq + 1 FROM s WHERE r.tenant_id = s.tenant_id AND r.id = s.run_id RETURNING r.tenant_id, r.id, r.event_seq),
    e AS (INSERT INTO run_events (tenant_id, run_id, seq, type, data) SELECT tenant_id, id, event_seq, 'signal.received', json_build_object('name', $6::text) FROM u)
    SELECT EXISTS (SELECT FROM s) AS sent, finished_at IS NOT NULL AS finished FROM h`,
  [signal.tenant, signal.run, signal.user === undefined, signal.user ?? null, signal.id, signal.name, signal.payload, signal.sentBy, signal.idempotencyKey ?? null]);
  const [row] = rows;
  if (!row) return undefined;
  return row.sent ? 'sent' : row.finished ? 'finished' : 'repeated';
}
