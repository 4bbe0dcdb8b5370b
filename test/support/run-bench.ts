// Runs made ready in every state the model knows, by the product's own statements, and the statements themselves as moves on
// one run. A state is walked to once and then copied row by row into as many runs as a test wants, each with a holder of its
// own, so that thousands of plays need no thousands of walks.
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { makeLog } from '../../src/log.ts';
import { askApprovalIfHeld, decideApproval } from '../../src/store/engine/approvals.ts';
import { claimRuns } from '../../src/store/engine/claim.ts';
import { commitRunsIfHeld, type Commit } from '../../src/store/engine/commit.ts';
import { cancelRun, pauseRun, resumeRun } from '../../src/store/engine/control.ts';
import { fillToolResult, openToolCallIfHeld, type Place, type ToolIntent, type ToolOutcome } from '../../src/store/engine/ledger.ts';
import { settleToolCall } from '../../src/store/engine/outcomes.ts';
import { interruptRun } from '../../src/store/engine/multitask.ts';
import { openEnginePool, type EnginePool } from '../../src/store/engine/pool.ts';
import { submitRuns, type NewRun } from '../../src/store/engine/submit.ts';
import { expireUnstarted } from '../../src/store/engine/sweeps.ts';
import { sendSignal, settleOrOpenWaitIfHeld, type WaitSpec } from '../../src/store/engine/waits.ts';
import { registerWorker, retireWorker } from '../../src/store/engine/workers.ts';
import type { Answer, Move, RunImage, Side, State } from './model-of-a-run.ts';
import { atFileEnd, type TestStack } from './stack.ts';

export const TENANT = 'acme';
export const MACHINES = ['still@1'];
export const HASH = 'ab'.repeat(32);
const WORKERS = ['claim a', 'claim b', 'reclaim a', 'reclaim b'] as const;

/** One run, and what its first holder knows of it. */
export interface Subject {
  readonly id: string;
  readonly state: State;
  /** Incarnation of the worker that claimed it first; nobody's where it was never claimed. */
  readonly holder: string;
  readonly fence: bigint;
  readonly inboxRead: number;
  readonly before: RunImage;
}

export interface Bench {
  readonly pool: EnginePool;
  make(state: State, count: number): Promise<Subject[]>;
  /** What became of them, in the order asked. */
  images(subjects: readonly Pick<Subject, 'id' | 'holder' | 'fence'>[]): Promise<RunImage[]>;
  /** Makes one move; `door` is the pool or a session's. */
  move(door: EnginePool, subject: Subject, move: Move, side: Side): Promise<Answer>;
}

export async function openBench(stack: TestStack, connections: number): Promise<Bench> {
  const log = makeLog('silent', 'test');
  const pool = openEnginePool(stack.databaseUrl, true, connections, log);
  const owner = new pg.Pool({ connectionString: stack.databaseUrl, max: 1 });
  atFileEnd(async () => { await Promise.all([pool.end(), owner.end()]); });
  const workers = new Map<string, string>();
  for (const name of WORKERS) workers.set(name, await newWorker(pool));
  return {
    pool,
    make: (state, count) => make(pool, owner, workers, state, count),
    images: (subjects) => imagesOf(pool, workers, subjects),
    move: (door, subject, move, side) => makeMove(door, workers, subject, move, side),
  };
}

export async function newWorker(pool: EnginePool): Promise<string> {
  const incarnation = randomUUID();
  await registerWorker(pool, { incarnation, name: 'w', pool: 'agent', machines: MACHINES, leaseMs: 600_000 });
  return incarnation;
}

export const placeOf = ({ id, holder, fence }: Pick<Subject, 'id' | 'holder' | 'fence'>, path: string): Place => ({ tenant: TENANT, run: id, fence, claimedBy: holder, stepSeq: 1, path });
const WAIT: WaitSpec = { kind: 'signal', name: 'go', argsHash: HASH, timeoutMs: null, targets: [], any: false };
export const RESULT: ToolOutcome = { status: 'succeeded', response: { json: '1', blob: null }, meta: '{}', errorCode: null, errorMessage: null, durationMs: 1 };
export const CALL: ToolIntent = { key: 'key', tool: 'tool', version: 1, effect: 'unkeyed', argsHash: HASH, request: '{}', timeoutMs: 600_000, business: undefined };

export const newRun = (change: Partial<NewRun> = {}): NewRun => ({
  tenant: TENANT, id: randomUUID(), agent: 'still', version: 1, pool: 'agent', visible: true, user: null, session: null, parent: null, parentStepSeq: null, parentPath: null, expiresInMs: null, start: 'one', priority: 0, concurrencyKey: null, concurrencyLimit: null,
  idempotencyKey: null, requestHash: HASH, metadata: '{}', input: '{}', model: null, budgetMicroUsd: null, lane: null, deadlineAt: null, startAt: null, delayMs: 0, debounceKey: null, debounceMaxMs: null, ...change,
});

export const commitOf = ({ id, holder, fence, inboxRead }: Pick<Subject, 'id' | 'holder' | 'fence' | 'inboxRead'>, change: Partial<Commit>): Commit => ({
  tenant: TENANT, id, inSession: false, version: 1, fence, claimedBy: holder, stepSeq: 0, step: null, status: 'running', waitReason: null, wakeInMs: null, stepMs: 600_000, failedAttempt: false,
  inboxSeq: inboxRead, event: null, output: null, outputBlob: null, errorCode: null, errorMessage: null, remember: false, sessionState: null, messages: null, ...change,
});
export const STEP = { name: 'one', next: 'two', data: '{"n":1}', dataBlob: null, durationMs: 1 };
const FINISH: Partial<Commit> = { status: 'completed', step: { ...STEP, next: null }, output: '1', event: { type: 'run.completed', data: '{}' } };

/** The product's statement of a move, and its answer in the model's words. */
async function makeMove(door: EnginePool, workers: ReadonlyMap<string, string>, subject: Subject, move: Move, side: Side): Promise<Answer> {
  const target = { tenant: TENANT, id: subject.id, user: undefined };
  const commit = async (change: Partial<Commit>): Promise<Answer> => {
    const [answer] = await commitRunsIfHeld(door, [commitOf(subject, change)]);
    if (!answer || answer instanceof Error) throw answer ?? new Error('no answer');
    return answer.fenced ? 'fenced' : answer.cancelRequested ? `${answer.status}, to cancel` : answer.status;
  };
  const claim = async (worker: string): Promise<Answer> => {
    const [run] = await claimRuns(door, [{ tenant: TENANT, id: subject.id }], workers.get(worker) ?? '', MACHINES, 600_000);
    return run ? (run.cancelRequested ? 'claimed, to cancel' : 'claimed') : 'refused';
  };
  switch (move) {
    case 'claim': return claim(`claim ${side}`);
    case 'reclaim': await retireWorker(door, subject.holder); return claim(`reclaim ${side}`);
    case 'checkpoint': return commit({ step: STEP });
    case 'wait': return commit({ status: 'waiting', waitReason: 'signal' });
    case 'finish': return commit(FINISH);
    case 'send': return await sendSignal(door, { tenant: TENANT, run: subject.id, user: undefined, id: randomUUID(), name: 'go', payload: '1', sentBy: 'key:1', idempotencyKey: 'once' }) ?? 'no run';
    case 'read': {
      const answer = await settleOrOpenWaitIfHeld(door, placeOf(subject, `wait ${side}`), WAIT);
      return answer === 'fenced' ? answer : 'result' in answer ? 'received' : `nothing, inbox ${answer.inboxSeq}`;
    }
    case 'cancel': { const answer = await cancelRun(door, target); return answer ? (answer.already ? `already ${answer.status}` : answer.status) : 'no run'; }
    case 'interrupt': return await interruptRun(door, { tenant: TENANT, id: subject.id, by: subject.id }) ?? 'left alone';
    case 'pause': return await pauseRun(door, target) ?? 'no run';
    case 'resume': return await resumeRun(door, target) ?? 'no run';
    case 'fill': return (await fillToolResult(door, placeOf(subject, 'call'), RESULT)) ? 'filled' : 'not filled';
    case 'decide': {
      const answer = await decideApproval(door, { tenant: TENANT, user: undefined, id: subject.id, approved: true, by: `key:${side}`, reason: undefined, edited: undefined });
      return answer ? `${answer.decided ? 'decided' : 'closed'}: ${answer.status}` : 'no question';
    }
    case 'intent': return openIntent(door, subject);
    case 'settle': {
      const answer = await settleToolCall(door, { target, stepSeq: 1, path: 'call', outcome: 'succeeded', response: '1', by: 'key:1' });
      return answer ?? 'no call';
    }
  }
}

async function openIntent(door: EnginePool, subject: Subject): Promise<Answer> {
  if (await openToolCallIfHeld(door, placeOf(subject, 'call'), CALL)) return 'open';
  const { rows } = await door.query<{ held: boolean }>(`SELECT fence = $2 AND status = 'running' AS held FROM agent_runs WHERE id = $1`, [subject.id, subject.fence]);
  return rows[0]?.held ? 'known' : 'fenced';
}

const NEVER_CLAIMED: readonly State[] = ['queued', 'paused', 'expired'];

/** Walks one run to the state, then copies it. */
async function make(pool: EnginePool, owner: pg.Pool, workers: ReadonlyMap<string, string>, state: State, count: number): Promise<Subject[]> {
  const [submitted] = await submitRuns(pool, [newRun({ expiresInMs: state === 'expired' ? 0 : null })]);
  const id = submitted?.id ?? '';
  const known = { id, holder: await newWorker(pool), fence: 0n, inboxRead: 0 };
  const walked = NEVER_CLAIMED.includes(state) ? known : await beginAsHolder(pool, known);
  await walkTo(pool, state, walked);
  const ids = Array.from({ length: count }, () => randomUUID());
  const holders = Array.from({ length: count }, () => randomUUID());
  await copyRun(owner, walked, ids, holders);
  const copies = ids.map((copy, at) => ({ id: copy, state, holder: holders[at] ?? '', fence: walked.fence, inboxRead: walked.inboxRead }));
  await owner.query(`ANALYZE ${Object.keys(COPIED).join(', ')}, workers`); // nobody else does it in time, and plans made for empty tables are slow on full ones
  const images = await imagesOf(pool, workers, copies);
  return copies.map((copy, at) => ({ ...copy, before: images[at] as RunImage }));
}

type Walked = Pick<Subject, 'id' | 'holder' | 'fence' | 'inboxRead'>;

/** Claims, opens a wait, asks a person and writes the intent of a call. */
async function beginAsHolder(pool: EnginePool, known: Walked): Promise<Walked> {
  const [run] = await claimRuns(pool, [{ tenant: TENANT, id: known.id }], known.holder, MACHINES, 600_000);
  if (!run) throw new Error('the run was not to be had');
  const walked = { ...known, fence: run.fence };
  const opened = await settleOrOpenWaitIfHeld(pool, placeOf(walked, 'wait'), WAIT);
  await askApprovalIfHeld(pool, placeOf(walked, 'question'), { id: known.id, argsHash: HASH, subject: 'tool', request: '{}', expiresInMs: null, onExpiry: 'denied' });
  await openToolCallIfHeld(pool, placeOf(walked, 'call'), CALL);
  if (opened === 'fenced' || 'result' in opened) throw new Error('the wait was not open');
  return { ...walked, inboxRead: opened.inboxSeq };
}

async function walkTo(pool: EnginePool, state: State, walked: Walked): Promise<void> {
  const target = { tenant: TENANT, id: walked.id, user: undefined };
  const park = async (change: Partial<Commit>): Promise<void> => { await commitRunsIfHeld(pool, [commitOf(walked, { status: 'waiting', ...change })]); };
  switch (state) {
    case 'queued': case 'running': return;
    case 'told': await sendSignal(pool, { tenant: TENANT, run: walked.id, user: undefined, id: randomUUID(), name: 'go', payload: '1', sentBy: 'key:1', idempotencyKey: 'once' }); return;
    case 'dead': return retireWorker(pool, walked.holder);
    case 'pausing': case 'paused': await pauseRun(pool, target); return;
    case 'cancelling': await cancelRun(pool, target); return;
    case 'signal': case 'approval': case 'child': case 'batch': case 'budget': case 'rate': case 'restored': return park({ waitReason: state });
    case 'outcome': await fillToolResult(pool, placeOf(walked, 'call'), { ...RESULT, status: 'unknown', response: undefined, errorCode: 'outcome_unknown' }); return park({ waitReason: state });
    case 'timer': return park({ waitReason: 'timer', wakeInMs: 3_600_000 });
    case 'due': return park({ waitReason: 'timer', wakeInMs: 0 });
    case 'completed': await commitRunsIfHeld(pool, [commitOf(walked, FINISH)]); return;
    case 'failed': await commitRunsIfHeld(pool, [commitOf(walked, { status: 'failed', errorCode: 'step_failed', event: { type: 'run.failed', data: '{}' } })]); return;
    case 'cancelled': await park({ waitReason: 'signal' }); await cancelRun(pool, target); return;
    case 'expired': await expireUnstarted(pool, 10); return;
  }
}

const COPIED = { agent_runs: 'id', run_events: 'run_id', run_steps: 'run_id', signals: 'run_id', approvals: 'run_id', tool_calls: 'run_id', step_waits: 'run_id', step_records: 'run_id' };

/** Copies every row of the run under the new ids; the first holder becomes each copy's own, dead or alive as it was. */
async function copyRun(owner: pg.Pool, walked: Walked, ids: readonly string[], holders: readonly string[]): Promise<void> {
  for (const [table, key] of Object.entries(COPIED)) {
    await owner.query(`INSERT INTO ${table} SELECT (jsonb_populate_record(r, jsonb_build_object($4::text, c.id) ||
        CASE WHEN to_jsonb(r) ->> 'claimed_by' = $2 THEN jsonb_build_object('claimed_by', c.holder) ELSE '{}' END || CASE WHEN $5::text = 'approvals' THEN jsonb_build_object('id', c.id) ELSE '{}' END)).*
      FROM ${table} r, unnest($3::uuid[], $6::uuid[]) AS c(id, holder) WHERE r.tenant_id = '${TENANT}' AND r.${key} = $1`, [walked.id, walked.holder, ids, key, table, holders]);
  }
  await owner.query(`INSERT INTO workers SELECT (jsonb_populate_record(w, jsonb_build_object('id', nextval('worker_seq'), 'incarnation', c.holder))).* FROM workers w, unnest($2::uuid[]) AS c(holder) WHERE w.incarnation = $1`, [walked.holder, holders]);
}

const WHEN = (column: string): string => `CASE WHEN r.${column} <= clock_timestamp() + interval '1 second' THEN 'now' WHEN r.${column} IS NOT NULL THEN 'later' END`;
const IMAGES = `
SELECT r.status::text AS status, r.wait_reason::text AS "waitReason", ${WHEN('wake_at')} AS wake, ${WHEN('resume_at')} AS resume,
  CASE WHEN r.fence = 0 THEN 0 ELSE sign(r.fence) * CASE WHEN abs(r.fence) > c.fence THEN 2 ELSE 1 END END::int AS fence,
  CASE WHEN r.claimed_by = c.holder THEN 'holder' ELSE coalesce($4::jsonb ->> r.claimed_by::text, r.claimed_by::text) END AS holder,
  EXISTS (SELECT FROM workers w WHERE w.incarnation = c.holder AND w.lease_until > now() AND w.ended_at IS NULL) AS "holderLives",
  r.step_seq AS "stepSeq", r.step_claims AS "stepClaims", r.crashes, r.inbox_seq AS "inboxSeq", r.event_seq AS "eventSeq",
  ARRAY(SELECT h.seq || ' ' || CASE h.type WHEN 'step.completed' THEN 'step ' || (h.data ->> 'step') ELSE h.type END FROM run_history h WHERE h.tenant_id = r.tenant_id AND h.run_id = r.id ORDER BY h.seq, h.type) AS events,
  r.cancel_requested_at IS NOT NULL AS "cancelRequested", r.pause_requested_at IS NOT NULL AS "pauseRequested", r.started_at IS NOT NULL AS started, r.finished_at IS NOT NULL AS finished,
  (SELECT count(*) FILTER (WHERE consumed_at IS NULL) FROM signals s WHERE s.tenant_id = r.tenant_id AND s.run_id = r.id)::int AS unread,
  (SELECT count(*) FILTER (WHERE consumed_at IS NOT NULL) FROM signals s WHERE s.tenant_id = r.tenant_id AND s.run_id = r.id)::int AS consumed,
  ARRAY(SELECT path FROM step_records p WHERE p.tenant_id = r.tenant_id AND p.run_id = r.id ORDER BY path) AS records,
  (SELECT status::text FROM approvals a WHERE a.tenant_id = r.tenant_id AND a.run_id = r.id) AS approval, t.status::text AS tool, coalesce(t.attempts, 0) AS "toolAttempts"
FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) WITH ORDINALITY AS c(id, holder, fence, ord) JOIN agent_runs r ON r.tenant_id = '${TENANT}' AND r.id = c.id
  LEFT JOIN tool_calls t ON t.tenant_id = r.tenant_id AND t.run_id = r.id ORDER BY c.ord`;

async function imagesOf(pool: EnginePool, workers: ReadonlyMap<string, string>, subjects: readonly Pick<Subject, 'id' | 'holder' | 'fence'>[]): Promise<RunImage[]> {
  const names = Object.fromEntries([...workers].map(([name, incarnation]) => [incarnation, name]));
  const { rows } = await pool.query<RunImage>(IMAGES, [subjects.map(({ id }) => id), subjects.map(({ holder }) => holder), subjects.map(({ fence }) => fence), JSON.stringify(names)]);
  return rows;
}
