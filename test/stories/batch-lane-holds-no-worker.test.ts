// Calls of the batch lane: gathered, sent once, looked at, and each answered, paid once at half the price, whatever happens in
// between. Their runs wait without a worker.
import { beforeEach, expect, test } from '@jest/globals';
import { z } from 'zod';
import type { LANES } from '../../src/domain/lane.ts';
import { costMicroUsd } from '../../src/domain/prices.ts';
import { wallMs } from '../../src/clock.ts';
import { textOf } from '../../src/domain/model.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { cancelBatch, listBatches, type BatchRow } from '../../src/store/engine/batches.ts';
import { makeCancelRun } from '../../src/run/cancel-run.ts';
import { openAppStore } from '../../src/store/app-store.ts';
import { assembleBatchLane } from '../../workers/assemble.ts';
import { agent, askedOf, done, expectSound, ledgerOf } from '../support/agents.ts';
import { startFleet } from '../support/fleet.ts';
import { killAt } from '../support/kill-at.ts';
import { looper } from '../support/loop-agent.ts';
import { until } from '../support/meet.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

let trioCalled = 0;
const trio = defineMachine({
  name: 'trio', version: 1, input: z.strictObject({}), start: 'ask', remembers: false, lane: 'batch',
  steps: {
    ask: async (step) => {
      trioCalled++;
      const turns = await step.all(['one', 'two', 'three'].map((text) => (branch) => branch.model({ model: 'claude-haiku-4-5', system: '', messages: [{ role: 'user', content: [{ type: 'text', text }] }], maxTokens: 100 })));
      return step.done(turns.map(({ content }) => textOf(content)));
    },
  },
});
const stack = await useStack();
const fleet = await startFleet(stack, [agent({ lane: 'batch', limits: { maxTurns: 20 } }), agent({ name: 'live' }), agent({ name: 'frugal', lane: 'batch', limits: { budgetMicroUsd: 1n, overBudget: 'fail' } }), trio, looper]);
const worker = await fleet.worker();
const TIMES = { createMs: 0, waitMs: 0, lookMs: 1, lookMaxMs: 5, lostMs: 200 };
const lane = assembleBatchLane(fleet.base, TIMES);
const { pool } = fleet.base;
const store = openAppStore({ url: fleet.base.config.DATABASE_URL, asRole: true, log: fleet.base.log });
atFileEnd(() => store.close());
beforeEach(() => { fleet.stub.reset(); fleet.stub.batches.plan({ endsAfterMs: 'held' }); });

const say = async (message: string, more: { agent?: string; tenant?: string; lane?: (typeof LANES)[number]; deadlineAt?: string; idempotencyKey?: string } = {}): Promise<string> =>
  (await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'talker', user: 'ada', input: { message }, ...more })).id;
const parked = (id: string, tenant = 'acme') => fleet.until(tenant, id, ({ wait_reason }) => wait_reason === 'batch');
const inHours = (hours: number): string => new Date(wallMs() + hours * 3_600_000).toISOString();
/** Rounds until there is nothing to be done for any batch: what is held stays. */
async function rounds(holds: () => Promise<boolean>): Promise<void> { await until('the lane', async () => { await lane.sweep(); return holds(); }); }
const isOpen = async (): Promise<boolean> => (await latest()).state === 'open';
const latest = async (): Promise<BatchRow> => (await listBatches(pool, 1))[0] as BatchRow;
/** All that is sent ends, until the run has. */
const answered = (id: string, tenant = 'acme') => rounds(async () => { fleet.stub.batches.end(); return (await fleet.run(tenant, id)).finished_at !== null; });
const liveCalls = () => fleet.stub.calls().filter(({ route }) => route === 'messages');
const lines = (id: string) => ledgerOf(fleet, id).then((rows) => rows.map(({ status, attempt, error_code }) => [attempt, status, error_code]));

test('an agent of ten turns with tools goes through batches alone: no worker is held, each turn costs half, the transcript is sound', async () => {
  fleet.stub.tell({ when: 'ten turns', turns: [...Array.from({ length: 9 }, (_, n) => ({ toolUses: [{ name: n % 2 === 0 ? 'look' : 'post', input: n % 2 === 0 ? { what: `w${n}` } : { line: `l${n}` } }] })), { text: 'All ten.' }] });
  const before = done.length;
  const id = await say('ten turns');
  await parked(id);
  await fleet.until('acme', id, () => worker.running === 0); // its last commit is answered after it is seen
  await answered(id);
  expect(await fleet.run('acme', id)).toMatchObject({ status: 'completed', output: { answer: 'All ten.' } });
  expect(liveCalls()).toEqual([]);
  expect(done.length - before).toBe(9);
  const ledger = await fleet.rows<{ lane: string; status: string; input: number; write5m: number; read: number; output: number; cost: number }>(`SELECT lane, status::text, input_tokens AS input, cache_write_5m_tokens AS write5m, cache_read_tokens AS read, output_tokens AS output, cost_micro_usd::float8 AS cost FROM model_calls WHERE run_id = $1`, [id]);
  expect(ledger).toHaveLength(10);
  for (const { lane: booked, status, input, write5m, read, output, cost } of ledger) {
    const usage = { inputTokens: input, cacheWrite5mTokens: write5m, cacheWrite1hTokens: 0, cacheReadTokens: read, outputTokens: output };
    expect([booked, status, cost]).toEqual(['batch', 'settled', Number(costMicroUsd('claude-haiku-4-5', usage, wallMs(), 'batch'))]);
    expect(cost).toBeLessThan(Number(costMicroUsd('claude-haiku-4-5', usage, wallMs())));
  }
  expect(Number((await fleet.run('acme', id)).cost_micro_usd)).toBe(ledger.reduce((sum, { cost }) => sum + cost, 0));
  await expectSound(fleet, id);
});

test('many runs of several tenants go in one batch, whose items name nothing; each gets its own answer, whatever the order', async () => {
  const runs = await Promise.all(Array.from({ length: 12 }, async (_, n) => ({ tenant: n % 2 ? 'acme' : 'globex', words: `question ${n}`, id: await say(`question ${n}`, { tenant: n % 2 ? 'acme' : 'globex' }) })));
  await Promise.all(runs.map(({ id, tenant }) => parked(id, tenant)));
  await rounds(isOpen);
  const [batch, ...others] = fleet.stub.batches.all();
  expect([batch?.items.length, others]).toEqual([12, []]);
  for (const { custom_id: name } of batch?.items ?? []) for (const word of ['acme', 'globex', 'ada', ...runs.map(({ id }) => id)]) expect(name).not.toContain(word);
  expect(JSON.stringify(await fleet.rows(`SELECT * FROM batch_items`))).not.toContain('question'); // what was sent is not kept
  for (const { id, tenant } of runs) await answered(id, tenant);
  for (const { id, tenant, words } of runs) expect((await fleet.run(tenant, id)).output).toMatchObject({ answer: `You said: ${words}` });
  expect(await fleet.rows(`SELECT * FROM batch_items`)).toEqual([]);
  expect(await latest()).toMatchObject({ state: 'done', left: 0, items: 12 });
});

test('a batch is full at so many items; what is left waits for the next', async () => {
  const ids = await Promise.all([1, 2, 3, 4, 5].map((n) => say(`full ${n}`)));
  await Promise.all(ids.map((id) => parked(id)));
  const small = assembleBatchLane(fleet.base, { ...TIMES, maxItems: 2, waitMs: 60_000 });
  await small.sweep();
  expect(fleet.stub.batches.all().map(({ items }) => items.length)).toEqual([2, 2]);
  expect(await fleet.rows(`SELECT count(*)::int AS n FROM batch_items WHERE batch_id IS NULL`)).toEqual([{ n: 1 }]);
  for (const id of ids) await answered(id);
});

test.each(['expired', 'errored'] as const)('an item that %s is made live, and costs nothing in the batch', async (how) => {
  fleet.stub.tell({ when: how, turns: [{ text: 'Answered.', ...(how === 'errored' ? { faults: [{ kind: 'overloaded' }] } : {}) }] });
  if (how === 'expired') fleet.stub.batches.plan({ endsAfterMs: 'held', expiresAfterMs: 0 });
  const id = await say(how);
  await answered(id);
  expect(await fleet.run('acme', id)).toMatchObject({ status: 'completed', output: { answer: 'Answered.' } });
  expect(await lines(id)).toEqual([[1, 'failed', `batch_${how}`], [2, 'settled', null]]);
  expect((await ledgerOf(fleet, id))[0]?.cost).toBe(0);
  expect(askedOf(fleet, how).filter(({ route }) => route === 'messages')).toHaveLength(1);
});

test('a request the provider refuses in a batch ends its run as it would live', async () => {
  fleet.stub.tell({ when: 'refused', turns: [{ text: '', faults: [{ kind: 'rejected' }, { kind: 'rejected' }] }] });
  const id = await say('refused');
  await answered(id);
  expect(await fleet.run('acme', id)).toMatchObject({ status: 'failed', error_code: 'model_rejected' });
});

test('a creation that nobody answered is found by time and count, believed by its results, and paid once', async () => {
  fleet.stub.addFault({ kind: 'answer_lost', on: 'batch_create' });
  const id = await say('lost answer');
  await parked(id);
  await rounds(isOpen);
  expect(await latest()).toMatchObject({ adopted: true });
  await answered(id);
  expect(await latest()).toMatchObject({ state: 'done', adopted: false });
  expect(fleet.stub.batches.all()).toHaveLength(1);
  expect(await lines(id)).toEqual([[1, 'settled', null]]);
});

test('of two batches of one count whose creations nobody answered each run gets its own answer', async () => {
  fleet.stub.addFault({ kind: 'answer_lost', on: 'batch_create' });
  fleet.stub.addFault({ kind: 'answer_lost', on: 'batch_create' });
  const first = await say('first of two');
  await parked(first);
  await lane.sweep();
  const second = await say('second of two');
  await parked(second);
  await lane.sweep();
  for (const id of [first, second]) await answered(id);
  expect((await fleet.run('acme', first)).output).toMatchObject({ answer: 'You said: first of two' });
  expect((await fleet.run('acme', second)).output).toMatchObject({ answer: 'You said: second of two' });
  expect([await lines(first), await lines(second)].flat().every(([, status]) => status === 'settled')).toBe(true);
});

test('another’s batch of the same time and count is taken for ours until its results are read', async () => {
  await fetch(`${fleet.stub.url}/v1/messages/batches`, { method: 'POST', headers: { 'x-api-key': 'k', 'anthropic-version': '2023-06-01', 'content-type': 'application/json' }, body: JSON.stringify({ requests: [{ custom_id: 'theirs', params: { model: 'claude-haiku-4-5', max_tokens: 10, messages: [{ role: 'user', content: 'theirs' }] } }] }) });
  fleet.stub.addFault({ kind: 'gateway_timeout', on: 'batch_create' });
  const id = await say('not theirs');
  await parked(id);
  await rounds(isOpen);
  await answered(id);
  expect((await fleet.run('acme', id)).output).toMatchObject({ answer: 'You said: not theirs' });
  expect((await listBatches(pool, 2)).map(({ disproved }) => disproved.length)).toEqual([0, 1]);
});

test('a creation that made no batch is given up after its time: booked at its reserve, and sent again', async () => {
  fleet.stub.addFault({ kind: 'gateway_timeout', on: 'batch_create' });
  const id = await say('never arrived');
  await parked(id);
  await answered(id);
  const [lost, again] = await ledgerOf(fleet, id);
  expect(lost).toMatchObject({ status: 'booked', error_code: 'batch_lost', cost: lost?.reserved });
  expect(lost?.cost).toBeGreaterThan(0);
  expect(again).toMatchObject({ status: 'settled' });
  expect(liveCalls()).toEqual([]);
  expect(Number((await fleet.run('acme', id)).cost_micro_usd)).toBe((lost?.cost ?? 0) + (again?.cost ?? 0));
  expect((await listBatches(pool, 2)).map(({ state }) => state)).toEqual(['done', 'lost']);
});

test('a provider that refuses for now gets the same items later', async () => {
  fleet.stub.addFault({ kind: 'rate_limit', retryAfterS: 0, on: 'batch_create' });
  const id = await say('later');
  await parked(id);
  await answered(id);
  expect(await lines(id)).toEqual([[1, 'settled', null]]);
});

test('results that broke off are read again; what was settled stays settled', async () => {
  const ids = await Promise.all([1, 2, 3, 4].map((n) => say(`broken off ${n}`)));
  await Promise.all(ids.map((id) => parked(id)));
  fleet.stub.addFault({ kind: 'disconnect', on: 'batch_results' });
  for (const id of ids) await answered(id);
  for (const id of ids) expect(await lines(id)).toEqual([[1, 'settled', null]]);
});

test('a cancelled run’s unsent call is dropped for nothing; one that was sent is booked at what it cost', async () => {
  const cancel = makeCancelRun({ store, ...fleet.base });
  const unsent = await say('cancelled unsent');
  await parked(unsent);
  await cancel({ scope: { tenant: 'acme' }, id: unsent, actor: 'test' });
  await fleet.ended('acme', unsent);
  await lane.sweep();
  expect(await ledgerOf(fleet, unsent)).toMatchObject([{ status: 'failed', error_code: 'cancelled', cost: 0 }]);
  expect(fleet.stub.batches.all()).toEqual([]);

  const sent = await say('cancelled sent');
  await parked(sent);
  await rounds(isOpen);
  await cancel({ scope: { tenant: 'acme' }, id: sent, actor: 'test' });
  await fleet.ended('acme', sent);
  await rounds(async () => { fleet.stub.batches.end(); return (await latest()).state === 'done'; });
  const [row] = await ledgerOf(fleet, sent);
  expect(row?.status).toBe('settled');
  expect(row?.cost).toBeGreaterThan(0);
  expect(await fleet.run('acme', sent)).toMatchObject({ status: 'cancelled', cost_micro_usd: String(row?.cost) });
});

test('a whole batch can be cancelled: its calls are made live', async () => {
  const id = await say('cancel the batch');
  await parked(id);
  await rounds(isOpen);
  expect(await cancelBatch(pool, (await latest()).id)).toBe(true);
  await rounds(async () => (await fleet.run('acme', id)).finished_at !== null);
  expect(await lines(id)).toEqual([[1, 'failed', 'batch_canceled'], [2, 'settled', null]]);
  expect(await cancelBatch(pool, (await latest()).id)).toBe(false);
});

test('what a submission asks for goes before what the agent says; `auto` and deadlines keep to their two hours', async () => {
  const booked = async (more: Parameters<typeof say>[1]): Promise<string> => {
    const id = await say(`lane ${JSON.stringify(more)}`, more);
    await fleet.until('acme', id, ({ status, wait_reason }) => status === 'completed' || wait_reason === 'batch');
    return (await fleet.rows<{ lane: string }>(`SELECT lane FROM model_calls WHERE run_id = $1`, [id]))[0]?.lane ?? '';
  };
  expect(await booked({})).toBe('batch');
  expect(await booked({ lane: 'realtime' })).toBe('live');
  expect(await booked({ deadlineAt: inHours(1.9) })).toBe('live');
  expect(await booked({ deadlineAt: inHours(3) })).toBe('batch');
  expect(await booked({ agent: 'live' })).toBe('live');
  expect(await booked({ agent: 'live', lane: 'auto' })).toBe('live');
  expect(await booked({ agent: 'live', lane: 'auto', deadlineAt: inHours(1.9) })).toBe('live');
  expect(await booked({ agent: 'live', lane: 'auto', deadlineAt: inHours(3) })).toBe('batch');
  await expect(say('x', { lane: 'fast' as never })).rejects.toMatchObject({ code: 'bad_request' });
  await expect(say('x', { deadlineAt: 'tomorrow' })).rejects.toMatchObject({ code: 'bad_request' });
  await rounds(async () => { fleet.stub.batches.end(); return (await fleet.rows(`SELECT FROM batch_items`)).length === 0; });
});

test('no room in a budget: nothing joins a batch', async () => {
  const id = await say('too dear', { agent: 'frugal' });
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'failed', error_code: 'budget_exceeded' });
  expect(await fleet.rows(`SELECT FROM batch_items`)).toEqual([]);
});

test('a Redis that forgot everything meanwhile changes nothing', async () => {
  const id = await say('forgotten');
  await parked(id);
  await rounds(isOpen);
  const keys = await fleet.base.redis.keys(`*${stack.redisPrefix}*`);
  if (keys.length > 0) await fleet.base.redis.del(...keys);
  await answered(id);
  expect((await fleet.run('acme', id)).output).toMatchObject({ answer: 'You said: forgotten' });
});

test('parallel calls of one step go together, and their run is woken once, by the last result', async () => {
  const { id } = await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'trio', input: {} });
  await parked(id);
  await rounds(isOpen);
  expect(fleet.stub.batches.all().map(({ items }) => items.length)).toEqual([3]);
  await answered(id);
  expect(await fleet.run('acme', id)).toMatchObject({ status: 'completed', output: ['You said: one', 'You said: two', 'You said: three'] });
  expect(trioCalled).toBe(2);
});

// What each kill may cost: a batch of which nobody knows whether it was sent is looked for, and where it is not found its calls are
// booked and made again.
test.each([
  ['batch-begun', [[1, 'booked', 'batch_lost'], [2, 'settled', null]], 1],
  ['batch-created', [[1, 'settled', null]], 1],
  ['batch-answered', [[1, 'settled', null]], 1],
] as const)('the lane is killed at %s: the next one goes on, and nothing is paid twice unbooked', async (point, ledger, batches) => {
  if (point === 'batch-answered') fleet.stub.batches.plan({ endsAfterMs: 0 });
  let id = '';
  await killAt({
    point, pass: 1, process: 'test/support/batch-process.ts', up: 'batch lane up', env: { ...stack.env, ANTHROPIC_BASE_URL: fleet.stub.url },
    ready: async () => { id = await say(`killed at ${point}`); },
  });
  await answered(id);
  expect((await fleet.run('acme', id)).output).toMatchObject({ answer: `You said: killed at ${point}` });
  expect(await lines(id)).toEqual(ledger);
  expect(fleet.stub.batches.all()).toHaveLength(batches);
});

test('a worker is killed where a call has joined and its run is not parked: the call is neither lost nor made twice', async () => {
  await worker.stop();
  let id = '';
  await killAt({
    point: 'batch-joined', pass: 1, process: 'workers/agent.ts', up: 'worker registered', env: { ...stack.env, LEASE_MS: '2000', EMBEDDER: 'lexical', AGENTS_MODULE: 'test/support/loop-agent.ts', ANTHROPIC_BASE_URL: fleet.stub.url },
    ready: async () => { id = await say('killed at joined', { agent: 'looper', lane: 'batch' }); },
  });
  await fleet.worker();
  await answered(id);
  expect(await lines(id)).toEqual([[1, 'settled', null]]);
  expect(fleet.stub.batches.all().map(({ items }) => items.length)).toEqual([1]);
});
