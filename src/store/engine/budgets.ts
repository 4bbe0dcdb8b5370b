// Budgets as people see them, and the waits for room in one. A run whose call was refused leaves word on its own row and on the
// budget before it looks once more and parks; whatever makes room afterwards (a call that cost less than its reserve, a higher
// limit) finds that word and wakes as many as fit, oldest first. A turned window wakes by its time.
import { BUDGET_WARNING, type BudgetSubject, type BudgetWindow } from '../../domain/budget.ts';
import { endOf, roomOf, spentOf } from './budget-sql.ts';
import { WOKEN } from './inbox.ts';
import { IS_HELD_BY, type Place } from './ledger.ts';
import { inTransaction, type EnginePool } from './pool.ts';
import { READY, type Ready } from './sweeps.ts';

export interface BudgetRow {
  readonly subject: BudgetSubject;
  readonly window: BudgetWindow;
  readonly limitMicroUsd: number;
  /** In the window that is now. */
  readonly spentMicroUsd: number;
  readonly reservedMicroUsd: number;
  readonly since: Date;
  /** When the window turns; null = never. */
  readonly endsAt: Date | null;
  readonly warnedAt: Date | null;
  /** Runs that wait for room in it. */
  readonly waiting: number;
}

const ROWS = `SELECT g.subject, g.budget_window AS "window", g.limit_micro_usd::float8 AS "limitMicroUsd", ${spentOf('g')}::float8 AS "spentMicroUsd", g.reserved_micro_usd::float8 AS "reservedMicroUsd",
  greatest(g.since, CASE g.budget_window WHEN 'total' THEN g.since ELSE date_trunc(g.budget_window, now(), 'UTC') END) AS since, ${endOf('g')} AS "endsAt", g.warned_at AS "warnedAt",
  (SELECT count(*)::int FROM agent_runs r WHERE r.tenant_id = g.tenant_id AND r.wants_budget = g.key AND r.finished_at IS NULL AND r.wait_reason = 'budget') AS waiting FROM budgets g WHERE g.tenant_id = $1`;

/** Those of the tenant, its agents and users; with `subject` only those of it, a run's too. */
export async function listBudgets(pool: EnginePool, tenant: string, subject?: BudgetSubject): Promise<BudgetRow[]> {
  const { rows } = await pool.query<BudgetRow>(`${ROWS} AND ($2::text IS NULL AND g.subject NOT LIKE 'run:%' OR g.subject = $2) ORDER BY g.subject, g.budget_window`, [tenant, subject ?? null]);
  return rows;
}

/** Whether runs of this agent and user fall under a budget. */
export async function hasBudget(pool: EnginePool, tenant: string, agent: string, user: string | null): Promise<boolean> {
  const { rowCount } = await pool.query(`SELECT FROM budgets WHERE tenant_id = $1 AND subject = ANY (ARRAY['tenant', 'agent:' || $2, 'user:' || $3]) LIMIT 1`, [tenant, agent, user]);
  return rowCount === 1;
}

export interface BudgetChange {
  readonly tenant: string;
  readonly subject: BudgetSubject;
  readonly window: BudgetWindow;
  /** null = no limit any more. */
  readonly limitMicroUsd: number | null;
  readonly actor: string;
}

// A budget that is new counts what this day or month has cost already; one for good counts from now on.
const SPENT_BEFORE = `SELECT coalesce(sum(CASE k.status WHEN 'open' THEN k.reserved_micro_usd ELSE k.cost_micro_usd END), 0) FROM model_calls k
  WHERE k.tenant_id = $1 AND $3 <> 'total' AND k.started_at >= date_trunc(CASE $3 WHEN 'total' THEN 'day' ELSE $3 END, now(), 'UTC')
    AND ($2 = 'tenant' OR $2 = 'agent:' || k.agent OR EXISTS (SELECT FROM agent_runs r WHERE r.tenant_id = k.tenant_id AND r.id = k.run_id AND $2 = 'user:' || r.user_id))`;

/** Sets a limit, or takes it away. What is spent and reserved stays; a word of most of it being spent is said anew. */
export function setBudget(pool: EnginePool, { tenant, subject, window, limitMicroUsd, actor }: BudgetChange): Promise<void> {
  return inTransaction(pool, async (client) => {
    if (limitMicroUsd === null) await client.query(`DELETE FROM budgets WHERE tenant_id = $1 AND subject = $2 AND budget_window = $3`, [tenant, subject, window]);
    else {
      await client.query(`INSERT INTO budgets AS b (tenant_id, subject, budget_window, limit_micro_usd, spent_micro_usd) SELECT $1, $2, $3, $4, (${SPENT_BEFORE})
        ON CONFLICT (tenant_id, subject, budget_window) DO UPDATE SET limit_micro_usd = excluded.limit_micro_usd,
          warned_at = CASE WHEN b.spent_micro_usd >= ${BUDGET_WARNING} * excluded.limit_micro_usd THEN b.warned_at END`, [tenant, subject, window, limitMicroUsd]);
    }
    await client.query(`INSERT INTO audit_events (tenant_id, actor, user_id, action, object_type, object_id, allowed, details) VALUES ($1, $2, $3, 'budget.changed', 'budget', $4, true, $5::json)`,
      [tenant, actor, subject.startsWith('user:') ? subject.slice(5) : null, `${subject}/${window}`, JSON.stringify({ limitMicroUsd })]);
  });
}

/** Leaves word that the run needs room in a budget. To be followed by another look for room: what makes some after that finds
 *  the word. `dueInMs`: until the window turns, null where it never does. Undefined = fenced. */
export async function wantBudgetIfHeld(pool: EnginePool, place: Place, key: string, amountMicroUsd: bigint): Promise<{ readonly inboxSeq: number; readonly dueInMs: number | null } | undefined> {
  const { rows } = await pool.query<{ inboxSeq: number; dueInMs: number | null }>(`
    WITH h AS (UPDATE agent_runs r SET wants_budget = $5, wants_micro_usd = $6 WHERE r.tenant_id = $1 AND r.id = $2 AND ${IS_HELD_BY('r', '$3', '$4')} RETURNING r.tenant_id, r.inbox_seq),
    g AS (UPDATE budgets g SET wanted = abs(g.wanted) + 1 FROM h WHERE g.tenant_id = h.tenant_id AND g.key = $5 RETURNING ${endOf('g')} AS ends)
    SELECT h.inbox_seq AS "inboxSeq", (extract(epoch FROM (SELECT ends FROM g) - clock_timestamp()) * 1000)::float8 AS "dueInMs" FROM h`,
  [place.tenant, place.run, place.fence, place.claimedBy, key, amountMicroUsd]);
  return rows[0];
}

/** Takes the word back: the run has found room after all, and would else be woken in the place of one that waits. */
export async function unwantBudgetIfHeld(pool: EnginePool, place: Place, key: string): Promise<void> {
  await pool.query(`UPDATE agent_runs r SET wants_budget = NULL, wants_micro_usd = NULL WHERE r.tenant_id = $1 AND r.id = $2 AND ${IS_HELD_BY('r', '$3', '$4')} AND r.wants_budget = $5`,
    [place.tenant, place.run, place.fence, place.claimedBy, key]);
}

/** Wakes runs that wait for room in a budget: the oldest whose needs fit together, or all where it is gone. `wanted`: as it was
 *  seen before; when nobody is left it is forgotten, unless somebody came since: the count goes on, so that no later word looks like this one. */
export async function wakeForBudget(pool: EnginePool, tenant: string, key: string, wanted: number): Promise<(Ready & { dueInMs: number })[]> {
  const { rows } = await pool.query<Ready & { dueInMs: number; left: number }>(`
    WITH room AS (SELECT coalesce((SELECT ${roomOf('g')} FROM budgets g WHERE g.tenant_id = $1 AND g.key = $2), 9000000000000000000) AS room),
    waits AS MATERIALIZED (SELECT r.tenant_id, r.id, r.created_at, r.wants_micro_usd AS amount FROM agent_runs r WHERE r.tenant_id = $1 AND r.wants_budget = $2 AND r.finished_at IS NULL),
    fits AS (SELECT w.*, sum(w.amount) OVER (ORDER BY w.created_at, w.id) AS total FROM waits w, room WHERE w.amount <= room.room),
    h AS MATERIALIZED (SELECT r.tenant_id, r.id FROM fits f JOIN agent_runs r ON r.tenant_id = f.tenant_id AND r.id = f.id, room WHERE f.total <= room.room ORDER BY 1, 2 FOR UPDATE OF r),
    u AS (UPDATE agent_runs r SET ${WOKEN}, wants_budget = NULL, wants_micro_usd = NULL FROM h WHERE r.tenant_id = h.tenant_id AND r.id = h.id RETURNING r.*)
    SELECT (SELECT count(*) FROM waits)::int - (SELECT count(*) FROM u)::int AS left, x.* FROM (SELECT 1) one LEFT JOIN LATERAL (
      SELECT ${READY}, 0::float8 AS "dueInMs" FROM u r LEFT JOIN tenants t ON t.id = r.tenant_id WHERE r.status = 'queued') x ON true`, [tenant, key]);
  if (rows[0]?.left === 0) await pool.query(`UPDATE budgets SET wanted = -wanted WHERE tenant_id = $1 AND key = $2 AND wanted = $3 AND wanted > 0`, [tenant, key, wanted]);
  return rows.filter(({ id }) => (id as string | null) !== null);
}

/** Wakes those whom a lost word left behind: they wait for a budget that has room. */
export async function wakeForRoom(pool: EnginePool): Promise<void> {
  const { rows } = await pool.query<{ tenant: string; key: string; wanted: number }>(`
    SELECT g.tenant_id AS tenant, g.key, g.wanted FROM budgets g WHERE g.wanted > 0
      AND (SELECT min(r.wants_micro_usd) FROM agent_runs r WHERE r.tenant_id = g.tenant_id AND r.wants_budget = g.key AND r.finished_at IS NULL) <= ${roomOf('g')} LIMIT 100`);
  for (const { tenant, key, wanted } of rows) await wakeForBudget(pool, tenant, key, wanted);
}

/** Says once in a window, as an event of the run whose call it was, that most of a budget is spent. */
export async function warnOfBudget(pool: EnginePool, run: { readonly tenant: string; readonly id: string }, key: string): Promise<boolean> {
  const { rowCount } = await pool.query(`
    WITH h AS MATERIALIZED (SELECT tenant_id, id FROM agent_runs WHERE tenant_id = $1 AND id = $2 FOR NO KEY UPDATE),
    b AS (UPDATE budgets g SET warned_at = now() FROM h WHERE g.tenant_id = h.tenant_id AND g.key = $3 AND g.warned_at IS NULL RETURNING g.subject, g.budget_window, g.limit_micro_usd, g.spent_micro_usd),
    u AS (UPDATE agent_runs r SET event_seq = r.event_seq + 1 FROM h, b WHERE r.tenant_id = h.tenant_id AND r.id = h.id RETURNING r.tenant_id, r.id, r.event_seq)
    INSERT INTO run_events (tenant_id, run_id, seq, type, data)
    SELECT u.tenant_id, u.id, u.event_seq, 'budget.warning', json_build_object('subject', b.subject, 'window', b.budget_window, 'limitMicroUsd', b.limit_micro_usd, 'spentMicroUsd', b.spent_micro_usd) FROM u, b`, [run.tenant, run.id, key]);
  return rowCount === 1;
}
