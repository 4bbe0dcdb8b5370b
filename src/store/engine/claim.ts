// The claim: one UPDATE that takes the right to move a run on and mints a new fence. It takes a queued or due run, a
// waiting one whose time has come, or a running one whose holder is dead or whose step is long past its deadline, and only
// the head of its session. Fresh runs are claimed by a statement that knows of nothing else, those without limits by one that
// knows of no limits; the rest takes permits on the way (permits.ts). The grouped form never fails for one bad run: the unique indexes are met row by row.
import type { Lane } from '../../domain/lane.ts';
import { PERMIT_TRIES, STEP_GRACE_MS } from '../../domain/tunables.ts';
import { guarded } from '../../guards.ts';
import { changed, keysOf } from './budget-sql.ts';
import { FULL, LIMITED, NOT_FULL, PERMITS, UNLIMITED } from './permits.ts';
import { isDeadlock, isUniqueViolation, type EnginePool } from './pool.ts';
import { limitsOf } from './sweeps.ts';

export interface ClaimedRun {
  readonly tenant: string;
  readonly id: string;
  readonly agent: string;
  readonly version: number;
  readonly user: string | null;
  readonly session: string | null;
  readonly parent: string | null;
  readonly fence: bigint;
  readonly stepSeq: number;
  readonly nextStep: string;
  readonly attempt: number;
  readonly crashes: number;
  readonly stepClaims: number;
  readonly inboxSeq: number;
  readonly eventSeq: number;
  readonly cancelRequested: boolean;
  readonly input: unknown;
  readonly metadata: unknown;
  /** Data of the last checkpoint; null before the first. */
  readonly data: unknown;
  readonly sessionVersion: number | null;
  readonly priority: number;
  readonly createdMs: number;
  readonly queuedMs: number;
  readonly model: string | null;
  readonly budgetMicroUsd: bigint | null;
  /** As asked for at submission; null = as its machine says. */
  readonly lane: Lane | null;
  readonly deadlineMs: number | null;
  /** Where the checkpoint's data lies when it is in the object store. */
  readonly dataBlob: string | null;
  readonly forkedFrom: string | null;
  readonly forkedSeq: number | null;
  /** Where its parent spawned it; null for a root run. */
  readonly parentPath: string | null;
  /** Crashes with no other run beside it. */
  readonly crashesAlone: number;
  /** Its limits besides the tenant's, as the ready queue takes them; null = it holds no permit. */
  readonly limits: string | null;
}

export interface ClaimRequest { readonly tenant: string; readonly id: string }

// A run is runnable when it is due, or when nobody alive holds it. $3 incarnation, $4 machines known, $5 step time limit
// The status is compared as text so that no partial index by status fits: the planner would rather read every due run than
// look a few up by their key, and a claim would cost what the backlog is long (34 ms at 4,000 due runs, measured).
const DEAD_HOLDER = guarded('claim-live-holder', `r.step_deadline_at + interval '${STEP_GRACE_MS} ms' < now()
      OR NOT EXISTS (SELECT FROM workers w WHERE w.incarnation = r.claimed_by AND w.lease_until > now() AND w.ended_at IS NULL)`);
const HEAD = guarded('claim-session-head', `r.session_id IS NULL OR r.holds_session OR NOT EXISTS (SELECT FROM agent_runs o WHERE o.tenant_id = r.tenant_id AND o.user_id = r.user_id
    AND o.session_id = r.session_id AND o.session_seq < r.session_seq AND o.status IN ('queued', 'running', 'waiting'))`);
const RUNNABLE = `(r.status::text IN ('queued', 'waiting') AND r.wake_at <= now() OR r.status::text = 'running' AND r.claimed_by <> $3 AND (${DEAD_HOLDER}))
  AND r.agent || '@' || r.version = ANY ($4) AND (r.expires_at IS NULL OR r.started_at IS NOT NULL OR r.expires_at > now()) AND (${HEAD})`;

/** What a claim does about permits. */
interface Permits { readonly choice: string; readonly join: string; readonly where: string; readonly set: string; readonly answer: string }
/** A number left from an earlier claim would count again: it goes. */
const NO_PERMITS: Permits = { choice: '', join: '', where: '', set: 'tenant_permit = NULL, agent_permit = NULL, key_permit = NULL', answer: 'NULL::text' };
const set = (kind: string): string => `${kind}_permit = CASE WHEN r.status = 'running' THEN r.${kind}_permit ELSE p.${kind}_n END`;
const WITH_PERMITS: Permits = {
  choice: `${PERMITS},`, join: 'LEFT JOIN permit p ON p.t = c.t AND p.i = c.i', where: `AND (${guarded('claim-permit', `r.status = 'running' OR coalesce(p.is_whole, true)`)})`,
  set: ['tenant', 'agent', 'key'].map(set).join(', '), answer: `CASE WHEN num_nonnulls(u.tenant_permit, u.agent_permit, u.key_permit) > 0 THEN ${limitsOf('u')} END`,
};

/** Not looked for where there is none yet. */
const CHECKPOINT = (column: string): string => `(SELECT s.${column} FROM run_steps s WHERE u.step_seq > 0 AND s.tenant_id = u.tenant_id AND s.run_id = u.id AND s.seq = u.step_seq)`;

/** Spawned while the cancel of its tree was on its way. */
const ORPHANED = `EXISTS (SELECT FROM agent_runs p WHERE p.tenant_id = u.tenant_id AND p.id = u.parent_id AND p.cancel_requested_at IS NOT NULL)`;
const SESSION_VERSION = `(SELECT s.version FROM sessions s WHERE s.tenant_id = u.tenant_id AND s.user_id = u.user_id AND s.id = u.session_id)`;

/** A claimed run as it is answered; `other`: what stands in no column of its row. */
const answerOf = (r: string, other: { readonly data: string; readonly blob: string; readonly session: string; readonly cancel: string; readonly limits: string }): string => `${r}.tenant_id AS tenant, ${r}.id, ${r}.agent, ${r}.version, ${r}.user_id AS "user",
  ${r}.session_id AS session, ${r}.parent_id AS parent, ${r}.fence, ${r}.step_seq AS "stepSeq", ${r}.next_step AS "nextStep", ${r}.attempt, ${r}.crashes, ${r}.step_claims AS "stepClaims", ${r}.inbox_seq AS "inboxSeq",
  ${r}.event_seq AS "eventSeq", ${r}.cancel_requested_at IS NOT NULL${other.cancel} AS "cancelRequested", ${r}.input, ${r}.metadata, ${r}.priority, ${r}.model, ${r}.budget_micro_usd AS "budgetMicroUsd", ${r}.lane,
  (extract(epoch FROM ${r}.deadline_at) * 1000)::float8 AS "deadlineMs", ${r}.forked_from AS "forkedFrom", ${r}.forked_seq AS "forkedSeq", ${r}.parent_path AS "parentPath", ${r}.crashes_alone AS "crashesAlone",
  ${other.data} AS data, ${other.blob} AS "dataBlob", ${other.session} AS "sessionVersion", (extract(epoch FROM ${r}.created_at) * 1000)::float8 AS "createdMs", (extract(epoch FROM now() - ${r}.wake_at) * 1000)::float8 AS "queuedMs",
  ${other.limits} AS limits`;

/** Not all: each column costs every part of the statement something. */
const RETURNED = ['tenant_id', 'id', 'agent', 'version', 'user_id', 'session_id', 'parent_id', 'parent_path', 'fence', 'step_seq', 'next_step', 'attempt', 'crashes', 'crashes_alone', 'step_claims', 'inbox_seq', 'event_seq', 'cancel_requested_at', 'input', 'metadata',
  'priority', 'model', 'budget_micro_usd', 'lane', 'deadline_at', 'forked_from', 'forked_seq', 'created_at', 'wake_at', 'concurrency_key', 'concurrency_limit', 'tenant_permit', 'agent_permit', 'key_permit'];

const TAKE = (pick: string, permits: Permits): string => `
WITH c AS MATERIALIZED (${pick}), ${permits.choice}
u AS ( -- its rows are locked by the pick, as it found them. It begins by the clock: the run before it in its session may have ended while this was planned
  UPDATE agent_runs r SET status = 'running', wait_reason = NULL, fence = nextval('fence_seq'), claimed_by = $3,
    step_deadline_at = now() + $5 * interval '1 ms', step_claims = r.step_claims + 1, crashes = r.crashes + (r.status = 'running')::int, crashes_alone = r.crashes_alone + (r.status = 'running' AND r.ran_alone)::int, ran_alone = false,
    holds_session = r.session_id IS NOT NULL, started_at = coalesce(r.started_at, clock_timestamp()), event_seq = r.event_seq + (r.started_at IS NULL)::int, ${permits.set}
  FROM c ${permits.join} WHERE r.tenant_id = c.t AND r.id = c.i ${permits.where}
  RETURNING ${RETURNED.map((column) => `r.${column}`).join(', ')}, c.is_first
), e AS ( -- where it is the second thing that happens to a run, its row tells it
  INSERT INTO run_events (tenant_id, run_id, seq, type) SELECT tenant_id, id, event_seq, 'run.started' FROM u WHERE is_first AND event_seq <> 2
)
SELECT ${answerOf('u', { data: CHECKPOINT('data'), blob: CHECKPOINT('data_blob'), session: SESSION_VERSION, cancel: ` OR u.parent_path IS NOT NULL AND ${ORPHANED}`, limits: permits.answer })}
FROM u`;

/** What the dead holder of a run had under way when the claim began is not in the claim's snapshot, which is older than the lock it
 *  waited for. The open reserve of an older fence is spent: nobody will learn its usage. */
const LEFT = { name: 'claim-left', text: `
WITH c AS MATERIALIZED (SELECT * FROM unnest($1::text[], $2::uuid[], $3::int[], $4::bigint[]) AS c(t, i, seq, fence)),
m AS (
  UPDATE model_calls k SET status = 'booked', cost_micro_usd = k.reserved_micro_usd, finished_at = now()
  FROM c WHERE k.tenant_id = c.t AND k.run_id = c.i AND k.status = 'open' AND k.lane = 'live' AND k.fence < c.fence RETURNING k.tenant_id, ${keysOf('k')} AS keys, k.reserved_micro_usd
), b AS (
  UPDATE budgets b SET ${changed('b', '(-m.amount)', 'm.amount')}
  FROM (SELECT tenant_id, key, sum(reserved_micro_usd)::bigint AS amount FROM m, unnest(m.keys) AS v(key) GROUP BY 1, 2) m
  WHERE b.tenant_id = m.tenant_id AND b.key = m.key
)
SELECT c.t AS tenant, c.i AS id, s.data, s.data_blob AS "dataBlob" FROM c JOIN run_steps s ON s.tenant_id = c.t AND s.run_id = c.i AND s.seq = c.seq` };

const BY_ID = (more: string, where: string): string => `SELECT r.tenant_id AS t, r.id AS i, r.started_at IS NULL AS is_first${more} FROM unnest($1::text[], $2::uuid[]) AS c(t, i) JOIN agent_runs r ON r.tenant_id = c.t AND r.id = c.i
  WHERE ${RUNNABLE}${where} ORDER BY 1, 2 FOR UPDATE OF r`;
// Nearly all claims are of a run that nothing has happened to yet: it has no session to be the head of, no parent whose cancel it
// may have missed, no holder, no checkpoint and no event to number, so that one update without any of that takes it, in the order
// of the arrays.
const FRESH_BY_ID = { name: 'claim-fresh', text: `
UPDATE agent_runs r SET status = 'running', fence = nextval('fence_seq'), claimed_by = $3, step_deadline_at = now() + $5 * interval '1 ms', step_claims = 1, started_at = now(), event_seq = 2
FROM unnest($1::text[], $2::uuid[]) AS c(t, i)
WHERE r.tenant_id = c.t AND r.id = c.i AND r.status::text = 'queued' AND r.started_at IS NULL AND r.event_seq = 1 AND r.session_id IS NULL AND r.parent_path IS NULL AND r.step_seq = 0 AND r.wake_at <= now()
  AND r.agent || '@' || r.version = ANY ($4) AND (r.expires_at IS NULL OR r.expires_at > now()) AND ${UNLIMITED}
RETURNING ${answerOf('r', { data: 'NULL', blob: 'NULL', session: 'NULL', cancel: '', limits: 'NULL' })}` };
const UNLIMITED_BY_ID = { name: 'claim', text: TAKE(BY_ID('', ` AND ${UNLIMITED}`), NO_PERMITS) };
const LIMITED_BY_ID = { name: 'claim-permits', text: TAKE(BY_ID(`, ${LIMITED}`, ''), WITH_PERMITS) };
// The fallback: runs of a pool whose holder is dead, then due ones, oldest first, whoever else is asking. Two picks, so that the
// second reads no more of the index of due runs than it takes: with Redis gone this is how a long backlog is worked off.
const PICKED = (status: string, order: string): string => `SELECT r.tenant_id AS t, r.id AS i, r.started_at IS NULL AS is_first, ${LIMITED} FROM agent_runs r WHERE r.pool = $1 AND ${status} AND ${RUNNABLE} ${order} LIMIT $2 FOR UPDATE OF r SKIP LOCKED`;
const DUE = { name: 'claim-due', text: TAKE(`WITH ${FULL}, orphan AS MATERIALIZED (${PICKED(`r.status = 'running'`, '')}),
  due AS MATERIALIZED (${PICKED(`r.status IN ('queued', 'waiting') AND r.wake_at IS NOT NULL AND r.wake_at <= now() AND ${NOT_FULL}`, 'ORDER BY r.wake_at, r.id')})
  SELECT * FROM orphan UNION ALL SELECT * FROM due LIMIT $2`, WITH_PERMITS) };

const keyOf = ({ tenant, id }: ClaimRequest): string => `${tenant} ${id}`;

/** Claims by id; answers in the order asked, undefined where the run was not to be had. Of two who ask for one run (a rebuilt ready
 *  queue hands out again what is being claimed) the first gets it: it must not be moved twice under one fence. What the
 *  statement for fresh runs leaves is asked again, with permits in the end. */
export async function claimRuns(pool: EnginePool, asked: readonly ClaimRequest[], incarnation: string, machines: readonly string[], stepMs: number): Promise<(ClaimedRun | undefined)[]> {
  const left = new Map(asked.map((one) => [keyOf(one), one] as const).sort(([a], [b]) => (a < b ? -1 : 1))); // rows are locked in one order everywhere
  const claimed = new Map<string, ClaimedRun>();
  for (const statement of [FRESH_BY_ID, UNLIMITED_BY_ID, LIMITED_BY_ID]) {
    const claim = async (some: readonly ClaimRequest[]): Promise<ClaimedRun[]> =>
      (await pool.query<ClaimedRun>({ ...statement, values: [some.map((run) => run.tenant), some.map((run) => run.id), incarnation, machines, stepMs] })).rows;
    if (left.size > 0) for (const row of await oneByOneWhereTheyMeet(claim, [...left.values()])) { left.delete(keyOf(row)); claimed.set(keyOf(row), row); }
  }
  const rows = new Map((await withLeft(pool, [...claimed.values()])).map((row) => [keyOf(row), row]));
  return asked.map((one) => {
    const row = rows.get(keyOf(one));
    rows.delete(keyOf(one));
    return row;
  });
}

type Left = Pick<ClaimedRun, 'tenant' | 'id' | 'data' | 'dataBlob'>;

/** The claimed runs with what their last holders left; most were left nothing. */
async function withLeft(pool: EnginePool, claimed: readonly ClaimedRun[]): Promise<ClaimedRun[]> {
  const hadHolders = claimed.filter(({ stepClaims, stepSeq, data, dataBlob }) => stepClaims > 1 || (stepSeq > 0 && data === null && dataBlob === null));
  if (hadHolders.length === 0) return [...claimed];
  const left = async (some: readonly ClaimedRun[]): Promise<Left[]> =>
    (await pool.query<Left>({ ...LEFT, values: [some.map(({ tenant }) => tenant), some.map(({ id }) => id), some.map(({ stepSeq }) => stepSeq), some.map(({ fence }) => fence)] })).rows;
  const rows = await left(hadHolders).catch(async (error: unknown) => {
    if (!isDeadlock(error)) throw error;
    return (await Promise.all(hadHolders.map((one) => left([one])))).flat();
  });
  const byKey = new Map(rows.map(({ data, dataBlob, ...run }) => [keyOf(run), { data, dataBlob }]));
  return claimed.map((run) => ({ ...run, ...byKey.get(keyOf(run)) }));
}

/** Another took the same permit, or the head of the same session: nothing was done. */
const met = (error: unknown): undefined => { if (isUniqueViolation(error) || isDeadlock(error)) return undefined; throw error; };

/** Two claims at once may choose one permit, or the same session: then each run is claimed by itself, and looks again for a
 *  permit a few times. */
async function oneByOneWhereTheyMeet(claim: (some: readonly ClaimRequest[]) => Promise<ClaimedRun[]>, asked: readonly ClaimRequest[]): Promise<ClaimedRun[]> {
  const claimed = await claim(asked).catch(met);
  if (claimed) return claimed;
  return (await Promise.all(asked.map(async (one) => {
    for (let tries = 0; tries < PERMIT_TRIES; tries++) {
      const own = await claim([one]).catch(met);
      if (own) return own;
    }
    return [];
  }))).flat();
}

/** Claims up to `limit` due runs of a pool straight from Postgres; fewer do not mean that there are no more: where a limit was
 *  filled on the way, the next call passes it over. */
export async function claimDue(pool: EnginePool, runPool: string, limit: number, incarnation: string, machines: readonly string[], stepMs: number): Promise<ClaimedRun[]> {
  for (let tries = 0; tries < PERMIT_TRIES; tries++) {
    const claimed = await pool.query<ClaimedRun>({ ...DUE, values: [runPool, limit, incarnation, machines, stepMs] }).catch(met);
    if (claimed) return withLeft(pool, claimed.rows);
  }
  return []; // next second
}
