// Money: concurrent runs of one agent share the tenant's budget; what was spent never passes it, runs that find no room
// wait, and a run with a budget of its own stops at it.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { costMicroUsd } from '../../src/domain/prices.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const MODEL = 'claude-sonnet-5-5';
const ask = (name: string, budgetMicroUsd?: bigint): ReturnType<typeof defineMachine> => defineMachine({
  name, version: 1, input: z.strictObject({ n: z.number() }), start: 'think', remembers: false, model: MODEL, ...(budgetMicroUsd === undefined ? {} : { budgetMicroUsd }),
  steps: {
    think: async (step: Step<{ n: number }>) => {
      const turn = await step.model({ model: MODEL, system: 'Answer briefly.', messages: [{ role: 'user', content: [{ type: 'text', text: `Say ${step.input.n}.` }] }], maxTokens: 200 });
      return step.done({ tokens: turn.usage.outputTokens });
    },
  },
});

const stack = await useStack();
const fleet = await startFleet(stack, [ask('spender'), ask('thrifty', 1n)]);
const { pool } = fleet.base.engine;
const budget = async (): Promise<{ limit: number; spent: number; reserved: number }> => (await pool.query<{ limit: number; spent: number; reserved: number }>(
  `SELECT limit_micro_usd::float8 AS "limit", spent_micro_usd::float8 AS spent, reserved_micro_usd::float8 AS reserved FROM budgets WHERE tenant_id = 'acme'`)).rows[0]!;

test('twenty runs at once on a budget for a few: spent stays within it, the others wait, nothing stays reserved', async () => {
  const limit = 6_000; // micro-dollars: each call reserves about 2,200
  await pool.query(`INSERT INTO budgets (tenant_id, subject, limit_micro_usd) VALUES ('acme', 'tenant', $1)`, [limit]);
  await fleet.worker({ concurrency: 20 });
  const runs = await Promise.all(Array.from({ length: 20 }, (_, n) => fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'spender', input: { n } })));
  const ends = await Promise.all(runs.map(({ id }) => fleet.until('acme', id, (run) => run.finished_at !== null || run.status === 'waiting')));
  const after = await budget();
  expect(after.spent).toBeLessThanOrEqual(limit);
  expect(after.reserved).toBe(0);
  expect(ends.filter((run) => run.status === 'completed').length).toBeGreaterThan(0);
  expect(ends.filter((run) => run.wait_reason === 'budget').length).toBeGreaterThan(0);
  const usage = fleet.stub.calls().length;
  const { rows } = await pool.query<{ calls: number; cost: number }>(`SELECT count(*)::int AS calls, sum(cost_micro_usd)::float8 AS cost FROM model_calls WHERE tenant_id = 'acme'`);
  expect(rows[0]).toEqual({ calls: usage, cost: after.spent }); // each call that reached the model is in the ledger, and no other
});

test('a run with a budget of its own that has no room for one call fails before it calls', async () => {
  await pool.query(`UPDATE budgets SET limit_micro_usd = 1000000`);
  const before = fleet.stub.calls().length;
  const { id } = await fleet.base.submit({ tenant: 'globex', door: 'test', agent: 'thrifty', input: { n: 1 } });
  await fleet.worker();
  expect(await fleet.ended('globex', id)).toMatchObject({ status: 'failed', error_code: 'budget_exceeded' });
  expect(fleet.stub.calls().length).toBe(before);
});

test('a unit of usage costs what the price table says', () => {
  expect(costMicroUsd(MODEL, { inputTokens: 1_000_000, outputTokens: 0, cacheReadTokens: 0, cacheWrite1hTokens: 0, cacheWrite5mTokens: 0 }, Date.parse('2026-11-24'))).toBe(2_000_000n);
});
