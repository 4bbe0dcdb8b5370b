// A conversation beyond its token limit, or beyond what the model takes, is replaced by a summary: a call of the model like any other,
// on record, with the same prefix. The run goes on with the request and the last results word for word.
import { beforeEach, expect, test } from '@jest/globals';
import { z } from 'zod';
import { defineTool } from '../../src/tools/define-tool.ts';
import { agent, askedOf, blocksOf, expectSound, ledgerOf } from '../support/agents.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const read = defineTool({ name: 'read', description: 'Reads a page.', effect: 'read', input: z.strictObject({ page: z.number() }), run: ({ page }) => Promise.resolve(`page ${page}: ${'lorem ipsum '.repeat(600)}the end of page ${page}`) });
const stack = await useStack();
const instructions = 'You read books. '.repeat(150);
const fleet = await startFleet(stack, [
  agent({ name: 'reader', instructions, tools: [read], limits: { contextTokens: 7_000, maxTurns: 12 } }),
  agent({ name: 'unbounded', instructions, tools: [read], limits: { contextTokens: 10_000_000 } }),
], {}, undefined, { contextTokens: 12_000 });
await fleet.worker();
beforeEach(() => fleet.stub.reset());
const say = async (name: string, message: string): Promise<string> => (await fleet.base.submit({ tenant: 'acme', door: 'test', agent: name, input: { message } })).id;
const pageTurn = (page: number): { toolUses: { name: string; input: unknown }[] } => ({ toolUses: [{ name: 'read', input: { page } }] });
const stepsOf = async (run: string): Promise<string[]> => (await fleet.rows<{ name: string }>(`SELECT name FROM run_steps WHERE run_id = $1 ORDER BY seq`, [run])).map(({ name }) => name);

test('beyond its limit the conversation is replaced by the model’s own summary; request and last results stay word for word', async () => {
  fleet.stub.tell({ when: 'the book of whales', turns: [pageTurn(1), pageTurn(2), pageTurn(3), { text: 'SUMMARY: pages one to three are about whales.' }] });
  fleet.stub.tell({ when: 'SUMMARY: pages one to three', turns: [pageTurn(4), { text: 'It is about whales.' }] });
  const id = await say('reader', 'Read the book of whales');
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', output: { answer: 'It is about whales.' } });
  expect((await stepsOf(id)).filter((name) => name !== 'act')).toEqual(['recall', 'think', 'think', 'think', 'think', 'compact', 'think', 'think', 'answer']);
  const calls = askedOf(fleet, 'book of whales');
  const [asked, after] = [calls[3], calls[4]];
  expect(blocksOf(asked).at(-1)?.text).toContain('will be replaced by a summary');
  expect(asked?.usage?.cache_read_input_tokens).toBeGreaterThan(0.6 * (calls[2]?.usage?.cache_read_input_tokens ?? Infinity)); // the same prefix
  expect(after?.request?.messages).toHaveLength(1);
  const told = blocksOf(after)[0]?.text ?? '';
  for (const words of ['SUMMARY: pages one to three', '<request>\nRead the book of whales\n</request>', 'the end of page 3']) expect(told).toContain(words);
  expect(told).not.toContain('the end of page 1');
  expect(await ledgerOf(fleet, id)).toHaveLength(6); // the summary is paid for like any turn
  await expectSound(fleet, id);
});

test('a prompt the provider finds too long is no failure: the conversation is cut short without the model, and goes on', async () => {
  fleet.stub.tell({ when: 'the book of bees', turns: [pageTurn(1), pageTurn(2), pageTurn(3), pageTurn(4), pageTurn(5), pageTurn(6), pageTurn(7)] });
  fleet.stub.tell({ when: 'stands in its place', turns: [{ text: 'It is about bees.' }] });
  const id = await say('unbounded', 'Read the book of bees');
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', output: { answer: 'It is about bees.' } });
  expect(await stepsOf(id)).toContain('compact');
  expect((await ledgerOf(fleet, id)).filter(({ error_code: code }) => code === 'context_exceeded').map(({ status, cost }) => [status, cost])).toEqual([['failed', 0], ['failed', 0]]);
});

test('one message that does not fit ends the run and says why', async () => {
  fleet.stub.addFault({ kind: 'context_exceeded', when: 'endless' });
  expect(await fleet.ended('acme', await say('unbounded', 'endless'))).toMatchObject({ status: 'failed', error_code: 'context_exceeded' });
});

test('a turn that runs into the context’s end is discarded, and the conversation made shorter', async () => {
  fleet.stub.tell({ when: 'the book of ants', turns: [pageTurn(1), { text: 'It is', stopReason: 'model_context_window_exceeded' }] });
  fleet.stub.tell({ when: 'stands in its place', turns: [{ text: 'It is about ants.' }] });
  const id = await say('reader', 'Read the book of ants');
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', output: { answer: 'It is about ants.' } });
  expect(await stepsOf(id)).toContain('compact');
});
