// A tool that costs: reserved before the call and booked after it, in the same ledger and budgets as the model. A call without room
// waits; what nobody knows the end of is booked whole, once, however often its run is claimed.
import { beforeEach, expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { openAppStore } from '../../src/store/app-store.ts';
import { usageOfTenants } from '../../src/store/engine/usage.ts';
import { usage } from '../../src/store/read-usage.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import { ledgerOf } from '../support/agents.ts';
import { startFleet } from '../support/fleet.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

let called = 0;
let fails: Error | undefined;
const search = defineTool({
  name: 'search', description: 'Searches.', effect: 'read', input: z.strictObject({ pages: z.number() }),
  costMicroUsd: { atMost: ({ pages }) => BigInt(pages * 1_000), of: (_, found) => BigInt((found as readonly string[]).length * 1_000) },
  run: ({ pages }) => { called++; if (fails) return Promise.reject(fails); return Promise.resolve(Array.from({ length: Math.min(2, pages) }, (_, n) => `page ${n}`)); },
});
const stamp = defineTool({ name: 'stamp', description: 'Stamps.', effect: 'keyed', input: z.strictObject({}), costMicroUsd: 500n, notApplied: (error) => String(error).includes('closed'), run: () => { called++; if (fails) return Promise.reject(fails); return Promise.resolve('stamped'); } });
const buyer = defineMachine({
  name: 'buyer', version: 1, input: z.strictObject({ tool: z.enum(['search', 'stamp']), pages: z.number().default(5) }), start: 'buy', remembers: false, tools: [search, stamp], attempts: 2,
  steps: { buy: async (step: Step<{ tool: string; pages: number }>) => step.done(await step.tool(step.input.tool, step.input.tool === 'search' ? { pages: step.input.pages } : {})) },
});
const stack = await useStack();
const fleet = await startFleet(stack, [buyer, { ...buyer, name: 'poor', budgetMicroUsd: 4_000n }]);
await fleet.worker();
const store = openAppStore({ url: fleet.base.config.DATABASE_URL, asRole: true, log: fleet.base.log });
atFileEnd(() => store.close());
let tenant = '';
let tenants = 0;
beforeEach(() => { tenant = `t${++tenants}`; called = 0; fails = undefined; });
const buy = async (input: { tool: 'search' | 'stamp'; pages?: number }, agent = 'buyer'): Promise<string> => (await fleet.base.submit({ tenant, user: 'ada', door: 'test', agent, input })).id;
const budget = async (key = 'tenant/total'): Promise<{ spent: number; reserved: number }> =>
  (await fleet.rows<{ spent: number; reserved: number }>(`SELECT spent_micro_usd::float8 AS spent, reserved_micro_usd::float8 AS reserved FROM budgets WHERE tenant_id = $1 AND key = $2`, [tenant, key]))[0]!;

test('it reserves the most, costs what it gave, and stands in the run, its budgets and the usage', async () => {
  await fleet.base.budgets.set({ tenant, subject: 'tenant', window: 'total', limitMicroUsd: 1_000_000, actor: 'test' });
  const id = await buy({ tool: 'search' });
  expect(await fleet.ended(tenant, id)).toMatchObject({ status: 'completed', output: ['page 0', 'page 1'], cost_micro_usd: '2000' });
  expect(await ledgerOf(fleet, id)).toMatchObject([{ status: 'settled', attempt: 1, reserved: 5_000, cost: 2_000 }]);
  expect(await budget()).toEqual({ spent: 2_000, reserved: 0 });
  const now = Date.now();
  const rows = await store.withTenant({ tenant }, (tx) => usage(tx, { from: new Date(now - 3_600_000), to: new Date(now + 3_600_000) }));
  expect(rows).toMatchObject([{ agent: 'buyer', model: 'tool:search', calls: 1, costMicroUsd: 2_000 }]);
  expect((await usageOfTenants(fleet.base.engine.pool, new Date(now - 3_600_000), new Date(now + 3_600_000))).filter((row) => row.tenant === tenant)).toMatchObject([{ model: 'tool:search', lane: 'live', runs: 1, costMicroUsd: 2_000 }]);
});

test('without room it is not called: its run waits, and goes on when there is some', async () => {
  const id = await buy({ tool: 'search' }, 'poor');
  await fleet.until(tenant, id, ({ wait_reason }) => wait_reason === 'budget');
  expect([called, await ledgerOf(fleet, id), (await fleet.rows(`SELECT FROM tool_calls WHERE run_id = $1`, [id])).length]).toEqual([0, [], 0]);
  await fleet.base.budgets.set({ tenant, subject: `run:${id}`, window: 'total', limitMicroUsd: 5_000, actor: 'test' });
  expect(await fleet.ended(tenant, id)).toMatchObject({ status: 'completed', cost_micro_usd: '2000' });
  expect(called).toBe(1);
});

test('a call that failed may have been charged: each attempt is booked whole; one that proves it did nothing costs nothing', async () => {
  fails = new Error('the line broke');
  const id = await buy({ tool: 'stamp' });
  expect(await fleet.ended(tenant, id)).toMatchObject({ status: 'failed', cost_micro_usd: '1000' });
  expect(await ledgerOf(fleet, id)).toMatchObject([{ status: 'booked', attempt: 1, cost: 500 }, { status: 'booked', attempt: 2, cost: 500 }]);
  fails = new Error('the office is closed');
  const refused = await buy({ tool: 'stamp' });
  expect(await fleet.ended(tenant, refused)).toMatchObject({ status: 'failed', cost_micro_usd: '0' });
});

test('a reserve that a dead worker left is booked by the claim that takes over, and the next attempt is another row', async () => {
  await fleet.base.budgets.set({ tenant, subject: 'tenant', window: 'total', limitMicroUsd: 1_000_000, actor: 'test' });
  fails = new Error('not yet');
  const id = await buy({ tool: 'search', pages: 3 });
  await fleet.until(tenant, id, ({ attempt }) => attempt === 1);
  // as if the first worker had died before it settled
  await fleet.rows(`UPDATE model_calls SET status = 'open', cost_micro_usd = 0, finished_at = NULL WHERE run_id = $1`, [id]);
  await fleet.rows(`UPDATE budgets SET spent_micro_usd = 0, reserved_micro_usd = 3000 WHERE tenant_id = $1`, [tenant]);
  fails = undefined;
  expect(await fleet.ended(tenant, id)).toMatchObject({ status: 'completed', cost_micro_usd: '5000' });
  expect(await ledgerOf(fleet, id)).toMatchObject([{ status: 'booked', attempt: 1, cost: 3_000 }, { status: 'settled', attempt: 2, cost: 2_000 }]);
  expect(await budget()).toEqual({ spent: 5_000, reserved: 0 });
});
