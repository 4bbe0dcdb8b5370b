// The table of a run's life, walked whole: every status and every reason to wait, met by every statement that moves a run.
// A cell says what its caller is told, and after an arrow where the run then stands; a cell without an arrow changes nothing
// at all, in none of the tables. The model of the interleavings must agree with each cell.
import { describe, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { RUN_STATUSES, WAIT_REASONS } from '../src/domain/status.ts';
import { claimRuns } from '../src/store/engine/claim.ts';
import { submitRuns } from '../src/store/engine/submit.ts';
import { expireUnstarted } from '../src/store/engine/sweeps.ts';
import { sendSignal } from '../src/store/engine/waits.ts';
import { faultsOf, moved, MOVES, STATES, type Move, type State } from './support/model-of-a-run.ts';
import { MACHINES, newRun, newWorker, openBench, TENANT } from './support/run-bench.ts';
import { useStack } from './support/stack.ts';

const stack = await useStack();
const bench = await openBench(stack, 4);

type Row = Record<Move, string>;

/** Nobody holds it: what only a holder may do is refused. */
const UNHELD = { checkpoint: 'fenced', wait: 'fenced', finish: 'fenced', read: 'fenced', intent: 'fenced' };
const HELD: Row = {
  claim: 'refused', reclaim: 'claimed → running', checkpoint: 'running → running', wait: 'waiting → waiting for signal', finish: 'completed → completed', send: 'sent → running', read: 'nothing, inbox 0 → running',
  cancel: 'running → running', interrupt: 'running → running', pause: 'pausing → running', resume: 'not_paused', fill: 'filled → running', decide: 'decided: approved → running', intent: 'open → running', settle: 'done → running',
};
/** Parked after a claim; news of any kind leads to `then`. */
const parked = (then: string): Row => ({
  ...UNHELD, claim: 'refused', reclaim: 'refused', send: `sent → ${then}`, cancel: 'cancelled → cancelled', interrupt: 'queued → queued', pause: 'paused → waiting for paused', resume: 'not_paused', fill: `filled → ${then}`,
  decide: `decided: approved → ${then}`, settle: `done → ${then}`,
});
const byNews = parked('queued');
const byTime = (reason: string): Row => parked(`waiting for ${reason}`);
/** Ended after a claim: only facts are still written, and only in the ledger. */
const ended = (status: string): Row => ({
  ...UNHELD, claim: 'refused', reclaim: 'refused', send: 'finished', cancel: `already ${status}`, interrupt: 'left alone', pause: 'finished', resume: 'not_paused', fill: `filled → ${status}`, decide: 'closed: withdrawn', settle: `done → ${status}`,
});
const NEVER_CLAIMED = { ...UNHELD, interrupt: 'left alone', fill: 'not filled', decide: 'no question', settle: 'no call' };

const TABLE: Record<State, Row> = {
  queued: { ...NEVER_CLAIMED, claim: 'claimed → running', reclaim: 'claimed → running', send: 'sent → queued', cancel: 'cancelled → cancelled', pause: 'paused → waiting for paused', resume: 'not_paused' },
  running: HELD,
  told: { ...HELD, wait: 'queued → queued', send: 'repeated', read: 'received → running' },
  dead: { ...HELD, claim: 'claimed → running' },
  pausing: { ...HELD, checkpoint: 'waiting → waiting for paused', wait: 'waiting → waiting for paused', pause: 'pausing', resume: 'resumed → running' },
  cancelling: { ...HELD, interrupt: 'left alone', reclaim: 'claimed, to cancel → running', checkpoint: 'running, to cancel → running', wait: 'queued, to cancel → queued', finish: 'completed, to cancel → completed', read: 'nothing, inbox 1 → running' },
  signal: byNews, approval: byNews, outcome: byNews, child: byNews, budget: byNews, batch: byNews,
  timer: byTime('timer'), rate: byTime('rate'), restored: { ...byTime('restored'), resume: 'resumed → queued' },
  due: { ...byTime('timer'), claim: 'claimed → running', reclaim: 'claimed → running' },
  paused: { ...NEVER_CLAIMED, claim: 'refused', reclaim: 'refused', send: 'sent → waiting for paused', cancel: 'cancelled → cancelled', pause: 'paused', resume: 'resumed → queued' },
  completed: ended('completed'), failed: ended('failed'), cancelled: ended('cancelled'),
  expired: { ...ended('expired'), ...NEVER_CLAIMED },
};

const TABLES = ['agent_runs', 'run_events', 'run_steps', 'signals', 'approvals', 'tool_calls', 'step_waits', 'step_records'];
/** Every row of the run, in every column. */
async function rowsOf(id: string): Promise<string> {
  const { rows } = await bench.pool.query<{ all: unknown }>(`SELECT json_build_array(${TABLES.map((table) => `(SELECT json_agg(t ORDER BY t::text) FROM ${table} t WHERE tenant_id = $1 AND ${table === 'agent_runs' ? 'id' : 'run_id'} = $2)`).join(', ')}) AS all`, [TENANT, id]);
  return JSON.stringify(rows[0]?.all);
}

test('the table has every status and every reason to wait', async () => {
  const met = new Set<string>();
  for (const state of STATES) {
    const [subject] = await bench.make(state, 1);
    met.add(subject?.before.status ?? '');
    if (subject?.before.waitReason != null) met.add(subject.before.waitReason);
  }
  expect([...met].sort()).toEqual([...new Set([...RUN_STATUSES, ...WAIT_REASONS])].sort());
});

describe.each(STATES)('%s', (state) => {
  test.each(MOVES)('%s', async (move) => {
    const [subject] = await bench.make(state, 1);
    if (!subject) throw new Error('no run');
    const before = await rowsOf(subject.id);
    const answer = await bench.move(bench.pool, subject, move, 'a');
    const [image] = await bench.images([subject]);
    if (!image) throw new Error('no run');
    const stands = `${image.status}${image.waitReason === null ? '' : ` for ${image.waitReason}`}`;
    const changed = await rowsOf(subject.id) !== before;
    expect(changed ? `${answer} → ${stands}` : answer).toBe(TABLE[state][move]);
    expect({ image, answer }).toEqual(moved(subject.before, move, 'a', subject.inboxRead));
    expect(faultsOf(subject.before, image)).toEqual([]);
  });
});

test('a run that has not started in its time expires and cannot be claimed; one that was claimed in time goes on', async () => {
  const [late, early] = await submitRuns(bench.pool, [newRun({ expiresInMs: 0 }), newRun({ expiresInMs: 600_000 })]);
  const worker = await newWorker(bench.pool);
  const claimed = await claimRuns(bench.pool, [late, early].map((run) => ({ tenant: TENANT, id: run?.id ?? '' })), worker, MACHINES, 1_000);
  expect(claimed.map((run) => run?.id)).toEqual([undefined, early?.id]);
  expect((await expireUnstarted(bench.pool, 10)).map(({ id }) => id)).toEqual([late?.id]);
  expect(await expireUnstarted(bench.pool, 10)).toEqual([]);
});

test('a run is not claimed before its time, nor by a build that does not know it; one that something happened to has its start on record', async () => {
  const runs = [newRun({ delayMs: 600_000 }), newRun({ version: 2 }), newRun(), newRun()];
  await submitRuns(bench.pool, runs);
  await sendSignal(bench.pool, { tenant: TENANT, run: runs[2]?.id ?? '', user: undefined, id: randomUUID(), name: 'go', payload: '1', sentBy: 'key:1', idempotencyKey: undefined });
  const claimed = await claimRuns(bench.pool, runs.map(({ id }) => ({ tenant: TENANT, id })), await newWorker(bench.pool), MACHINES, 60_000);
  expect(claimed.map((run) => run?.id)).toEqual([undefined, undefined, runs[2]?.id, runs[3]?.id]);
  const { rows } = await bench.pool.query<{ events: string[] }>(`SELECT array_agg(type ORDER BY seq) AS events FROM run_history WHERE run_id = ANY ($1) GROUP BY run_id ORDER BY array_position($1, run_id)`, [runs.slice(2).map(({ id }) => id)]);
  expect(rows.map(({ events }) => events)).toEqual([['run.queued', 'signal.received', 'run.started'], ['run.queued', 'run.started']]);
});
