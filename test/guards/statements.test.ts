// One small test for each guard of a statement that no cheaper test would miss. They hold in the suite as they are; with
// their guard switched off they must fail (test/guards.test.ts).
import { afterAll, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { askApprovalIfHeld } from '../../src/store/engine/approvals.ts';
import { wantBudgetIfHeld, wakeForBudget } from '../../src/store/engine/budgets.ts';
import { claimRuns } from '../../src/store/engine/claim.ts';
import { commitRunsIfHeld } from '../../src/store/engine/commit.ts';
import { reserveModelCallsIfHeld } from '../../src/store/engine/model-ledger.ts';
import { settleToolCall } from '../../src/store/engine/outcomes.ts';
import { submitRuns } from '../../src/store/engine/submit.ts';
import { registerWorker, retireDeadWorkers } from '../../src/store/engine/workers.ts';
import type { State } from '../support/model-of-a-run.ts';
import { commitOf, HASH, MACHINES, newRun, newWorker, openBench, placeOf, TENANT, type Subject } from '../support/run-bench.ts';
import { useStack } from '../support/stack.ts';
import { TwoSessions } from '../support/two-sessions.ts';

const stack = await useStack();
const bench = await openBench(stack, 6);
const sessions = await TwoSessions.open(bench.pool);
afterAll(() => sessions.close());

async function one(state: State): Promise<Subject> {
  const [subject] = await bench.make(state, 1);
  if (!subject) throw new Error('no run');
  return subject;
}

test('the second run of a session is not claimed while the first is unfinished', async () => {
  const runs = [newRun({ user: 'ann', session: 's' }), newRun({ user: 'ann', session: 's' })];
  await submitRuns(bench.pool, runs);
  const claimed = await claimRuns(bench.pool, [{ tenant: TENANT, id: runs[1]?.id ?? '' }], await newWorker(bench.pool), MACHINES, 60_000);
  expect(claimed).toEqual([undefined]);
});

test('a run past the limit of its tenant is not claimed, and is when one has ended', async () => {
  await bench.pool.query(`INSERT INTO tenants (id, max_running) VALUES ('small', 1) ON CONFLICT (id) DO NOTHING`);
  const runs = [newRun({ tenant: 'small' }), newRun({ tenant: 'small' })];
  await submitRuns(bench.pool, runs);
  const claim = async (): Promise<number> => (await claimRuns(bench.pool, runs.map(({ id }) => ({ tenant: 'small', id })), await newWorker(bench.pool), MACHINES, 60_000)).filter((run) => run !== undefined).length;
  expect([await claim(), await claim()]).toEqual([1, 0]);
  await bench.pool.query(`UPDATE agent_runs SET status = 'completed', claimed_by = NULL, finished_at = now() WHERE tenant_id = 'small' AND status = 'running'`);
  expect(await claim()).toBe(1);
});

test('a checkpoint that was committed is not committed again', async () => {
  const run = await one('running');
  expect(await bench.move(bench.pool, run, 'checkpoint', 'a')).toBe('running');
  expect(await bench.move(bench.pool, run, 'checkpoint', 'b')).toBe('fenced');
  expect((await bench.images([run]))[0]?.stepSeq).toBe(1);
});

test('a result that is there is not filled again', async () => {
  const run = await one('running');
  expect(await bench.move(bench.pool, run, 'fill', 'a')).toBe('filled');
  expect(await bench.move(bench.pool, run, 'fill', 'b')).toBe('not filled');
});

test('a call that a budget has no room for is not reserved, alone or in a group', async () => {
  const runs = await bench.make('running', 3);
  await bench.pool.query(`INSERT INTO budgets (tenant_id, subject, limit_micro_usd) VALUES ($1, 'tenant', 25)`, [TENANT]);
  const intents = runs.map((run) => ({ place: placeOf(run, '7'), attempt: 1, model: 'm', argsHash: HASH, reservedMicroUsd: 10n, lane: 'live' as const }));
  expect((await reserveModelCallsIfHeld(bench.pool, intents)).map((answer) => (answer === 'reserved' ? answer : 'no'))).toEqual(expect.arrayContaining(['reserved', 'reserved', 'no']));
  expect(await reserveModelCallsIfHeld(bench.pool, [{ ...intents[0]!, attempt: 2 }])).toEqual([{ exhausted: 'tenant/total' }]);
  const { rows } = await bench.pool.query(`DELETE FROM budgets WHERE tenant_id = $1 RETURNING reserved_micro_usd::int AS reserved`, [TENANT]);
  expect(rows).toEqual([{ reserved: 20 }]);
});

test('room that is made between the word a run leaves and its park takes it back to the queue', async () => {
  const run = await one('running');
  await bench.pool.query(`INSERT INTO budgets (tenant_id, subject, limit_micro_usd) VALUES ($1, 'tenant', 5)`, [TENANT]);
  const word = await wantBudgetIfHeld(bench.pool, placeOf(run, '7'), 'tenant/total', 10n);
  await bench.pool.query(`UPDATE budgets SET limit_micro_usd = 10 WHERE tenant_id = $1`, [TENANT]);
  expect(await wakeForBudget(bench.pool, TENANT, 'tenant/total', 1)).toEqual([]); // it still runs: it is told
  const [parked] = await commitRunsIfHeld(bench.pool, [commitOf(run, { status: 'waiting', waitReason: 'budget', wakeInMs: null, inboxSeq: word?.inboxSeq ?? -1 })]);
  await bench.pool.query(`DELETE FROM budgets WHERE tenant_id = $1`, [TENANT]);
  expect(parked).toMatchObject({ fenced: false, status: 'queued' });
});

test('one signal is received by one wait', async () => {
  const run = await one('told');
  expect(await bench.move(bench.pool, run, 'read', 'a')).toBe('received');
  expect(await bench.move(bench.pool, run, 'read', 'b')).toBe('nothing, inbox 1');
});

test('two branches of one step that look at the same time do not both receive it', async () => {
  const run = await one('told');
  const read = (side: 'a' | 'b') => (door: Parameters<typeof bench.move>[0]) => bench.move(door, run, 'read', side);
  const { answers } = await sessions.play('gate', TENANT, run.id, read('a'), read('b'));
  expect([...answers].sort()).toEqual(['nothing, inbox 1', 'received']);
});

test('the first decision stands', async () => {
  const run = await one('approval');
  expect(await bench.move(bench.pool, run, 'decide', 'a')).toBe('decided: approved');
  expect(await bench.move(bench.pool, run, 'decide', 'b')).toBe('closed: approved');
});

test('a decision does not count for other arguments than were asked', async () => {
  const run = await one('running');
  await bench.move(bench.pool, run, 'decide', 'a');
  const question = { id: randomUUID(), argsHash: 'cd'.repeat(32), subject: 'tool', request: '{}', expiresInMs: null, onExpiry: 'denied' as const };
  expect(await askApprovalIfHeld(bench.pool, placeOf(run, 'question'), question)).toBe('diverged');
  expect(await askApprovalIfHeld(bench.pool, placeOf(run, 'question'), { ...question, argsHash: HASH })).toMatchObject({ decision: { approved: true, by: 'key:a' } });
});

test('"not applied" is not believed while the call may be under way, and is once its worker is dead', async () => {
  const settle = ({ id }: Subject): Promise<string | undefined> => settleToolCall(bench.pool, { target: { tenant: TENANT, id, user: undefined }, stepSeq: 1, path: 'call', outcome: 'not_applied', response: null, by: 'key:1' });
  expect(await settle(await one('running'))).toBe('open');
  expect(await settle(await one('dead'))).toBe('done');
});

test('a worker whose lease is over is not retired while it holds a run, and is when the run has changed hands', async () => {
  const dying = randomUUID();
  await registerWorker(bench.pool, { incarnation: dying, name: 'w', pool: 'agent', machines: MACHINES, leaseMs: 0 });
  const run = newRun();
  await submitRuns(bench.pool, [run]);
  await claimRuns(bench.pool, [{ tenant: TENANT, id: run.id }], dying, MACHINES, 60_000);
  expect(await retireDeadWorkers(bench.pool)).toBe(0);
  await claimRuns(bench.pool, [{ tenant: TENANT, id: run.id }], await newWorker(bench.pool), MACHINES, 60_000);
  expect(await retireDeadWorkers(bench.pool)).toBe(1);
});
