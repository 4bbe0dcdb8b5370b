// A tool that may be called so often is called so often by the whole fleet. A run for which there is no room waits with no worker,
// and nothing of its call is in the ledger; those behind it wait longer. A rate of each tenant is no concern of another's.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { defineTool, type ToolOptions } from '../../src/tools/define-tool.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const called: string[] = [];
const machine = (name: string, rate: NonNullable<ToolOptions<object, unknown>['rate']>) => defineMachine({
  name, version: 1, input: z.strictObject({}), start: 'go', remembers: false,
  tools: [defineTool({ name, description: 'Asks.', input: z.strictObject({}), rate, run: (_, { tenant }) => { called.push(`${name} ${tenant}`); return Promise.resolve(true); } })],
  steps: { go: async (step: Step<object>) => step.done(await step.tool(name, {})) },
});
const stack = await useStack();
const fleet = await startFleet(stack, [machine('hourly', { calls: 2, perS: 3_600 }), machine('brisk', { calls: 2, perS: 1 }), machine('each', { calls: 1, perS: 3_600, per: 'tenant' })]);
await fleet.worker();
await fleet.worker();
const submit = (agent: string, tenant: string, n: number) => Promise.all(Array.from({ length: n }, async () => (await fleet.base.submit({ tenant, door: 'test', agent, input: {} })).id));
const rested = (tenant: string, ids: readonly string[]) => Promise.all(ids.map((id) => fleet.until(tenant, id, ({ status }) => status === 'completed' || status === 'waiting')));
const calls = (of: string): number => called.filter((call) => call === of).length;

test('five runs on two workers: two calls, and three runs wait for the rate with nothing held', async () => {
  const runs = await rested('acme', await submit('hourly', 'acme', 5));
  expect(runs.map(({ status, wait_reason }) => `${status} ${wait_reason}`).sort()).toEqual(['completed null', 'completed null', ...Array<string>(3).fill('waiting rate')]);
  expect(calls('hourly acme')).toBe(2);
  expect(await fleet.rows(`SELECT count(*)::int AS n FROM tool_calls WHERE tool = 'hourly'`)).toEqual([{ n: 2 }]);
  expect(await fleet.rows(`SELECT count(*)::int AS n FROM agent_runs WHERE agent = 'hourly' AND status = 'waiting' AND claimed_by IS NULL AND wake_at > now() + interval '5 minutes'`)).toEqual([{ n: 3 }]);
  expect(await rested('globex', await submit('hourly', 'globex', 1))).toMatchObject([{ status: 'waiting' }]); // of the whole fleet: no other tenant's either
});

test('when the window turns those who wait are let in, each once', async () => {
  const ids = await submit('brisk', 'acme', 5);
  for (const id of ids) expect((await fleet.ended('acme', id)).status).toBe('completed');
  expect(calls('brisk acme')).toBe(5);
}, 30_000);

test('a rate of each tenant leaves another tenant its own', async () => {
  const mine = await rested('acme', await submit('each', 'acme', 2));
  expect(mine.map(({ status }) => status).sort()).toEqual(['completed', 'waiting']);
  expect(await rested('globex', await submit('each', 'globex', 1))).toMatchObject([{ status: 'completed' }]);
});

test('whoever is further behind is told to come later, and nobody beyond ten minutes', async () => {
  const take = () => fleet.limits.rates.take({ tool: 'queue', tenant: 'acme', user: undefined, rate: { calls: 2, perS: 60, per: 'fleet' } });
  const waits: number[] = [];
  for (let call = 0; call < 30; call++) waits.push(await take());
  expect(waits.map((ms) => Math.ceil(ms / 60_000)).slice(0, 8)).toEqual([0, 0, 1, 1, 2, 2, 3, 3]);
  expect(waits.at(-1)).toBe(600_000);
});

test('a rate that is no rate is refused where it is written', () => {
  expect(() => machine('odd', { calls: 0, perS: 1 })).toThrow('use whole numbers above 0');
});
