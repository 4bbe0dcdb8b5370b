// A model that goes round in circles is told so at its third identical call, which is not made; if it does not stop, its turns end
// and what it has said is a partial answer. A tool that is there to be asked again may be.
import { beforeEach, expect, test } from '@jest/globals';
import { z } from 'zod';
import { defineTool } from '../../src/tools/define-tool.ts';
import { agent, askedOf, blocksOf, done, look } from '../support/agents.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const poll = defineTool({ name: 'poll', description: 'Looks how it stands.', effect: 'read', mayRepeat: true, input: z.strictObject({}), run: () => { done.push('poll'); return Promise.resolve('not yet'); } });
const stack = await useStack();
const fleet = await startFleet(stack, [agent({ tools: [look, poll], limits: { maxTurns: 6 } })]);
await fleet.worker();
beforeEach(() => { fleet.stub.reset(); done.length = 0; });
const say = async (message: string): Promise<string> => (await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'talker', input: { message } })).id;
const looking = (text?: string) => ({ ...(text === undefined ? {} : { text }), toolUses: [{ name: 'look', input: { what: 'the key' } }] });

test('the third identical call is not made, the model hears why and can answer', async () => {
  fleet.stub.tell({ when: 'find it', turns: [looking(), looking(), looking(), { text: 'I give up.' }] });
  expect(await fleet.ended('acme', await say('find it'))).toMatchObject({ status: 'completed', output: { answer: 'I give up.' } });
  expect(done).toEqual(['look the key', 'look the key']);
  expect(blocksOf(askedOf(fleet, 'find it')[3])[0]).toMatchObject({ type: 'tool_result', is_error: true, content: expect.stringContaining('call_repeated') });
});

test('one that does not stop ends with its turns, and what it said is a partial answer', async () => {
  fleet.stub.tell({ when: 'circles', turns: Array.from({ length: 9 }, (_, n) => looking(n === 1 ? 'It may be under the mat.' : undefined)) });
  expect(await fleet.ended('acme', await say('circles'))).toMatchObject({ status: 'completed', output: { answer: 'It may be under the mat.', partial: true } });
  expect(done).toEqual(['look the key', 'look the key']);
  expect(askedOf(fleet, 'circles').length).toBe(6);
});

test('one that said nothing fails, and says what it lacked', async () => {
  fleet.stub.tell({ when: 'silence', turns: Array.from({ length: 9 }, () => looking()) });
  expect(await fleet.ended('acme', await say('silence'))).toMatchObject({ status: 'failed', error_code: 'turns_exhausted' });
});

test('other arguments are another call, and a tool that may repeat is called each time', async () => {
  fleet.stub.tell({ when: 'wait for it', turns: [...Array.from({ length: 4 }, () => ({ toolUses: [{ name: 'poll', input: {} }] })), { text: 'Enough.' }] });
  expect(await fleet.ended('acme', await say('wait for it'))).toMatchObject({ status: 'completed' });
  expect(done).toEqual(['poll', 'poll', 'poll', 'poll']);
});
