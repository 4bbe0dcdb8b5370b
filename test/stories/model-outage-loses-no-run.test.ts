// A provider that fails: the fleet stops asking, runs sleep without a worker, one probe at a time looks, and nothing is retried twice
// over. Limits and a spend limit park at once and say for how long; a call that ran past its time is one row of the ledger.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { pause } from '../../src/clock.ts';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import type { RunWorker } from '../../src/run/run-worker.ts';
import { breakerWaitMs, closeBreaker } from '../../src/limits/read-breakers.ts';
import { makeAnthropicModel } from '../../src/model/anthropic.ts';
import { wakeRefused } from '../../src/store/engine/refused-calls.ts';
import { assembleLimits, assembleModel } from '../../workers/assemble.ts';
import type { ModelDeps } from '../../src/run/call-model.ts';
import { startFleet } from '../support/fleet.ts';
import { dayThatLasts } from '../support/one-day.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

const ask = (name: string, model: string): ReturnType<typeof defineMachine> => defineMachine({
  name, version: 1, input: z.strictObject({ n: z.number() }), start: 'think', remembers: false, model, attempts: 3,
  steps: {
    think: async (step: Step<{ n: number }>) => {
      await step.model({ model, system: 'Answer briefly.', messages: [{ role: 'user', content: [{ type: 'text', text: `Say ${step.input.n}.` }] }], maxTokens: 200 });
      return step.done('answered');
    },
  },
});
// a model each, so that no story meets another's breaker
const [OUTAGE, LONELY, LIMITED, POOR, SLOW] = ['claude-sonnet-5-5', 'claude-opus-5', 'claude-haiku-5-5', 'claude-opus-5-5', 'claude-haiku-4-5'];
await dayThatLasts();
const stack = await useStack();
const fleet = await startFleet(stack, [ask('outage', OUTAGE), ask('lonely', LONELY), ask('limited', LIMITED), ask('poor', POOR), ask('slow', SLOW)]);
const { base, stub } = fleet;
const { pool } = base.engine;

const TRUST_CLOSED_MS = 50;

/** What another process would have: breakers and governor of its own, over the same Redis. */
function process(change: Partial<ModelDeps> = {}): ModelDeps {
  const limits = assembleLimits(base, { minimumCalls: 3, openMs: 400, openCapMs: 800, trustClosedMs: TRUST_CLOSED_MS });
  atFileEnd(() => { limits.close(); return Promise.resolve(); });
  return { engine: base.engine, model: assembleModel(base), governor: limits.governor, quotas: limits.quotas, breakers: limits.breakers, budgets: base.budgets, metrics: base.metrics, ...change };
}
const workers: RunWorker[] = [await fleet.worker({ models: process() }), await fleet.worker({ models: process() })];
const submit = async (agent: string, n = 1): Promise<string> => (await base.submit({ tenant: 'acme', door: 'test', agent, input: { n } })).id;
const wakesInMs = async (id: string): Promise<number> => (await pool.query<{ ms: number }>(`SELECT (extract(epoch FROM wake_at - now()) * 1000)::float8 AS ms FROM agent_runs WHERE tenant_id = 'acme' AND id = $1`, [id])).rows[0]?.ms ?? NaN;
const ledger = async (agent: string): Promise<{ status: string; code: string | null; n: number }[]> => (await pool.query<{ status: string; code: string | null; n: number }>(
  `SELECT status::text, error_code AS code, count(*)::int AS n FROM model_calls WHERE tenant_id = 'acme' AND agent = $1 GROUP BY 1, 2 ORDER BY 1, 2`, [agent])).rows;
async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 2_500; tries++) { if (await holds()) return; await pause(15); }
  throw new Error('still not so after 40 s');
}

test('an outage of the model: few requests, then one probe at a time for the fleet; no run fails, and no worker is held', async () => {
  stub.reset();
  stub.addFault({ kind: 'overloaded', delayMs: 50 }, 10_000);
  const runs = await Promise.all(Array.from({ length: 30 }, (_, n) => submit('outage', n)));
  await until(async () => (await breakerWaitMs(base.redis, base.keys, `model:${OUTAGE}`)) > 0);
  await pause(TRUST_CLOSED_MS); // by now no process believes it closed,
  await until(() => workers.every(({ running }) => running === 0)); // and nobody is inside a call from before
  const first = stub.calls().length;
  expect(first).toBeLessThanOrEqual(20 + 2 * 5); // what two workers of ten had under way, and what each needs to see
  await until(() => stub.calls().length >= first + 3);
  const probes = stub.calls().slice(first);
  for (const [at, { atMs }] of probes.entries()) if (at > 0) expect(atMs - (probes[at - 1]?.atMs ?? 0)).toBeGreaterThan(300); // one at a time, each after its time
  await until(async () => (await pool.query(`SELECT FROM agent_runs WHERE tenant_id = 'acme' AND agent = 'outage' AND status <> 'waiting' AND wake_at > now() + interval '200 ms'`)).rowCount === 0);
  const failed = stub.calls().length;
  stub.reset();
  for (const id of runs) expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed' });
  const calls = await ledger('outage');
  const sent = calls.filter(({ code }) => code === 'model_unavailable').reduce((sum, { n }) => sum + n, 0);
  expect(sent).toBeGreaterThanOrEqual(failed); // one row an attempt, and an attempt or two may have met the last of the outage
  expect(sent).toBeLessThanOrEqual(failed + 2);
  expect(calls.find(({ status }) => status === 'settled')).toMatchObject({ n: 30 });
  expect(stub.calls()).toHaveLength(30);
}, 60_000);

test('a run that is alone in an outage outlives more failures than its step may have', async () => {
  stub.reset();
  stub.addFault({ kind: 'server_error' }, 10_000);
  const id = await submit('lonely');
  await until(() => stub.calls().length >= 5);
  stub.reset();
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed' });
}, 60_000);

test('a 429 that asks for an hour: the slot is free at once, the run wakes in an hour, and nobody else is sent', async () => {
  stub.reset();
  stub.addFault({ kind: 'rate_limit', retryAfterS: 3_600 });
  const id = await submit('limited');
  await until(() => stub.calls().length === 1);
  await fleet.until('acme', id, (run) => run.wait_reason === 'rate');
  await until(() => workers.every(({ running }) => running === 0));
  expect(await wakesInMs(id)).toBeGreaterThan(3_590_000);
  const other = await submit('limited', 2);
  await fleet.until('acme', other, (run) => run.wait_reason === 'rate');
  expect(await wakesInMs(other)).toBeGreaterThan(3_580_000);
  expect(stub.calls()).toHaveLength(1);
  expect(await ledger('limited')).toEqual([{ status: 'failed', code: 'rate_limited', n: 2 }]);
});

test('a spend limit pauses the model until the month turns, or until a person closes its breaker', async () => {
  stub.reset();
  stub.addFault({ kind: 'spend_limit' }, 10);
  const first = await submit('poor', 1);
  await fleet.until('acme', first, (run) => run.wait_reason === 'rate');
  const second = await submit('poor', 2);
  await fleet.until('acme', second, (run) => run.wait_reason === 'rate');
  const now = new Date();
  const turns = Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1) - now.getTime();
  for (const id of [first, second]) {
    expect(await wakesInMs(id)).toBeGreaterThan(turns - 10_000);
    expect(await wakesInMs(id)).toBeLessThan(turns + 70_000);
  }
  expect(stub.calls()).toHaveLength(1); // it was asked about once
  expect(await ledger('poor')).toEqual([{ status: 'failed', code: 'spend_limit', n: 2 }]);
  stub.reset(); // the limit is raised
  expect(await closeBreaker(base.redis, base.keys, `model:${POOR}`)).toBe(true);
  expect(await wakeRefused(pool, POOR)).toBe(2);
  for (const id of [first, second]) expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed' });
}, 30_000);

test('a model that answers after its time: each attempt is one request and one row, the lost one is booked at its reserve', async () => {
  stub.reset();
  await Promise.all(workers.map((worker) => worker.stop()));
  await fleet.worker({ models: process({ model: makeAnthropicModel({ apiKey: 'stub', baseUrl: stub.url, log: base.log, turnDeadlineMs: 400 }) }) });
  await base.budgets.set({ tenant: 'acme', subject: 'agent:slow', window: 'total', limitMicroUsd: 1_000_000, actor: 'test' });
  stub.addFault({ kind: 'slow', delayMs: 1_500 });
  const id = await submit('slow');
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed' });
  const { rows } = await pool.query(`SELECT attempt, status::text, cost_micro_usd = reserved_micro_usd AS "atReserve", cost_micro_usd::float8 AS cost FROM model_calls WHERE tenant_id = 'acme' AND run_id = $1 ORDER BY attempt`, [id]);
  expect(rows).toMatchObject([{ attempt: 1, status: 'booked', atReserve: true }, { attempt: 2, status: 'settled', atReserve: false }]);
  await until(() => stub.calls().length === 2);
  const { rows: budget } = await pool.query(`SELECT spent_micro_usd::float8 AS spent, reserved_micro_usd::float8 AS reserved FROM budgets WHERE tenant_id = 'acme' AND key = 'agent:slow/total'`);
  expect(budget).toEqual([{ spent: rows.reduce((sum: number, { cost }: { cost: number }) => sum + cost, 0), reserved: 0 }]);
}, 30_000);
