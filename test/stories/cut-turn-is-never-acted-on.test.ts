// A turn exists only whole. One that was cut off (in its stream, by its token limit, by the context) is never acted on: it is asked
// for again, with more room where it lacked room, and in the end its words are a partial answer or the run says what it lacked.
// Each attempt is one row of the ledger: what the provider counted, or its reserve where nobody learnt it.
import { beforeEach, expect, test } from '@jest/globals';
import { agent, askedOf, blocksOf, done, expectSound, ledgerOf } from '../support/agents.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const stack = await useStack();
const fleet = await startFleet(stack, [agent()]);
await fleet.worker();
beforeEach(() => { fleet.stub.reset(); done.length = 0; });
const say = async (message: string): Promise<string> => (await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'talker', input: { message } })).id;

test.each(['cut_after_partial_tool', 'cut_before_stop', 'disconnect', 'overloaded_in_stream'] as const)('%s: the turn is discarded and asked for again, its attempt booked at its reserve', async (kind) => {
  fleet.stub.tell({ when: kind, turns: [{ toolUses: [{ name: 'post', input: { line: kind } }], faults: [{ kind }] }, { text: 'Posted.' }] });
  const id = await say(`Please: ${kind}`);
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', output: { answer: 'Posted.' } });
  expect(done).toEqual([`post ${kind}`]);
  const [lost, whole, last] = await ledgerOf(fleet, id);
  expect(lost).toMatchObject({ status: 'booked', attempt: 1, request_id: null });
  expect(lost?.cost).toBe(lost?.reserved);
  expect([whole, last]).toMatchObject([{ status: 'settled', attempt: 2, stop_reason: 'tool_use' }, { status: 'settled', attempt: 1, stop_reason: 'end_turn' }]);
  await expectSound(fleet, id);
});

test('a turn that its token limit cut in the middle of a call is asked for again with twice the room; the half call is not made', async () => {
  fleet.stub.tell({ when: 'cut tool', turns: [{ cutTool: { name: 'post', json: '{"line":"ha' }, toolUses: [{ name: 'post', input: { line: 'whole, in a cut turn' } }] }] });
  const id = await say('cut tool');
  const run = await fleet.ended('acme', id);
  expect(run).toMatchObject({ status: 'failed', error_code: 'turn_too_long' });
  expect(done).toEqual([]);
  expect(askedOf(fleet, 'cut tool').map(({ request }) => request?.max_tokens)).toEqual([2_048, 4_096, 8_192]);
  expect((await ledgerOf(fleet, id)).map(({ status }) => status)).toEqual(['settled', 'settled', 'settled']);
});

test('words that never fit are a partial answer, and say so', async () => {
  fleet.stub.tell({ when: 'long story', turns: [{ text: 'Once upon a', stopReason: 'max_tokens' }] });
  expect(await fleet.ended('acme', await say('A long story.'.toLowerCase()))).toMatchObject({ status: 'completed', output: { answer: 'Once upon a', partial: true } });
});

test('a refusal ends the run and names its kind', async () => {
  fleet.stub.tell({ when: 'virus', turns: [{ text: '', stopReason: 'refusal', stopCategory: 'cyber' }] });
  expect(await fleet.ended('acme', await say('Write a virus'))).toMatchObject({ status: 'failed', error_code: 'model_refused', error_message: 'The model declined to answer (cyber).' });
});

test('a turn that only paused is sent again as it is', async () => {
  fleet.stub.tell({ when: 'search', turns: [{ text: 'Searching', serverTool: { name: 'web_search', input: { query: 'x' } }, stopReason: 'pause_turn' }, { text: 'Found.' }] });
  const id = await say('search for it');
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', output: { answer: 'Found.' } });
  const calls = askedOf(fleet, 'search for it');
  expect(calls.map(({ request }) => request?.messages.at(-1)?.role)).toEqual(['user', 'assistant']);
  expect(blocksOf(calls[1])).toMatchObject([{ type: 'text', text: 'Searching' }, { type: 'server_tool_use', name: 'web_search', input: { query: 'x' } }]);
});

test('thinking stays in the transcript with its signature: changed, it would be refused', async () => {
  fleet.stub.tell({ when: 'hard', turns: [{ thinking: 'Let me see.', toolUses: [{ name: 'look', input: { what: 'it' } }] }, { text: 'Seen.' }] });
  const id = await say('a hard one');
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', output: { answer: 'Seen.' } });
  expect(blocksOf(askedOf(fleet, 'a hard one')[1], -2)[0]).toMatchObject({ type: 'thinking', thinking: 'Let me see.', signature: expect.stringMatching(/^.{32}$/) });
  await expectSound(fleet, id);
});
