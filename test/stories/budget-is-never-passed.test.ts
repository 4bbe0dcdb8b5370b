// Money: what was spent never passes a budget of a tenant, an agent, a user or a run with all it spawns. A call that finds no room
// leaves its run waiting, without a worker and without looking again by itself, until a person raises the limit, room is made or
// the window turns; a word of warning comes at four fifths.
import { beforeEach, expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { costMicroUsd, estimateInputTokens, worstCaseMicroUsd } from '../../src/domain/prices.ts';
import { wakeForRoom } from '../../src/store/engine/budgets.ts';
import { pause } from '../../src/clock.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { eventually } from '../support/agent-process.ts';
import { startFleet } from '../support/fleet.ts';
import { dayThatLasts } from '../support/one-day.ts';
import { useStack } from '../support/stack.ts';

const MODEL = 'claude-sonnet-5-5';
const request = (n: number, model = MODEL) => ({ model, system: 'Answer briefly.', messages: [{ role: 'user' as const, content: [{ type: 'text' as const, text: `Say ${n}.` }] }], maxTokens: 200 });
const ask = (name: string, more: { budgetMicroUsd?: bigint; overBudget?: 'fail'; model?: string } = {}): ReturnType<typeof defineMachine> => defineMachine({
  name, version: 1, input: z.strictObject({ n: z.number() }), start: 'think', remembers: false, model: MODEL, ...more,
  steps: {
    think: async (step: Step<{ n: number }>) => {
      const turn = await step.model(request(step.input.n, more.model));
      return step.done({ tokens: turn.usage.outputTokens });
    },
  },
});
/** Spawns children that all spend at once, and waits for them. */
const family = defineMachine({
  name: 'family', version: 1, input: z.strictObject({ children: z.number() }), start: 'spawn', remembers: false, model: MODEL, budgetMicroUsd: 1_000_000n,
  steps: {
    spawn: async (step: Step<{ children: number }>) => {
      const children = [];
      for (let n = 0; n < step.input.children; n++) children.push(await step.spawn('spender', { n }));
      const ends = await step.waitForChildren(children);
      return step.done({ completed: ends?.filter(({ status }) => status === 'completed').length ?? 0 });
    },
  },
});

/** Does something about an answer in the same step. */
const acting: string[] = [];
const act = defineTool({ name: 'act', description: 'Acts.', input: z.strictObject({ run: z.string() }), effect: 'read', run: ({ run }) => { acting.push(run); return Promise.resolve(null); } });
const actor = defineMachine({
  name: 'actor', version: 1, input: z.strictObject({ n: z.number() }), start: 'think', remembers: false, model: MODEL, tools: [act],
  steps: { think: async (step: Step<{ n: number }>) => { await step.model(request(step.input.n)); await step.tool('act', { run: step.run.id }); return step.done(null); } },
});

const RESERVE = Number(worstCaseMicroUsd(MODEL, estimateInputTokens(request(1)), 200, Date.now()));
await dayThatLasts();
const stack = await useStack();
const fleet = await startFleet(stack, [ask('spender'), ask('thrifty', { budgetMicroUsd: 1n }), ask('stops', { budgetMicroUsd: 1n, overBudget: 'fail' }), ask('stranger', { model: 'model-of-tomorrow' }), family, actor]);
const { engine, budgets } = fleet.base;
const { pool } = engine;
let tenant = '';
let tenants = 0;
beforeEach(() => { tenant = `acme-${++tenants}`; });

interface Row { key: string; limit: number; spent: number; reserved: number; wanted: number }
const rowOf = async (key: string): Promise<Row> => (await pool.query<Row>(
  `SELECT key, limit_micro_usd::float8 AS "limit", spent_micro_usd::float8 AS spent, reserved_micro_usd::float8 AS reserved, wanted FROM budgets WHERE tenant_id = $1 AND key = $2`, [tenant, key])).rows[0]!;
const set = (limitMicroUsd: number | null, subject: 'tenant' | `agent:${string}` | `user:${string}` | `run:${string}` = 'tenant', window: 'total' | 'day' | 'month' = 'total'): Promise<void> =>
  budgets.set({ tenant, subject, window, limitMicroUsd, actor: 'test' });
const submit = async (agent: string, input: unknown = { n: 1 }, user?: string): Promise<string> => (await fleet.base.submit({ tenant, door: 'test', agent, input, user })).id;
const waits = (id: string): ReturnType<typeof fleet.until> => fleet.until(tenant, id, (run) => run.wait_reason === 'budget');
const attempts = async (id: string): Promise<number> => (await pool.query<{ n: number }>(`SELECT count(*)::int AS n FROM model_calls WHERE tenant_id = $1 AND run_id = $2`, [tenant, id])).rows[0]?.n ?? NaN;
const wakeAt = async (id: string): Promise<Date | null> => (await pool.query<{ at: Date | null }>(`SELECT wake_at AS at FROM agent_runs WHERE tenant_id = $1 AND id = $2`, [tenant, id])).rows[0]?.at ?? null;
await fleet.worker({ concurrency: 20 });

test('twenty runs at once on a budget for a few: all end in turn as room is made, spent stays within it, nothing stays reserved', async () => {
  const first = await submit('spender', { n: 100 });
  const cost = Number((await fleet.ended(tenant, first)).cost_micro_usd);
  const limit = 3 * RESERVE + 20 * cost; // three at a time, and enough for all
  await set(limit);
  const before = fleet.stub.calls().length;
  const runs = await Promise.all(Array.from({ length: 20 }, (_, n) => submit('spender', { n })));
  // News of room is an afterthought: who missed it is found by the sweep, as in a fleet.
  const ends = Promise.all(runs.map((id) => fleet.ended(tenant, id)));
  await eventually('all to have ended', async () => { await wakeForRoom(pool); return (await pool.query(`SELECT FROM agent_runs WHERE tenant_id = $1 AND finished_at IS NULL`, [tenant])).rowCount === 0; });
  await ends;
  const after = await rowOf('tenant/total');
  expect(after.spent).toBeLessThanOrEqual(limit);
  expect(after.reserved).toBe(0);
  const { rows } = await pool.query(`SELECT count(*)::int AS calls, sum(cost_micro_usd)::float8 AS cost FROM model_calls WHERE tenant_id = $1 AND run_id <> $2`, [tenant, first]);
  expect(rows[0]).toEqual({ calls: fleet.stub.calls().length - before, cost: after.spent }); // each call that reached the model is in the ledger, and no other
});

test('twenty children at 95 % of their root’s budget stay within it, and the rest go on when a person raises it', async () => {
  const root = await submit('family', { children: 20 });
  const key = `run:${root}/total`;
  await pool.query(`UPDATE budgets SET limit_micro_usd = $3, spent_micro_usd = $4 WHERE tenant_id = $1 AND key = $2`, [tenant, key, 20 * RESERVE, 19 * RESERVE]); // 5 % left: room for one call
  const children = await fleet.until(tenant, root, (run) => run.wait_reason === 'child').then(() => pool.query<{ id: string }>(`SELECT id FROM agent_runs WHERE tenant_id = $1 AND parent_id = $2`, [tenant, root]));
  expect(children.rows).toHaveLength(20);
  await Promise.all(children.rows.map(({ id }) => fleet.until(tenant, id, (run) => run.finished_at !== null || run.wait_reason === 'budget')));
  await fleet.until(tenant, root, () => true);
  const spentThen = (await rowOf(key)).spent;
  expect(spentThen).toBeGreaterThan(19 * RESERVE);
  expect(spentThen).toBeLessThanOrEqual(20 * RESERVE);
  await set(40 * RESERVE, `run:${root}`);
  expect(await fleet.ended(tenant, root)).toMatchObject({ status: 'completed', output: { completed: 20 } });
  const left = await rowOf(key);
  expect(left.reserved).toBe(0);
  expect(left.wanted).toBeLessThanOrEqual(0); // nobody waits
});

test('a run without room waits with no worker and no time set, looks no more by itself, and goes on at once when the limit is raised', async () => {
  const id = await submit('thrifty');
  await waits(id);
  expect(await wakeAt(id)).toBeNull();
  await wakeForRoom(pool); // a sweep of maintenance: there is no room
  expect((await fleet.run(tenant, id)).wait_reason).toBe('budget');
  expect(await attempts(id)).toBe(0);
  await set(RESERVE, `run:${id}`);
  expect(await fleet.ended(tenant, id)).toMatchObject({ status: 'completed' });
  const { rows } = await pool.query(`SELECT actor, action, object_id AS object FROM audit_events WHERE tenant_id = $1`, [tenant]);
  expect(rows).toEqual([{ actor: 'test', action: 'budget.changed', object: `run:${id}/total` }]);
});

test('a limit that is taken away lets go on who waits for it', async () => {
  await set(1, 'agent:spender');
  const id = await submit('spender');
  await waits(id);
  await set(null, 'agent:spender');
  expect(await fleet.ended(tenant, id)).toMatchObject({ status: 'completed' });
});

test('a budget of a day: waits until the day turns, and then counts from nothing', async () => {
  await set(RESERVE + 1, 'user:ada', 'day');
  await fleet.ended(tenant, await submit('spender', { n: 1 }, 'ada'));
  await pool.query(`UPDATE budgets SET spent_micro_usd = limit_micro_usd WHERE tenant_id = $1`, [tenant]);
  const id = await submit('spender', { n: 2 }, 'ada');
  await fleet.ended(tenant, await submit('spender', { n: 2 }, 'bob')); // another user's money
  await waits(id);
  const [at, now] = [await wakeAt(id), new Date()];
  expect(Math.abs((at?.getTime() ?? NaN) - Date.UTC(now.getUTCFullYear(), now.getUTCMonth(), now.getUTCDate() + 1))).toBeLessThan(5_000);
  await pool.query(`UPDATE budgets SET since = since - interval '1 day' WHERE tenant_id = $1`, [tenant]); // the day has turned
  await pool.query(`UPDATE agent_runs SET wake_at = now() WHERE tenant_id = $1 AND id = $2`, [tenant, id]);
  expect(await fleet.ended(tenant, id)).toMatchObject({ status: 'completed' });
  const { spent, limit } = await rowOf('user:ada/day');
  expect(spent).toBeGreaterThan(0);
  expect(spent).toBeLessThan(limit);
});

test('a budget that is new counts what the day has cost already', async () => {
  await fleet.ended(tenant, await submit('spender'));
  await set(1_000_000, 'agent:spender', 'day');
  await set(1_000_000, 'tenant', 'total');
  const { rows } = await pool.query(`SELECT sum(cost_micro_usd)::float8 AS cost FROM model_calls WHERE tenant_id = $1`, [tenant]);
  expect((await rowOf('agent:spender/day')).spent).toBe(rows[0]?.cost);
  expect((await rowOf('tenant/total')).spent).toBe(0);
});

test('room that nobody was told of is found by maintenance', async () => {
  await set(RESERVE, 'tenant');
  await pool.query(`UPDATE budgets SET spent_micro_usd = 1 WHERE tenant_id = $1`, [tenant]);
  const id = await submit('spender');
  await waits(id);
  await pool.query(`UPDATE budgets SET spent_micro_usd = 0 WHERE tenant_id = $1`, [tenant]); // nobody is told
  await wakeForRoom(pool);
  expect(await fleet.ended(tenant, id)).toMatchObject({ status: 'completed' });
});

test('at four fifths of a budget the run whose call it was says so, once', async () => {
  await set(RESERVE + 100_000);
  await pool.query(`UPDATE budgets SET spent_micro_usd = ceil(limit_micro_usd * 0.8) - 1 WHERE tenant_id = $1`, [tenant]);
  const runs = [await submit('spender', { n: 1 }), await submit('spender', { n: 2 })];
  await Promise.all(runs.map((id) => fleet.ended(tenant, id)));
  const warnings = async (): Promise<object[]> => (await pool.query(`SELECT run_id, data FROM run_events WHERE tenant_id = $1 AND type = 'budget.warning'`, [tenant])).rows;
  await fleet.until(tenant, runs[0] as string, () => true);
  for (let tries = 0; tries < 200 && (await warnings()).length === 0; tries++) await fleet.until(tenant, runs[0] as string, () => true);
  expect(await warnings()).toEqual([{ run_id: expect.any(String), data: { subject: 'tenant', window: 'total', limitMicroUsd: RESERVE + 100_000, spentMicroUsd: expect.any(Number) } }]);
});

test('nothing is done about an answer before it is on record', async () => {
  await set(1_000_000);
  fleet.stub.addFault({ kind: 'slow', delayMs: 400 });
  const id = await submit('actor');
  for (let tries = 0; tries < 500 && (await attempts(id)) === 0; tries++) await pause(10);
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    await client.query(`SELECT FROM budgets WHERE tenant_id = $1 FOR UPDATE`, [tenant]); // the settlement waits behind this
    const answered = (): boolean => fleet.stub.calls().some(({ fault, status }) => fault === 'slow' && status === 200);
    for (let tries = 0; tries < 500 && !answered(); tries++) await pause(10);
    for (let tries = 0; tries < 500; tries++) { // until the settlement stands behind the lock
      const { rows } = await pool.query<{ n: number }>(`SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`);
      if ((rows[0]?.n ?? 0) > 0) break;
      await pause(10);
    }
    await pause(100);
    expect(acting).toEqual([]);
  } finally {
    await client.query('COMMIT');
    client.release();
  }
  expect(await fleet.ended(tenant, id)).toMatchObject({ status: 'completed' });
  expect(acting).toEqual([id]);
});

test('an agent may say that its runs end where their own budget ends', async () => {
  const id = await submit('stops');
  expect(await fleet.ended(tenant, id)).toMatchObject({ status: 'failed', error_code: 'budget_exceeded' });
  expect(await attempts(id)).toBe(0);
});

test('a model without a price is called where nothing has to know it, and refused under a budget', async () => {
  expect(await fleet.ended(tenant, await submit('stranger'))).toMatchObject({ status: 'completed', cost_micro_usd: '0' });
  const later = (await fleet.base.submit({ tenant, door: 'test', agent: 'stranger', input: { n: 2 }, delayMs: 300 })).id;
  await set(1_000_000_000);
  await expect(submit('stranger')).rejects.toMatchObject({ code: 'model_unpriced' }); // told at once where it is known
  expect(await fleet.ended(tenant, later)).toMatchObject({ status: 'failed', error_code: 'model_unpriced' });
});

test('a unit of usage costs what the price table says', () => {
  expect(costMicroUsd(MODEL, { inputTokens: 1_000_000, outputTokens: 0, cacheReadTokens: 0, cacheWrite1hTokens: 0, cacheWrite5mTokens: 0 }, Date.parse('2026-11-24'))).toBe(2_000_000n);
});
