// Two runs that mean the same thing open one ticket: a tool names its effect, and within the window the first effect stands for
// all, with its result. Another name, another tenant, or the window over: another effect.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const opened: string[] = [];
const openTicket = (name: string, windowMs: number) => defineTool({
  name, description: 'Opens a ticket.', input: z.strictObject({ order: z.string() }), businessKey: ({ order }) => `ticket for ${order}`, businessWindowMs: windowMs,
  run: ({ order }) => { opened.push(order); return Promise.resolve({ ticket: opened.length }); },
});
const machine = (name: string, tool: string, windowMs: number) => defineMachine({
  name, version: 1, input: z.strictObject({ order: z.string() }), start: 'go', remembers: false, tools: [openTicket(tool, windowMs)],
  steps: { go: async (step: Step<{ order: string }>) => step.done(await step.tool(tool, { order: step.input.order })) },
});
const stack = await useStack();
const fleet = await startFleet(stack, [machine('long', 'open_ticket', 60_000), machine('short', 'open_short', 1)]);
await fleet.worker();
const run = async (agent: string, order: string, tenant = 'acme') => {
  const { id } = await fleet.base.submit({ tenant, door: 'test', agent, input: { order } });
  return { id, ...(await fleet.ended(tenant, id)) };
};

test('ten runs at once with one business key: one effect, one result for all', async () => {
  const runs = await Promise.all(Array.from({ length: 10 }, () => run('long', '4711')));
  expect(opened).toEqual(['4711']);
  expect(new Set(runs.map(({ status, output }) => JSON.stringify([status, output])))).toEqual(new Set(['["completed",{"ticket":1}]']));
}, 60_000);

test('another order and another tenant are other effects', async () => {
  await run('long', '4712');
  await run('long', '4711', 'globex');
  expect(opened).toEqual(['4711', '4712', '4711']);
});

test('when the window is over the effect may be had again', async () => {
  await run('short', 'x');
  await run('short', 'x');
  expect(opened.filter((order) => order === 'x')).toHaveLength(2);
});
