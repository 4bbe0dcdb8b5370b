// A message sent with `steer` is heard by the run under way, at the next turn of its model and once, behind the results of its tools;
// the message's own run ends as delivered. What is not heard before the end becomes the session's next run.
import { beforeEach, expect, test } from '@jest/globals';
import { z } from 'zod';
import { defineTool } from '../../src/tools/define-tool.ts';
import { publicId } from '../../src/ids.ts';
import { agent, askedOf, blocksOf, expectSound, ledgerOf } from '../support/agents.ts';
import { startFleet } from '../support/fleet.ts';
import { until } from '../support/meet.ts';
import { useStack } from '../support/stack.ts';

let open = (): void => undefined;
let entered = (): void => undefined;
let gate = Promise.resolve();
const slow = defineTool({ name: 'slow', description: 'Takes a while.', effect: 'read', input: z.strictObject({}), run: async () => { entered(); await gate; return 'taken'; } });
const stack = await useStack();
const fleet = await startFleet(stack, [agent({ tools: [slow] }), agent({ name: 'other' })]);
await fleet.worker();
beforeEach(() => fleet.stub.reset());

const say = async (session: string, message: string, more: { multitaskStrategy?: 'steer' | 'enqueue'; agent?: string; user?: string; idempotencyKey?: string } = {}): Promise<string> =>
  (await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'talker', user: 'ada', session, input: { message }, ...more })).id;
/** A run that is inside its tool, and what lets it go on. */
async function inTool(session: string, turns = [{ toolUses: [{ name: 'slow', input: {} }] }, { text: 'All heard.' }] as Parameters<typeof fleet.stub.tell>[0]['turns']): Promise<string> {
  fleet.stub.tell({ when: `work in ${session}`, turns });
  gate = new Promise((resolve) => { open = resolve; });
  const inside = new Promise<void>((resolve) => { entered = resolve; });
  const id = await say(session, `work in ${session}`);
  await inside;
  return id;
}
const messagesOf = (session: string): Promise<{ role: string; content: string }[]> => fleet.rows(`SELECT role, content FROM messages WHERE session_id = $1 ORDER BY seq`, [session]);
const eventsOf = async (run: string): Promise<string[]> => (await fleet.rows<{ type: string }>(`SELECT type FROM run_history WHERE run_id = $1 ORDER BY seq`, [run])).map(({ type }) => type);

test('it is heard behind the results of the tools, in order and once, and stays in the session as said', async () => {
  const id = await inTool('one');
  const first = await say('one', 'Make it blue.', { multitaskStrategy: 'steer', idempotencyKey: 'blue' });
  expect(await say('one', 'Make it blue.', { multitaskStrategy: 'steer', idempotencyKey: 'blue' })).toBe(first);
  const second = await say('one', 'And round.', { multitaskStrategy: 'steer' });
  expect((await fleet.run('acme', first)).status).toBe('queued');
  open();
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', output: { answer: 'All heard.' } });
  const [, told] = askedOf(fleet, 'work in one');
  expect(blocksOf(told)).toMatchObject([{ type: 'tool_result', content: 'taken' }, { type: 'text', text: 'Make it blue.' }, { type: 'text', text: 'And round.' }]);
  for (const run of [first, second]) expect(await fleet.run('acme', run)).toMatchObject({ status: 'completed', output: { deliveredTo: publicId('run', id) }, started_at: null });
  expect(await eventsOf(first)).toEqual(['run.queued', 'run.delivered']);
  expect(await eventsOf(id)).toContain('run.steered');
  expect((await messagesOf('one')).map(({ content }) => content)).toEqual(['work in one', 'Make it blue.', 'And round.', 'All heard.']);
  expect(askedOf(fleet, 'Make it blue')).toHaveLength(1);
  await expectSound(fleet, id);
});

test('what comes during the last turn is the session’s next run', async () => {
  fleet.stub.addFault({ kind: 'slow', delayMs: 400, when: 'work in two' });
  const id = await say('two', 'work in two');
  await until('the turn is asked for', async () => (await ledgerOf(fleet, id)).length > 0); // what comes sooner is heard by it
  const late = await say('two', 'One more thing', { multitaskStrategy: 'steer' });
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed' });
  expect(await fleet.ended('acme', late)).toMatchObject({ status: 'completed', output: { answer: 'You said: One more thing' } });
});

test('only messages for this agent, of this user and session, and not those that wait their turn, are heard', async () => {
  const id = await inTool('three');
  const others = [
    await say('three', 'For the other agent', { multitaskStrategy: 'steer', agent: 'other' }),
    await say('three', 'In its turn', { multitaskStrategy: 'enqueue' }),
    await say('three', 'Of another user', { multitaskStrategy: 'steer', user: 'bob' }),
    await say('four', 'In another session', { multitaskStrategy: 'steer' }),
  ];
  open();
  await fleet.ended('acme', id);
  expect(blocksOf(askedOf(fleet, 'work in three')[1]).map(({ type }) => type)).toEqual(['tool_result']);
  for (const run of others) expect(await fleet.ended('acme', run)).toMatchObject({ status: 'completed', started_at: expect.any(Date), output: { answer: expect.any(String) } });
});

test('a message that may not start yet is not heard', async () => {
  const id = await inTool('five');
  const { id: later } = await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'talker', user: 'ada', session: 'five', input: { message: 'Tomorrow' }, delayMs: 3_600_000, multitaskStrategy: 'steer' });
  open();
  await fleet.ended('acme', id);
  expect(blocksOf(askedOf(fleet, 'work in five')[1]).map(({ type }) => type)).toEqual(['tool_result']);
  expect(await fleet.run('acme', later)).toMatchObject({ status: 'queued' });
});

test('a turn that is asked for again is told the same as the first time', async () => {
  const id = await inTool('six', [{ toolUses: [{ name: 'slow', input: {} }] }, { text: 'All heard.', faults: [{ kind: 'overloaded' }] }]);
  const first = await say('six', 'Before the fault.', { multitaskStrategy: 'steer' });
  open();
  await fleet.until('acme', id, ({ attempt }) => attempt === 1);
  const second = await say('six', 'After it.', { multitaskStrategy: 'steer' });
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', output: { answer: 'All heard.' } });
  expect(askedOf(fleet, 'work in six').slice(1, 3).map((call) => blocksOf(call).map(({ text }) => text))).toEqual([[undefined, 'Before the fault.'], [undefined, 'Before the fault.']]);
  expect((await fleet.run('acme', first)).started_at).toBeNull();
  expect(await fleet.ended('acme', second)).toMatchObject({ status: 'completed', started_at: expect.any(Date) });
});
