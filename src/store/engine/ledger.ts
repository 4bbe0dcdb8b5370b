// The ledger of a step's tool calls (intent before, result after) and its records; model calls are in model-ledger.ts.
// Every write first takes the run's row FOR SHARE with fence and claim in its WHERE, in the same statement: a worker that
// has lost the run writes nothing. The one exception: whoever wrote an intent may fill its result once.
import type pg from 'pg';
import type { Stored } from '../../domain/blob.ts';
import type { ToolCallStatus, ToolEffect } from '../../domain/status.ts';
import { guarded } from '../../guards.ts';
import { WOKEN } from './inbox.ts';
import type { EnginePool } from './pool.ts';

/** Where a call stands: which run, under which claim, which step, which path inside it. */
export interface Place {
  readonly tenant: string;
  readonly run: string;
  readonly fence: bigint;
  readonly claimedBy: string;
  /** Seq the step will have when it is committed. */
  readonly stepSeq: number;
  readonly path: string;
}

// Status as text, so that the index of held runs does not seem to fit: the key is the way to the row.
export const IS_HELD_BY = (r: string, fence: string, holder: string): string => `${r}.fence = ${fence} AND ${r}.claimed_by = ${holder} AND ${r}.status::text = 'running'`;
const IS_HELD = guarded('ledger-held', IS_HELD_BY('agent_runs', '$3', '$4'));
const HELD = `held AS (SELECT tenant_id, id, user_id, agent FROM agent_runs WHERE tenant_id = $1 AND id = $2 AND ${IS_HELD} FOR SHARE)`;

/** The run's row, locked while this claim holds it: the first statement of a transaction that writes for a step. Undefined = fenced. */
export async function lockHeld(client: pg.PoolClient, place: Place, strength: 'SHARE' | 'UPDATE' = 'SHARE'): Promise<{ inboxSeq: number; user: string | null } | undefined> {
  const { rows } = await client.query<{ inboxSeq: number; user: string | null }>(
    `SELECT inbox_seq AS "inboxSeq", user_id AS "user" FROM agent_runs WHERE tenant_id = $1 AND id = $2 AND ${IS_HELD} FOR ${strength}`, [place.tenant, place.run, place.fence, place.claimedBy]);
  return rows[0];
}

/** For a write that found nothing to do: whether the claim was the reason. */
export async function isHeld(pool: EnginePool, place: Place): Promise<boolean> {
  const { rowCount } = await pool.query(`SELECT FROM agent_runs WHERE tenant_id = $1 AND id = $2 AND ${IS_HELD}`, [place.tenant, place.run, place.fence, place.claimedBy]);
  return rowCount === 1;
}

const placeOf = (place: Place): unknown[] => [place.tenant, place.run, place.fence, place.claimedBy, place.stepSeq, place.path];

export interface RecordedCall {
  readonly kind: 'tool' | 'model' | 'record';
  readonly path: string;
  readonly name: string;
  /** hex */
  readonly argsHash: string;
  readonly status: string;
  readonly result: unknown;
  readonly errorCode: string | null;
  readonly errorMessage: string | null;
  readonly attempts: number;
  readonly startedMsAgo: number;
  /** Where the result lies when it is in the object store. */
  readonly blob: string | null;
  /** Of a tool call: what its callee was given. */
  readonly key: string | null;
}

export type StepPlace = Pick<Place, 'tenant' | 'run' | 'stepSeq'>;

const CALLS = `SELECT 'record' AS kind, path, name, encode(args_hash, 'hex') AS "argsHash", 'succeeded' AS status, result, NULL AS "errorCode", NULL AS "errorMessage", 1 AS attempts, 0::float8 AS "startedMsAgo", result_blob AS blob, NULL AS key
    FROM step_records WHERE tenant_id = c.t AND run_id = c.i AND step_seq = c.seq
  UNION ALL SELECT 'tool', path, tool, encode(args_hash, 'hex'), status::text, response, error_code, error_message, attempts, (extract(epoch FROM now() - started_at) * 1000)::float8, response_blob, key
    FROM tool_calls WHERE tenant_id = c.t AND run_id = c.i AND step_seq = c.seq
  UNION ALL (SELECT DISTINCT ON (path) 'model', path, model, encode(args_hash, 'hex'), CASE status WHEN 'settled' THEN 'succeeded' ELSE status::text END, response, error_code, NULL, attempt, 0, NULL, NULL
    FROM model_calls WHERE tenant_id = c.t AND run_id = c.i AND step_seq = c.seq AND model NOT LIKE 'tool:%' ORDER BY path, (status = 'settled') DESC, attempt DESC)`;

/** Everything that steps have on record, read when they run again; in the order of the steps. */
export async function recordedCalls(pool: EnginePool, steps: readonly StepPlace[]): Promise<RecordedCall[][]> {
  const { rows } = await pool.query<RecordedCall & { at: number }>({
    name: 'recorded', text: `SELECT c.at::int AS at, k.* FROM unnest($1::text[], $2::uuid[], $3::int[]) WITH ORDINALITY AS c(t, i, seq, at), LATERAL (${CALLS}) k`,
    values: [steps.map(({ tenant }) => tenant), steps.map(({ run }) => run), steps.map(({ stepSeq }) => stepSeq)],
  });
  const byStep = Map.groupBy(rows, ({ at }) => at - 1);
  return steps.map((_, at) => byStep.get(at) ?? []);
}

export async function recordResultIfHeld(pool: EnginePool, place: Place, name: string, argsHash: string, result: Stored): Promise<boolean> {
  const { rowCount } = await pool.query(`WITH ${HELD} INSERT INTO step_records (tenant_id, run_id, step_seq, path, fence, name, args_hash, result, result_blob)
    SELECT tenant_id, id, $5, $6, $3, $7, decode($8, 'hex'), $9::json, $10 FROM held ON CONFLICT DO NOTHING`, [...placeOf(place), name, argsHash, result.json, result.blob]);
  return rowCount === 1;
}

/** Empties what earlier steps of a run have recorded under a name, while this claim holds the run. */
export async function emptyRecords(pool: EnginePool, { tenant, id, fence }: { readonly tenant: string; readonly id: string; readonly fence: bigint }, name: string): Promise<void> {
  await pool.query(`UPDATE step_records k SET result = 'null', result_blob = NULL FROM agent_runs r WHERE r.tenant_id = $1 AND r.id = $2 AND r.fence = $3 AND k.tenant_id = r.tenant_id AND k.run_id = r.id AND k.name = $4`, [tenant, id, fence, name]);
}

export interface ToolIntent {
  readonly key: string;
  readonly tool: string;
  readonly version: number;
  readonly effect: ToolEffect;
  readonly argsHash: string;
  /** JSON text */
  readonly request: string;
  /** How long the call may be under way. */
  readonly timeoutMs: number;
  /** The tool's own name of the effect; one of it within its window, over all runs of the tenant. */
  readonly business: { readonly key: string; readonly windowMs: number } | undefined;
}

/** Writes or renews the intent of a tool call. False = fenced, or the result is there: a call with one is never reopened. Throws a
 *  unique violation when another run has the same business key. */
export async function openToolCallIfHeld(pool: EnginePool, place: Place, intent: ToolIntent): Promise<boolean> {
  const { rowCount } = await pool.query(`WITH ${HELD}
    INSERT INTO tool_calls AS k (tenant_id, run_id, step_seq, path, key, user_id, fence, claimed_by, tool, tool_version, effect, status, args_hash, request, deadline_at, business_key, business_until)
    SELECT tenant_id, id, $5, $6, $7, user_id, $3, $4, $8, $9, $10::tool_effect, 'intent', decode($11, 'hex'), $12::json, now() + $13::float8 * interval '1 ms', $14, now() + $15::float8 * interval '1 ms' FROM held
    ON CONFLICT (tenant_id, run_id, step_seq, path) DO UPDATE SET status = 'intent', fence = excluded.fence, claimed_by = excluded.claimed_by, attempts = k.attempts + 1, finished_at = NULL,
      error_code = NULL, error_message = NULL, key = excluded.key, tool = excluded.tool, args_hash = excluded.args_hash, request = excluded.request, deadline_at = excluded.deadline_at,
      business_key = excluded.business_key, business_until = excluded.business_until
    WHERE ${guarded('record-returned', `k.status <> 'succeeded'`)}`, [...placeOf(place), intent.key, intent.tool, intent.version, intent.effect, intent.argsHash, intent.request, intent.timeoutMs, intent.business?.key ?? null, intent.business?.windowMs ?? null]);
  return rowCount === 1;
}

export interface ToolOutcome {
  readonly status: Exclude<ToolCallStatus, 'intent'>;
  /** undefined without a result */
  readonly response: Stored | undefined;
  /** The call had been given up before it ended: the run may be parked, or about to be. */
  readonly late?: boolean;
  readonly meta: string;
  readonly errorCode: string | null;
  readonly errorMessage: string | null;
  readonly durationMs: number;
}

/**
 * Fills the result of an intent, once. A result is a fact, not a move: it counts also after a takeover, and it wakes a run
 * that waits for this outcome. The newer claim's intent is not overwritten by an older one's failure.
 */
export async function fillToolResult(pool: EnginePool, place: Place, outcome: ToolOutcome): Promise<boolean> {
  const { rowCount } = await pool.query(`
    WITH h AS MATERIALIZED ( -- the run's row first, as everywhere: a claim that came before is seen, one that comes later waits for the result
      SELECT tenant_id, id, fence FROM agent_runs WHERE tenant_id = $1 AND id = $2 AND erased_at IS NULL FOR NO KEY UPDATE
    ), f AS (
      UPDATE tool_calls k SET status = $5::tool_call_status, response = $6::json, response_blob = $12, response_meta = $7::json, error_code = $8, error_message = $9, duration_ms = $10, finished_at = now(),
        business_key = CASE WHEN $5::text IN ('succeeded', 'unknown') THEN business_key END
      FROM h WHERE k.tenant_id = $1 AND k.run_id = $2 AND k.step_seq = $3 AND k.path = $4 AND ${guarded('result-once', `k.status IN ('intent', 'unknown')`)} AND (k.fence <= $11 OR $5::text = 'succeeded')
      RETURNING k.tenant_id, k.run_id, h.fence AS held_by
    ), w AS ( -- news for whoever holds the run now, or for the wait it is in; to its own holder a result is no news
      UPDATE agent_runs r SET ${WOKEN} FROM f
      WHERE r.tenant_id = f.tenant_id AND r.id = f.run_id AND r.finished_at IS NULL AND $5::text IN ('succeeded', 'not_applied') AND (f.held_by <> $11 OR $13::boolean)
    ) SELECT FROM f`,
    [place.tenant, place.run, place.stepSeq, place.path, outcome.status, outcome.response?.json ?? null, outcome.meta, outcome.errorCode, outcome.errorMessage, Math.round(outcome.durationMs), place.fence, outcome.response?.blob ?? null, outcome.late ?? false]);
  return rowCount === 1;
}

/** An effect another run of the tenant has or is about to have under the same business key; undefined = free, or its window is over. */
export async function businessTwin(pool: EnginePool, place: Place, tool: string, key: string): Promise<{ run: string; status: string; response: unknown; blob: string | null } | undefined> {
  const { rows } = await pool.query<{ run: string; status: string; response: unknown; blob: string | null; over: boolean }>(
    `SELECT run_id AS run, status::text AS status, response, response_blob AS blob, business_until <= now() AND status <> 'intent' AS over FROM tool_calls
     WHERE tenant_id = $1 AND tool = $2 AND business_key = $3 AND (run_id, step_seq, path) <> ($4, $5, $6)`, [place.tenant, tool, key, place.run, place.stepSeq, place.path]);
  const [twin] = rows;
  if (!twin?.over) return twin;
  await pool.query(`UPDATE tool_calls SET business_key = NULL WHERE tenant_id = $1 AND tool = $2 AND business_key = $3 AND run_id = $4 AND business_until <= now()`, [place.tenant, tool, key, twin.run]);
  return undefined;
}

export interface OriginCall { readonly status: string; readonly result: unknown; readonly blob: string | null; readonly key: string; readonly same: boolean }

/** The same call (tool and arguments) among what the origin of a fork, and the origins of that one, did after the fork's beginning.
 *  `same`: at this very place of a step that origin never finished, so that the fork is this call's next try; otherwise it would
 *  be a repetition. */
export async function originCall(pool: EnginePool, origin: { readonly run: string; readonly seq: number }, place: Place, tool: string, argsHash: string): Promise<OriginCall | undefined> {
  const { rows } = await pool.query<OriginCall>(
    `WITH RECURSIVE o AS ( -- each origin with what its forks have taken over of it at most
       SELECT id, step_seq, forked_from, forked_seq, $3::int AS seq, 0 AS back FROM agent_runs WHERE tenant_id = $1 AND id = $2
       UNION ALL SELECT r.id, r.step_seq, r.forked_from, r.forked_seq, least(o.seq, o.forked_seq), o.back + 1 FROM o JOIN agent_runs r ON r.tenant_id = $1 AND r.id = o.forked_from
     )
     SELECT k.status::text AS status, k.response AS result, k.response_blob AS blob, k.key, k.step_seq = $4 AND k.path = $5 AND o.step_seq = o.seq AS same
     FROM o JOIN tool_calls k ON k.tenant_id = $1 AND k.run_id = o.id
     WHERE k.step_seq > o.seq AND k.tool = $6 AND k.args_hash = decode($7, 'hex') AND k.status NOT IN ('denied', 'not_applied')
     ORDER BY 5 DESC, k.status = 'succeeded' DESC, o.back, k.step_seq LIMIT 1`, [place.tenant, origin.run, origin.seq, place.stepSeq, place.path, tool, argsHash]);
  return rows[0];
}

/** Whether a tool call of the run has this reference to the object store as its result. */
export async function hasResult(pool: EnginePool, tenant: string, run: string, reference: string): Promise<boolean> {
  return (await pool.query(`SELECT FROM tool_calls WHERE tenant_id = $1 AND run_id = $2 AND response_blob = $3 LIMIT 1`, [tenant, run, reference])).rowCount === 1;
}
