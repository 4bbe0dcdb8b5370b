// A message sent with `interrupt` takes the place of the run under way: its model call is aborted and booked, a tool call is let
// finish, and it ends as cancelled with the code `interrupted`, leaving in the session what was asked and done. The new run goes
// before all that wait.
import { beforeEach, expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import { publicId } from '../../src/ids.ts';
import { agent, askedOf, done, ledgerOf, post } from '../support/agents.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

let open = (): void => undefined;
let entered = (): void => undefined;
let gate = Promise.resolve();
let aborted = false;
const slow = defineTool({ name: 'slow', description: 'Takes a while.', effect: 'unkeyed', input: z.strictObject({}), run: async (_args, { signal }) => { entered(); await gate; aborted = signal.aborted; done.push('slow'); return 'taken'; } });
const message = z.strictObject({ message: z.string() });
const parked = defineMachine({ name: 'parked', version: 1, input: message, start: 'wait', remembers: false, steps: { wait: async (step: Step<{ message: string }>) => { await step.waitForSignal('never'); return step.done(null); } } });
/** Two calls one after the other, and beside them one of the model, whose end tells that the worker has heard. */
const twice = defineMachine({
  name: 'twice', version: 1, input: message, start: 'go', tools: [slow, post], remembers: false, model: 'claude-haiku-4-5',
  steps: {
    go: async (step: Step<{ message: string }>) => {
      await step.all([
        async (branch) => { await branch.tool('slow', {}); await branch.tool('post', { line: 'too late' }); },
        async (branch) => { await branch.model({ model: step.run.model, system: 's', messages: [{ role: 'user', content: [{ type: 'text', text: step.input.message }] }], maxTokens: 10 }); },
      ]);
      return step.done(null);
    },
  },
});
const parent = defineMachine({ name: 'parent', version: 1, input: message, start: 'go', remembers: false, steps: { go: async (step: Step<{ message: string }>) => { const child = await step.spawn('parked', { message: 'child' }); await step.waitForChildren([child]); return step.done(null); } } });

const stack = await useStack();
const fleet = await startFleet(stack, [agent({ tools: [slow] }), agent({ name: 'limited', model: 'claude-sonnet-5-5' }), parked, parent, twice]);
await fleet.worker();
beforeEach(() => { fleet.stub.reset(); done.length = 0; });

const say = async (session: string, text: string, more: { multitaskStrategy?: 'interrupt' | 'enqueue'; agent?: string; idempotencyKey?: string } = {}): Promise<string> =>
  (await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'talker', user: 'ada', session, input: { message: text }, ...more })).id;
const startedMs = async (id: string): Promise<number> => (await fleet.run('acme', id)).started_at?.getTime() ?? Infinity;

test('in a call of the model: it is aborted at once and booked, the new run goes before those that wait and knows what was asked', async () => {
  fleet.stub.addFault({ kind: 'stall_with_pings', when: 'endless' });
  const id = await say('one', 'an endless question');
  await fleet.until('acme', id, () => fleet.stub.calls().length === 1);
  const waiting = await say('one', 'in its turn');
  const next = await say('one', 'No, this instead', { multitaskStrategy: 'interrupt', idempotencyKey: 'n' });
  expect(await say('one', 'No, this instead', { multitaskStrategy: 'interrupt', idempotencyKey: 'n' })).toBe(next);
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'cancelled', error_code: 'interrupted', error_message: `${publicId('run', next)} took its place.`, attempt: 0 });
  const [call] = await ledgerOf(fleet, id);
  expect(call).toMatchObject({ status: 'booked', error_code: 'cancelled' });
  expect(call?.cost).toBe(call?.reserved);
  expect(await fleet.ended('acme', next)).toMatchObject({ status: 'completed', output: { answer: 'You said: No, this instead' } });
  expect(await fleet.ended('acme', waiting)).toMatchObject({ status: 'completed' });
  expect(await startedMs(next)).toBeLessThanOrEqual(await startedMs(waiting));
  const told = askedOf(fleet, 'No, this instead')[0]?.request?.messages.map(({ content }) => JSON.stringify(content));
  expect(told).toMatchObject([expect.stringContaining('an endless question'), expect.stringContaining('Interrupted by the next message'), expect.stringContaining('No, this instead')]);
});

test('in a tool: the call is not aborted and happens once; what it did is told to the next run', async () => {
  fleet.stub.tell({ when: 'use the tool', turns: [{ text: 'I use it.', toolUses: [{ name: 'slow', input: {} }] }, { text: 'never said' }] });
  gate = new Promise((resolve) => { open = resolve; });
  const inside = new Promise<void>((resolve) => { entered = resolve; });
  const id = await say('two', 'use the tool');
  await inside;
  const next = await say('two', 'Stop, I changed my mind', { multitaskStrategy: 'interrupt' });
  await new Promise((resolve) => setImmediate(resolve));
  expect((await fleet.run('acme', id)).status).toBe('running');
  open();
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'cancelled', error_code: 'interrupted', step_seq: 3 });
  expect([aborted, done]).toEqual([false, ['slow']]);
  expect(await fleet.rows(`SELECT status::text AS status FROM tool_calls WHERE run_id = $1`, [id])).toEqual([{ status: 'succeeded' }]);
  await fleet.ended('acme', next);
  const told = JSON.stringify(askedOf(fleet, 'Stop, I changed')[0]?.request?.messages);
  for (const words of ['use the tool', 'I use it.', 'slow({}): taken']) expect(told).toContain(words);
  expect(askedOf(fleet, 'use the tool').filter(({ request }) => request?.messages.length === 3 && JSON.stringify(request.messages).includes('tool_result'))).toEqual([]);
});

test('a call that has not begun is not begun any more', async () => {
  gate = new Promise((resolve) => { open = resolve; });
  const inside = new Promise<void>((resolve) => { entered = resolve; });
  fleet.stub.addFault({ kind: 'stall_with_pings', when: 'twice' });
  const id = await say('six', 'twice', { agent: 'twice' });
  await inside;
  await fleet.until('acme', id, () => fleet.stub.calls().length === 1);
  await say('six', 'Stop', { multitaskStrategy: 'interrupt' });
  for (let rows = await ledgerOf(fleet, id); rows[0]?.status === 'open';) rows = await ledgerOf(fleet, id);
  expect((await fleet.run('acme', id)).status).toBe('running');
  open();
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'cancelled', error_code: 'interrupted' });
  expect(done).toEqual(['slow']);
  expect(await fleet.rows(`SELECT tool, status::text AS status FROM tool_calls WHERE run_id = $1`, [id])).toEqual([{ tool: 'slow', status: 'succeeded' }]);
});

test('parked until its provider takes calls again: it ends now, with its words', async () => {
  fleet.stub.addFault({ kind: 'rate_limit', retryAfterS: 3_600, when: 'use it slowly' });
  const id = await say('seven', 'use it slowly', { agent: 'limited' });
  await fleet.until('acme', id, ({ status, wait_reason: reason }) => status === 'waiting' && reason === 'rate');
  const next = await say('seven', 'Then not', { multitaskStrategy: 'interrupt' });
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'cancelled', error_code: 'interrupted' });
  await fleet.ended('acme', next);
  expect(JSON.stringify(askedOf(fleet, 'Then not')[0]?.request?.messages)).toContain('use it slowly');
});

test('parked, with children: it and they end, no worker is needed by them', async () => {
  const id = await say('three', 'wait', { agent: 'parent' });
  await fleet.until('acme', id, ({ status, wait_reason: reason }) => status === 'waiting' && reason === 'child');
  const [child] = await fleet.rows<{ id: string }>(`SELECT id FROM agent_runs WHERE parent_id = $1`, [id]);
  await fleet.until('acme', child?.id ?? '', ({ status }) => status === 'waiting');
  const next = await say('three', 'Forget it', { multitaskStrategy: 'interrupt' });
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'cancelled', error_code: 'interrupted' });
  expect(await fleet.ended('acme', child?.id ?? '')).toMatchObject({ status: 'cancelled' });
  expect(await fleet.ended('acme', next)).toMatchObject({ status: 'completed' });
});

test('with nothing under way it goes before what may not start yet, and ends nothing', async () => {
  const { id: later } = await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'talker', user: 'ada', session: 'four', input: { message: 'tomorrow' }, delayMs: 3_600_000 });
  const next = await say('four', 'Now', { multitaskStrategy: 'interrupt' });
  expect(await fleet.ended('acme', next)).toMatchObject({ status: 'completed' });
  expect(await fleet.run('acme', later)).toMatchObject({ status: 'queued', error_code: null });
});

test('of two the later goes first, and the run under way is asked once', async () => {
  fleet.stub.tell({ when: 'be patient', turns: [{ toolUses: [{ name: 'slow', input: {} }] }, { text: 'Now for this.' }] });
  gate = new Promise((resolve) => { open = resolve; });
  const inside = new Promise<void>((resolve) => { entered = resolve; });
  const id = await say('five', 'be patient');
  await inside;
  const [first, second] = [await say('five', 'one', { multitaskStrategy: 'interrupt' }), await say('five', 'two', { multitaskStrategy: 'interrupt' })];
  open();
  for (const run of [first, second]) expect(await fleet.ended('acme', run)).toMatchObject({ status: 'completed' });
  expect(await startedMs(second)).toBeLessThanOrEqual(await startedMs(first));
  expect(askedOf(fleet, 'two')[0]?.request?.messages.map(({ content }) => JSON.stringify(content)).filter((content) => content.includes('one'))).toEqual([]);
  const events = await fleet.rows<{ type: string }>(`SELECT type FROM run_events WHERE run_id = $1 AND type IN ('run.interrupting', 'run.cancelled') ORDER BY seq`, [id]);
  expect(events.map(({ type }) => type)).toEqual(['run.interrupting', 'run.cancelled']);
  expect(await fleet.run('acme', id)).toMatchObject({ error_message: `${publicId('run', first)} took its place.` });
});
