// The commit: one statement moves a run on under its fence, with its step row, its event and, at the end, its session,
// messages and totals. A run that another has claimed answers `fenced`: abort, write nothing more, retry nothing. A checkpoint
// after which the same worker goes on, by far the most frequent, has a statement of its own that does nothing else; what it
// does not find as it expects it (fenced, to be paused) is left to the whole one.
import type { RunStatus, WaitReason } from '../../domain/status.ts';
import { guarded } from '../../guards.ts';
import { BY_NEWS } from './inbox.ts';
import { RUN_SUMS } from './model-ledger.ts';
import { asLeanJson, isConnectionError, type EnginePool } from './pool.ts';

export interface Commit {
  readonly tenant: string;
  readonly id: string;
  /** Its end is its session's too. */
  readonly inSession: boolean;
  readonly fence: bigint;
  readonly claimedBy: string;
  /** The step that was current when the commit was made. */
  readonly stepSeq: number;
  /** Present: the step succeeded and becomes a checkpoint. */
  readonly step: { readonly name: string; readonly next: string | null; readonly data: string | null; readonly dataBlob: string | null; readonly durationMs: number } | null;
  /** The version from now on: a newer build's migration moves it, never back. */
  readonly version: number;
  /** `running`: the same worker goes on; `queued`: back to the ready queue (retry, drain). */
  readonly status: RunStatus;
  readonly waitReason: WaitReason | null;
  /** null = no time wakes it */
  readonly wakeInMs: number | null;
  /** Step time limit of the next step, when going on. */
  readonly stepMs: number;
  readonly failedAttempt: boolean;
  readonly inboxSeq: number;
  readonly event: { readonly type: string; readonly data: string } | null;
  readonly output: string | null;
  readonly outputBlob: string | null;
  readonly errorCode: string | null;
  readonly errorMessage: string | null;
  readonly remember: boolean;
  /** JSON text of the session's state, written by the end of a root run. */
  readonly sessionState: string | null;
  /** JSON text: [{ role, content }] */
  readonly messages: string | null;
}

export type Committed =
  | { readonly fenced: true }
  | { readonly fenced: false; readonly status: RunStatus; readonly cancelRequested: boolean; readonly eventSeq: number };

const FENCED: Committed = { fenced: true };

const ENDED = `('completed', 'failed', 'cancelled', 'expired')`;
/** Something was sent that the step has not read, and its wait may end by it: it must not park past it. */
const UNREAD = `(c.status = 'waiting' AND (r.cancel_requested_at IS NOT NULL OR c.reason IN ${BY_NEWS} AND NOT (${guarded('commit-inbox', 'r.inbox_seq = c.inbox')})))`;
/** Somebody wants it paused: at a checkpoint, a retry or a wait it stops here. */
const PAUSES = `(NOT (${guarded('pause-parks', 'r.pause_requested_at IS NULL')}) AND c.status NOT IN ${ENDED})`;
const GOES_ON = `(c.status = 'running' AND NOT ${PAUSES})`;
/** Its step has no next one: that tells it. */
const TOLD = `(event = 'run.completed' AND advance = 1 AND next IS NULL)`;
const SESSION = `, w AS (
  UPDATE sessions s SET state = coalesce(u.session_state, s.state), version = s.version + 1, updated_at = now()
  FROM u WHERE u.session_id IS NOT NULL AND u.status IN ${ENDED} AND s.tenant_id = u.tenant_id AND s.user_id = u.user_id AND s.id = u.session_id
), g AS (
  INSERT INTO messages (tenant_id, user_id, session_id, run_id, role, content)
  SELECT u.tenant_id, u.user_id, u.session_id, u.id, m.value ->> 'role', m.value ->> 'content'
  FROM u, LATERAL json_array_elements(u.messages) WITH ORDINALITY AS m(value, ord) WHERE u.session_id IS NOT NULL AND u.messages IS NOT NULL ORDER BY u.id, m.ord
)`;
/** `session`: what it does to the sessions of its runs. Postgres prepares every part of a statement each time, also for no rows. */
const COMMIT = (session: string): string => `
WITH c AS MATERIALIZED (
  SELECT * FROM json_to_recordset($1::json) AS c(t text, i uuid, fence bigint, holder uuid, seq int, step text, next text, data json, data_blob text, ms int, advance int, version int,
    status run_status, reason wait_reason, wake float8, step_ms float8, failed int, inbox int, event text, event_data json, output json, output_blob text, error_code text,
    error_message text, memory memory_state, session_state json, messages json)
  WHERE c.fence > 0 AND c.seq >= 0 AND c.advance >= 0 -- all are; it makes the planner expect few rows and go by the key, also while the table is young
), u AS (
  UPDATE agent_runs r SET
    step_seq = r.step_seq + c.advance, next_step = coalesce(c.next, r.next_step),
    version = greatest(r.version, c.version),
    status = CASE WHEN ${PAUSES} THEN 'waiting' WHEN ${UNREAD} THEN 'queued' ELSE c.status END,
    wait_reason = CASE WHEN ${PAUSES} THEN 'paused' WHEN c.status = 'waiting' AND NOT ${UNREAD} THEN c.reason END,
    wake_at = CASE WHEN ${PAUSES} THEN NULL WHEN c.status = 'running' OR c.status IN ${ENDED} THEN r.wake_at WHEN ${UNREAD} THEN now() ELSE now() + c.wake * interval '1 ms' END,
    resume_at = CASE WHEN NOT ${PAUSES} THEN NULL WHEN ${UNREAD} OR c.status = 'running' OR c.reason IN ${BY_NEWS} THEN now() ELSE now() + c.wake * interval '1 ms' END,
    fence = CASE WHEN ${GOES_ON} THEN r.fence ELSE -r.fence END,
    claimed_by = CASE WHEN ${GOES_ON} THEN r.claimed_by END,
    step_deadline_at = CASE WHEN ${GOES_ON} THEN now() + c.step_ms * interval '1 ms' END,
    step_claims = CASE WHEN c.advance = 0 THEN r.step_claims WHEN c.status = 'running' THEN 1 ELSE 0 END,
    attempt = CASE WHEN c.advance = 1 THEN 0 ELSE r.attempt + c.failed END,
    crashes = CASE WHEN c.advance = 1 THEN 0 ELSE r.crashes END, crashes_alone = CASE WHEN c.advance = 1 THEN 0 ELSE r.crashes_alone END,
    ran_alone = false,
    event_seq = r.event_seq + c.advance + (c.event IS NOT NULL)::int + ${PAUSES}::int,
    output = coalesce(c.output, r.output), output_blob = coalesce(c.output_blob, r.output_blob), error_code = c.error_code, error_message = c.error_message,
    finished_at = CASE WHEN c.status IN ${ENDED} THEN now() END,
    holds_session = r.holds_session AND c.status NOT IN ${ENDED},
    memory_state = CASE WHEN c.status IN ${ENDED} THEN c.memory ELSE r.memory_state END,
    ${RUN_SUMS}
  FROM c WHERE r.tenant_id = c.t AND r.id = c.i AND ${guarded('commit-fence', 'r.fence = c.fence AND r.claimed_by = c.holder')} AND ${guarded('commit-seq', 'r.step_seq = c.seq')}
  RETURNING r.tenant_id, r.id, r.user_id, r.session_id, r.status, r.step_seq, r.event_seq, r.cancel_requested_at, (r.wait_reason IS NOT DISTINCT FROM 'paused')::int AS paused,
    c.step, c.next, c.data, c.data_blob, c.ms, c.fence, c.advance, c.event, c.event_data, c.session_state, c.messages
), s AS (
  INSERT INTO run_steps (tenant_id, run_id, seq, event_seq, fence, name, next_step, data, data_blob, duration_ms)
  SELECT tenant_id, id, step_seq, event_seq - (event IS NOT NULL)::int - paused, fence, step, next, data, data_blob, ms FROM u WHERE advance = 1
), e AS (
  INSERT INTO run_events (tenant_id, run_id, seq, type, data) SELECT tenant_id, id, event_seq - paused, event, event_data FROM u WHERE event IS NOT NULL AND NOT ${TOLD}
  UNION ALL SELECT tenant_id, id, event_seq, 'run.paused', '{}' FROM u WHERE paused = 1
)${session}
SELECT tenant_id AS tenant, id, status::text AS status, event_seq AS "eventSeq", cancel_requested_at IS NOT NULL AS "cancelRequested" FROM u`;

const COMMIT_IN_SESSION = { name: 'commit-session', text: COMMIT(SESSION) };
const COMMIT_ALONE = { name: 'commit', text: COMMIT('') };

/** Between the values of a step in one parameter: JSON text has no control characters, and an array of it would be escaped and parsed twice. */
const SEPARATOR = '\u001e';
const listOf = (parameter: string): string => `string_to_array(${parameter}, '${SEPARATOR}', 'null')::json[]`;
/** Of steps that succeeded, with nothing else to say than what the step's row tells. `more`: parameters from $12 on. */
const STEPS = (more: { readonly from: string; readonly as: string; readonly set: string; readonly where: string; readonly events: string }): string => `
WITH c AS MATERIALIZED (
  SELECT * FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::uuid[], $5::int[], $6::text[], $7::text[], ${listOf('$8')}, $9::text[], $10::int[], $11::int[], ${more.from})
    AS c(t, i, fence, holder, seq, step, next, data, data_blob, ms, version, ${more.as})
), u AS (
  UPDATE agent_runs r SET step_seq = r.step_seq + 1, version = greatest(r.version, c.version), attempt = 0, crashes = 0, crashes_alone = 0, ran_alone = false, ${more.set}
  FROM c WHERE r.tenant_id = c.t AND r.id = c.i
    AND ${guarded('commit-fence', 'r.fence = c.fence AND r.claimed_by = c.holder')} AND ${guarded('commit-seq', 'r.step_seq = c.seq')}${more.where}
  RETURNING r.tenant_id, r.id, r.status, r.step_seq, r.event_seq, r.cancel_requested_at, c.fence, c.step, c.next, c.data, c.data_blob, c.ms
), s AS (
  INSERT INTO run_steps (tenant_id, run_id, seq, event_seq, fence, name, next_step, data, data_blob, duration_ms)
  SELECT tenant_id, id, step_seq, event_seq${more.events}, fence, step, next, data, data_blob, ms FROM u
)
SELECT tenant_id AS tenant, id, status::text AS status, event_seq AS "eventSeq", cancel_requested_at IS NOT NULL AS "cancelRequested" FROM u`;

const CHECKPOINT = STEPS({ from: '$12::float8[]', as: 'step_ms', set: `next_step = c.next, step_deadline_at = now() + c.step_ms * interval '1 ms', step_claims = 1, event_seq = r.event_seq + 1`,
  where: ` AND ${guarded('pause-parks', 'r.pause_requested_at IS NULL')}`, events: '' });
const COMPLETION = STEPS({ from: `${listOf('$12')}, $13::text[], $14::memory_state[]`, as: 'output, output_blob, memory',
  set: `status = 'completed', wait_reason = NULL, fence = -r.fence, claimed_by = NULL, step_deadline_at = NULL, step_claims = 0, event_seq = r.event_seq + 2, output = coalesce(c.output, r.output), output_blob = coalesce(c.output_blob, r.output_blob),
    error_code = NULL, error_message = NULL, finished_at = now(), memory_state = c.memory, resume_at = NULL, holds_session = false, ${RUN_SUMS}`,
  where: '', events: ' - 1' });

/** A step is recorded, the same worker goes on, and nothing else is to be said. */
export const isCheckpoint = ({ status, step, event, errorCode }: Commit): boolean => status === 'running' && step !== null && step.next !== null && event === null && errorCode === null;

interface CommitRow { tenant: string; id: string; status: RunStatus; eventSeq: number; cancelRequested: boolean }

/** The last step of a run without a session succeeded. */
const isCompletion = ({ status, step, event, inSession, errorCode }: Commit): boolean => status === 'completed' && step !== null && step.next === null && event?.type === 'run.completed' && !inSession && errorCode === null;

/** Commits a group in one round trip; a failed group is repeated one by one. Answers in order. */
export function commitRunsIfHeld(pool: EnginePool, commits: readonly Commit[]): Promise<(Committed | Error)[]> {
  if (commits.every(isCheckpoint)) return commitGroup(pool, commits, checkpointTogether);
  return commits.every(isCompletion) ? commitGroup(pool, commits, completeTogether) : commitGroup(pool, commits);
}

async function commitGroup(pool: EnginePool, commits: readonly Commit[], together: (pool: EnginePool, commits: readonly Commit[]) => Promise<(Committed | Error)[]> = commitTogether): Promise<(Committed | Error)[]> {
  if (commits.length === 0) return [];
  try {
    return await together(pool, commits);
  } catch (error) {
    if (commits.length === 1) return [await readBack(pool, commits[0] as Commit, error as Error)];
    if (isConnectionError(error)) return Promise.all(commits.map((one) => readBack(pool, one, error as Error)));
    return Promise.all(commits.map((one) => commitTogether(pool, [one]).then((answer) => answer[0] as Committed, (each: Error) => readBack(pool, one, each))));
  }
}

async function commitTogether(pool: EnginePool, commits: readonly Commit[]): Promise<Committed[]> {
  const statement = commits.some(({ inSession }) => inSession) ? COMMIT_IN_SESSION : COMMIT_ALONE;
  const { rows } = await pool.query<CommitRow>({ ...statement, values: [`[${inOrder(commits).map(asJson).join(',')}]`] });
  return answersOf(commits, rows).map((answer) => answer ?? FENCED);
}

/** By tenant and id: everywhere rows are locked in one order, so that two groups do not stand in each other's way. */
const inOrder = (commits: readonly Commit[]): Commit[] => [...commits].sort((a, b) => (a.tenant === b.tenant ? (a.id < b.id ? -1 : 1) : a.tenant < b.tenant ? -1 : 1));

type Column = <Value>(of: (one: Commit) => Value) => Value[];
/** An array of ids or numbers has nothing to be escaped. */
const plain = (values: readonly (string | number | bigint)[]): string => `{${values.join(',')}}`;

/** The parameters that both statements of steps begin with. */
const stepsOf = (column: Column): unknown[] => [
  column(({ tenant }) => tenant), plain(column(({ id }) => id)), plain(column(({ fence }) => fence)), plain(column(({ claimedBy }) => claimedBy)), plain(column(({ stepSeq }) => stepSeq)), column(({ step }) => step?.name), column(({ step }) => step?.next),
  column(({ step }) => step?.data ?? 'null').join(SEPARATOR), column(({ step }) => step?.dataBlob), plain(column(({ step }) => Math.round(step?.durationMs ?? 0))), plain(column(({ version }) => version))];

async function completeTogether(pool: EnginePool, commits: readonly Commit[]): Promise<Committed[]> {
  const sorted = inOrder(commits);
  const column: Column = (of) => sorted.map(of);
  const { rows } = await pool.query<CommitRow>({ name: 'completion', text: COMPLETION, values: [...stepsOf(column), column(({ output }) => output ?? 'null').join(SEPARATOR), column(({ outputBlob }) => outputBlob), column(({ remember }) => (remember ? 'due' : 'none'))] });
  return answersOf(commits, rows).map((answer) => answer ?? FENCED);
}

async function checkpointTogether(pool: EnginePool, commits: readonly Commit[]): Promise<(Committed | Error)[]> {
  const sorted = inOrder(commits);
  const column: Column = (of) => sorted.map(of);
  const { rows } = await pool.query<CommitRow>({ name: 'checkpoint', text: CHECKPOINT, values: [...stepsOf(column), plain(column(({ stepMs }) => stepMs))] });
  const answers = answersOf(commits, rows);
  const rest = commits.filter((_, at) => answers[at] === undefined);
  const others = await commitGroup(pool, rest);
  return answers.map((answer) => answer ?? others.shift() as Committed | Error);
}

/** In the order of the commits; undefined where the statement changed nothing. */
function answersOf(commits: readonly Commit[], rows: readonly CommitRow[]): (Committed | undefined)[] {
  const byId = new Map(rows.map((row) => [`${row.tenant} ${row.id}`, row]));
  return commits.map((one) => {
    const row = byId.get(`${one.tenant} ${one.id}`);
    return row && { fenced: false, status: row.status, cancelRequested: row.cancelRequested, eventSeq: row.eventSeq };
  });
}

/** After a lost reply. What is not there yet is committed again, and looked for once more where that is refused: the first
 *  statement may have been under way still. */
async function readBack(pool: EnginePool, one: Commit, error: Error): Promise<Committed | Error> {
  if (!isConnectionError(error)) return error;
  try {
    const before = await committedBefore(pool, one);
    if (before) return before;
    const [answer = FENCED] = await commitTogether(pool, [one]);
    return answer.fenced ? await committedBefore(pool, one) ?? answer : answer;
  } catch (again) {
    return again as Error;
  }
}

/** Whether this commit is on record: the step row of its seq and fence is a commit's own id; for others the negated fence is. */
async function committedBefore(pool: EnginePool, one: Commit): Promise<Committed | undefined> {
  const { rows } = await pool.query<CommitRow & { mine: boolean }>(
    `SELECT r.tenant_id AS tenant, r.id, r.status::text AS status, r.event_seq AS "eventSeq", r.cancel_requested_at IS NOT NULL AS "cancelRequested",
       CASE WHEN $5 THEN EXISTS (SELECT FROM run_steps s WHERE s.tenant_id = r.tenant_id AND s.run_id = r.id AND s.seq = $4 + 1 AND s.fence = $3) ELSE r.fence = -$3::bigint END AS mine
     FROM agent_runs r WHERE r.tenant_id = $1 AND r.id = $2`,
    [one.tenant, one.id, one.fence, one.stepSeq, one.step !== null],
  );
  const row = rows[0];
  return row?.mine ? { fenced: false, status: row.status, cancelRequested: row.cancelRequested, eventSeq: row.eventSeq } : undefined;
}

/** JSON columns arrive as text that is JSON already: they are placed, not encoded again. */
function asJson(one: Commit): string {
  const plain = asLeanJson({
    t: one.tenant, i: one.id, fence: one.fence.toString(), holder: one.claimedBy, seq: one.stepSeq, step: one.step?.name ?? null, next: one.step?.next ?? null,
    data_blob: one.step?.dataBlob ?? null, ms: Math.round(one.step?.durationMs ?? 0), advance: one.step ? 1 : 0, version: one.version, output_blob: one.outputBlob, status: one.status, reason: one.waitReason, wake: one.wakeInMs, step_ms: one.stepMs,
    failed: one.failedAttempt ? 1 : 0, inbox: one.inboxSeq, event: one.event?.type ?? null, error_code: one.errorCode, error_message: one.errorMessage,
    memory: one.remember ? 'due' : 'none',
  });
  const json = { data: one.step?.data, event_data: one.event?.data, output: one.output, session_state: one.sessionState, messages: one.messages };
  return `${plain.slice(0, -1)}${Object.entries(json).map(([name, text]) => (text == null ? '' : `,"${name}":${text}`)).join('')}}`;
}
