// Whatever a tool answers, the run goes on: text of many megabytes, bytes, broken text, what JSON cannot hold. The whole is kept where
// it fits, the model sees its beginning and its end, reads on in it, and in no other run's.
import { expect, test } from '@jest/globals';
import { createHash } from 'node:crypto';
import { z } from 'zod';
import type { Json } from '../../src/domain/json.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import { blocksOf, askedOf } from '../support/agents.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const book = Array.from({ length: 10_000 }, (_, n) => `line ${n} of the book`).join('\n');
const loop: { self?: unknown } = {};
loop.self = loop;
const ANSWERS: Record<string, unknown> = {
  book, huge: 'x'.repeat(50 * 1024 * 1024), bytes: Buffer.from([0, 255, 1, 254]), broken: 'half \ud800 and nul \u0000 end', loop, odd: { big: 12n, not: NaN, when: new Date(0), nothing: undefined }, many: new Uint8Array(20 * 1024 * 1024),
};
const fetchIt = defineTool({ name: 'fetch', description: 'Fetches.', effect: 'unkeyed', input: z.strictObject({ what: z.string() }), run: ({ what }) => Promise.resolve(ANSWERS[what]) });
const stack = await useStack();
const fleet = await startFleet(stack, [defineAgent({ name: 'reader', version: 1, model: 'claude-haiku-4-5', instructions: 'You read.', tools: [fetchIt], memory: false })]);
await fleet.worker();
const read = async (words: string, ...turns: Parameters<typeof fleet.stub.tell>[0]['turns']): Promise<string> => {
  fleet.stub.tell({ when: words, turns: [...turns, { text: 'Read.' }] });
  const { id } = await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'reader', input: { message: words } });
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', output: { answer: 'Read.' } });
  return id;
};
const fetching = (what: string) => ({ toolUses: [{ name: 'fetch', input: { what } }] });
const told = (words: string, call: number): string => (blocksOf(askedOf(fleet, words)[call])[0] as { content: string }).content;
const kept = async (run: string): Promise<{ status: string; response: Json; response_blob: string | null }[]> => fleet.rows(`SELECT status::text AS status, response, response_blob FROM tool_calls WHERE run_id = $1`, [run]);

let reference = '';
test('a long text: beginning and end, and the way to read on', async () => {
  const run = await read('read the book', fetching('book'));
  const shown = told('read the book', 1);
  expect(shown.length).toBeLessThan(17_000);
  expect([shown.startsWith('line 0 of the book'), shown.endsWith('line 9999 of the book')]).toEqual([true, true]);
  [, reference = ''] = /read_result\(\{"result":"([^"]+)","from":12000\}\)/.exec(shown) ?? [];
  expect((await kept(run))[0]).toMatchObject({ status: 'succeeded', response: null, response_blob: reference });
});

test('it reads on in it, and not in a result of another run', async () => {
  await read('read on', fetching('book'), { toolUses: [{ name: 'read_result', input: { result: reference, from: 12_000 } }] });
  expect(told('read on', 2)).toBe(`[characters 12000 to 28000 of ${book.length}]\n${book.slice(12_000, 28_000)}`);
  await read('steal', { toolUses: [{ name: 'read_result', input: { result: reference, from: 0 } }] });
  expect(told('steal', 1)).toBe('not_found: This run has no result of that name.');
});

test('fifty megabytes: what can be kept is kept, and says how much it was', async () => {
  const [row] = await kept(await read('read the huge one', fetching('huge')));
  expect(row).toMatchObject({ status: 'succeeded', response_blob: expect.stringMatching(/^sha256:/) });
  expect(told('read the huge one', 1)).toContain('"characters":52428802,"kept":4194304');
});

test.each([
  ['bytes', { $bytes: 4, sha256: createHash('sha256').update(Buffer.from([0, 255, 1, 254])).digest('hex'), base64: 'AP8B/g==' }],
  ['broken', 'half \ufffd and nul \ufffd end'],
  ['loop', { self: '(contains itself)' }],
  ['odd', { big: '12', not: 'NaN', when: '1970-01-01T00:00:00.000Z' }],
])('%s are kept as JSON', async (what, json) => {
  expect((await kept(await read(`get ${what}`, fetching(what))))[0]).toMatchObject({ status: 'succeeded', response: json });
});

test('bytes beyond what can be kept leave their size and digest', async () => {
  const [row] = await kept(await read('get many', fetching('many')));
  expect(row).toMatchObject({ status: 'succeeded', response: { $bytes: 20 * 1024 * 1024, base64: null } });
});
