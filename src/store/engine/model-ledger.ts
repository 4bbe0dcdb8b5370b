// The ledger of model calls, and of tool calls that cost (model `tool:<name>`, no tokens): one row per attempt, its worst case reserved before the call and its true usage booked after.
// The reserve is taken from every budget the call falls under, in one statement with the row, and only where all have room.
// Calls of a process go in groups; rows are locked in one order (runs, calls, budgets by key) and a budget is changed once per
// group. An attempt whose usage nobody learnt is booked at its reserve by the next claim; true usage corrects that once.
import { BUDGET_WARNING } from '../../domain/budget.ts';
import type { Usage } from '../../domain/model.ts';
import type { PriceLane } from '../../domain/prices.ts';
import { guarded } from '../../guards.ts';
import { changed, keysOf, roomOf } from './budget-sql.ts';
import { IS_HELD_BY, type Place } from './ledger.ts';
import { isConnectionError, isDeadlock, isUniqueViolation, type EnginePool } from './pool.ts';

export interface ModelIntent {
  readonly place: Place;
  readonly attempt: number;
  readonly model: string;
  /** hex */
  readonly argsHash: string;
  /** null: nobody knows what the model costs. It is called where no budget has to know; under one it finds no room. */
  readonly reservedMicroUsd: bigint | null;
  readonly lane: PriceLane;
  /** Of the lane `batch`: what waits to be sent. `id` is its custom id, `request` JSON text. */
  readonly item?: { readonly id: string; readonly request: string };
}

/** `exhausted`: the key of a budget that has no room; nothing is reserved then. */
export type Reserved = 'reserved' | 'fenced' | { readonly exhausted: string };

/** What a run's calls used and cost, for `UPDATE agent_runs r`; null without any. */
export const RUN_SUMS = `(input_tokens, output_tokens, cost_micro_usd) = (
    SELECT sum(m.input_tokens + m.cache_read_tokens + m.cache_write_5m_tokens + m.cache_write_1h_tokens), sum(m.output_tokens), sum(m.cost_micro_usd) FROM model_calls m WHERE m.tenant_id = r.tenant_id AND m.run_id = r.id)`;

const HELD = guarded('ledger-held', IS_HELD_BY('r', 'c.fence', 'c.holder'));
/** More than any budget has, and a group of them still fits its type. */
const UNPRICED = 9_000_000_000_000_000;
// A group is granted a call where each of its budgets has room for all that the group wants of it: what is refused in company
// is asked again alone.
/** `item`: a call of the batch lane is put where it waits to be sent, in the same statement. Its attempt stays open until its result. */
const RESERVE = (item: { readonly columns: string; readonly arrays: string; readonly insert: string }): string => `
WITH c AS MATERIALIZED (
  SELECT * FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::uuid[], $5::int[], $6::text[], $7::int[], $8::text[], $9::text[], $10::bigint[], $11::text[]${item.arrays})
    WITH ORDINALITY AS c(t, i, fence, holder, seq, path, attempt, model, hash, amount, lane${item.columns}, ord)
), held AS MATERIALIZED (
  SELECT c.*, r.agent, r.user_id, r.budget_keys FROM c JOIN agent_runs r ON r.tenant_id = c.t AND r.id = c.i WHERE ${HELD} ORDER BY r.tenant_id, r.id FOR SHARE OF r
), want AS MATERIALIZED (
  SELECT h.ord, h.t, g.key, coalesce(h.amount, ${UNPRICED}) AS amount FROM held h JOIN budgets g ON g.tenant_id = h.t AND g.subject = ANY (ARRAY['tenant', 'agent:' || h.agent, 'user:' || h.user_id])
  UNION ALL SELECT h.ord, h.t, k.key, coalesce(h.amount, ${UNPRICED}) FROM held h, unnest(h.budget_keys) AS k(key)
), total AS MATERIALIZED (SELECT t, key, sum(amount)::bigint AS amount FROM want GROUP BY t, key
), locked AS MATERIALIZED (
  SELECT g.tenant_id, g.key, ${roomOf('g')} AS room, n.amount FROM total n JOIN budgets g ON g.tenant_id = n.t AND g.key = n.key ORDER BY g.tenant_id, g.key FOR UPDATE OF g
), tight AS MATERIALIZED (SELECT tenant_id, key FROM locked WHERE NOT (${guarded('budget-room', 'room >= amount')})
), granted AS MATERIALIZED (SELECT h.*, ARRAY(SELECT w.key FROM want w WHERE w.ord = h.ord ORDER BY w.key) AS keys FROM held h WHERE NOT EXISTS (SELECT FROM want w JOIN tight f ON f.tenant_id = w.t AND f.key = w.key WHERE w.ord = h.ord)
), b AS (
  UPDATE budgets g SET ${changed('g', 's.amount', '0')}
  FROM (SELECT w.t, w.key, sum(w.amount)::bigint AS amount FROM want w JOIN granted USING (ord) GROUP BY 1, 2) s WHERE g.tenant_id = s.t AND g.key = s.key
), n AS (
  INSERT INTO model_calls (tenant_id, run_id, step_seq, path, attempt, fence, agent, model, status, args_hash, reserved_micro_usd, budgets, lane)
  SELECT t, i, seq, path, attempt, fence, agent, model, 'open', decode(hash, 'hex'), coalesce(amount, 0), keys, lane FROM granted ORDER BY ord
)${item.insert}
SELECT h.ord::int AS ord, (SELECT w.key FROM want w JOIN tight f ON f.tenant_id = w.t AND f.key = w.key WHERE w.ord = h.ord ORDER BY w.key LIMIT 1) AS exhausted FROM held h`;

const RESERVE_LIVE = { name: 'model-reserve', text: RESERVE({ columns: '', arrays: '', insert: '' }) };
const RESERVE_ITEMS = { name: 'model-reserve-items', text: RESERVE({ columns: ', item, request', arrays: ', $12::uuid[], $13::text[]', insert: `, w AS (
  INSERT INTO batch_items (id, tenant_id, run_id, step_seq, path, attempt, model, request, bytes) SELECT item, t, i, seq, path, attempt, model, request::json, octet_length(request) FROM granted ORDER BY ord
)` }) };

/** All of one lane. */
async function reserve(pool: EnginePool, intents: readonly ModelIntent[]): Promise<Reserved[]> {
  const inBatch = intents[0]?.lane === 'batch';
  const column = <Value>(of: (one: ModelIntent) => Value): Value[] => intents.map(of);
  const { rows } = await pool.query<{ ord: number; exhausted: string | null }>({ ...(inBatch ? RESERVE_ITEMS : RESERVE_LIVE), values: [
    column(({ place }) => place.tenant), column(({ place }) => place.run), column(({ place }) => place.fence), column(({ place }) => place.claimedBy), column(({ place }) => place.stepSeq), column(({ place }) => place.path),
    column(({ attempt }) => attempt), column(({ model }) => model), column(({ argsHash }) => argsHash), column(({ reservedMicroUsd }) => reservedMicroUsd), column(({ lane }) => lane),
    ...(inBatch ? [column(({ item }) => item?.id), column(({ item }) => item?.request)] : []),
  ] });
  const answers: Reserved[] = intents.map(() => 'fenced');
  for (const { ord, exhausted } of rows) answers[ord - 1] = exhausted === null ? 'reserved' : { exhausted };
  return answers;
}

/** One attempt each, in order. A call that is refused in a group, or whose group failed, is asked about alone. */
export async function reserveModelCallsIfHeld(pool: EnginePool, intents: readonly ModelIntent[]): Promise<(Reserved | Error)[]> {
  const alone = (one: ModelIntent): Promise<Reserved | Error> => tryingAgain(() => reserve(pool, [one])).then(([answer]) => answer as Reserved, (error: unknown) => reservedBefore(pool, one, error as Error));
  if (intents.length === 1) return [await alone(intents[0] as ModelIntent)];
  const together = await reserve(pool, intents).catch(() => undefined);
  return Promise.all(intents.map(async (one, at) => { const answer = together?.[at]; return answer === undefined || typeof answer === 'object' ? alone(one) : answer; }));
}

/** After a lost reply the row may be there: an attempt of this fence is then this call's own. */
async function reservedBefore(pool: EnginePool, { place, attempt }: ModelIntent, error: Error): Promise<Reserved | Error> {
  if (!isConnectionError(error) && !isUniqueViolation(error)) return error;
  const { rowCount } = await pool.query(`SELECT FROM model_calls WHERE tenant_id = $1 AND run_id = $2 AND step_seq = $3 AND path = $4 AND attempt = $5 AND fence = $6 AND status = 'open'`,
    [place.tenant, place.run, place.stepSeq, place.path, attempt, place.fence]).catch(() => ({ rowCount: 0 }));
  return rowCount === 1 ? 'reserved' : error;
}

/** Attempts on record at a place. */
export async function attemptsOf(pool: EnginePool, { tenant, run, stepSeq, path }: Place): Promise<number> {
  const { rows } = await pool.query<{ n: number }>(`SELECT coalesce(max(attempt), 0)::int AS n FROM model_calls WHERE tenant_id = $1 AND run_id = $2 AND step_seq = $3 AND path = $4`, [tenant, run, stepSeq, path]);
  return rows[0]?.n ?? 0;
}

export interface ModelOutcome {
  readonly status: 'settled' | 'failed' | 'booked';
  /** JSON text */
  readonly response: string | null;
  readonly stopReason: string | null;
  readonly requestId: string | null;
  readonly errorCode: string | null;
  readonly usage: Usage;
  readonly costMicroUsd: bigint;
  readonly durationMs: number;
}

export interface ModelSettlement { readonly place: Place; readonly attempt: number; readonly outcome: ModelOutcome }

/** What a settlement did to a budget that somebody should hear of: most of it is spent, or a call that was refused may fit now. */
export interface BudgetNews { readonly tenant: string; readonly key: string; readonly crossed: boolean; /** Refusals so far; below 1 = nobody waits. */ readonly wanted: number }

const SETTLE = `
WITH c AS MATERIALIZED (
  SELECT * FROM unnest($1::text[], $2::uuid[], $3::int[], $4::text[], $5::int[], $6::text[], $7::text[], $8::text[], $9::text[], $10::text[], $11::int[], $12::int[], $13::int[], $14::int[], $15::int[], $16::bigint[], $17::int[])
    WITH ORDINALITY AS c(t, i, seq, path, attempt, status, response, stop, request, error, input, write5m, write1h, read, output, cost, ms, ord)
), was AS MATERIALIZED (
  SELECT c.*, CASE k.status WHEN 'open' THEN k.reserved_micro_usd ELSE 0 END AS released, k.cost_micro_usd AS booked, ${keysOf('k')} AS keys, octet_length(k.args_hash) > 1 AS kept -- else it was erased meanwhile
  FROM c JOIN model_calls k ON k.tenant_id = c.t AND k.run_id = c.i AND k.step_seq = c.seq AND k.path = c.path AND k.attempt = c.attempt
  WHERE k.status = 'open' OR k.status = 'booked' AND c.status = 'settled' ORDER BY k.tenant_id, k.run_id, k.step_seq, k.path, k.attempt FOR UPDATE OF k
), f AS (
  UPDATE model_calls k SET status = w.status::model_call_status, response = CASE WHEN w.kept THEN w.response::json END, stop_reason = w.stop, request_id = w.request, error_code = w.error, input_tokens = w.input,
    cache_write_5m_tokens = w.write5m, cache_write_1h_tokens = w.write1h, cache_read_tokens = w.read, output_tokens = w.output, cost_micro_usd = w.cost, duration_ms = w.ms, finished_at = now()
  FROM was w WHERE k.tenant_id = w.t AND k.run_id = w.i AND k.step_seq = w.seq AND k.path = w.path AND k.attempt = w.attempt
), d AS MATERIALIZED (SELECT w.t, u.key, sum(w.released)::bigint AS released, sum(w.cost - w.booked)::bigint AS spent FROM was w, unnest(w.keys) AS u(key) GROUP BY 1, 2
), locked AS MATERIALIZED (SELECT g.tenant_id, g.key, d.released, d.spent FROM d JOIN budgets g ON g.tenant_id = d.t AND g.key = d.key ORDER BY g.tenant_id, g.key FOR UPDATE OF g
), b AS (
  UPDATE budgets g SET ${changed('g', '(-l.released)', 'l.spent')} FROM locked l WHERE g.tenant_id = l.tenant_id AND g.key = l.key
  RETURNING g.tenant_id AS tenant, g.key, g.wanted, g.warned_at IS NULL AND g.spent_micro_usd >= ${BUDGET_WARNING} * g.limit_micro_usd AS crossed
)
SELECT * FROM b WHERE crossed OR wanted > 0`;

/** Settles attempts: frees their reserves and books what they cost. True usage may also correct an attempt that a claim has
 *  booked. Sent again after a lost reply it finds nothing to do. */
export async function settleModelCalls(pool: EnginePool, settlements: readonly ModelSettlement[]): Promise<BudgetNews[]> {
  const column = <Value>(of: (one: ModelOutcome, place: Place) => Value): Value[] => settlements.map(({ outcome, place }) => of(outcome, place));
  const values = [
    column((_, { tenant }) => tenant), column((_, { run }) => run), column((_, { stepSeq }) => stepSeq), column((_, { path }) => path), settlements.map(({ attempt }) => attempt),
    column(({ status }) => status), column(({ response }) => response), column(({ stopReason }) => stopReason), column(({ requestId }) => requestId), column(({ errorCode }) => errorCode),
    column(({ usage }) => usage.inputTokens), column(({ usage }) => usage.cacheWrite5mTokens), column(({ usage }) => usage.cacheWrite1hTokens), column(({ usage }) => usage.cacheReadTokens), column(({ usage }) => usage.outputTokens),
    column(({ costMicroUsd }) => costMicroUsd), column(({ durationMs }) => Math.round(durationMs)),
  ];
  return tryingAgain(async () => (await pool.query<BudgetNews>({ name: 'model-settle', text: SETTLE, values })).rows);
}

/** Two groups that met in a deadlock: nothing of this one was done. */
async function tryingAgain<T>(send: () => Promise<T>, tries = 3): Promise<T> {
  try {
    return await send();
  } catch (error) {
    if (tries <= 1 || !isDeadlock(error)) throw error;
    return tryingAgain(send, tries - 1);
  }
}
