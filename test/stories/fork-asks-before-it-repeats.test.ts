// A fork begins with the first steps of another run and goes its own way. What the origin did after that point it does not do
// again unasked: a person says yes or no. What only reads, and what it does with other arguments, it simply does.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import { Book, refusal, startControl } from '../support/control.ts';
import { useStack } from '../support/stack.ts';

const book = new Book();
const reads: string[] = [];
const look = defineTool({ name: 'look', description: 'Reads.', effect: 'read', input: z.strictObject({ line: z.string() }), run: ({ line }) => { reads.push(line); return Promise.resolve({ seen: line }); } });
const input = z.strictObject({ word: z.string(), tool: z.enum(['write_keyed', 'write_unkeyed', 'look']), bytes: z.number() });
type Input = z.infer<typeof input>;
const ran: string[] = [];
/** A world that has changed since: what the step of a fork says instead. */
const saysNow = new Map<string, string>();

const report = defineMachine<Input>({
  name: 'report', version: 1, input, start: 'draft', tools: [...book.tools, look], remembers: false, attempts: 1,
  steps: {
    draft: (step: Step<Input>) => { ran.push(`${step.input.word}/draft`); return Promise.resolve(step.next('send', { text: 'x'.repeat(step.input.bytes) })); },
    send: async (step: Step<Input, { text: string }>) => {
      ran.push(`${step.input.word}/send`);
      await step.tool(step.input.tool, { line: (step.run.fork && saysNow.get(step.input.word)) ?? step.input.word });
      return step.next('file', step.data);
    },
    file: (step: Step<Input, { text: string }>) => { ran.push(`${step.input.word}/file`); return Promise.resolve(step.done({ text: step.data.text })); },
  },
});

const stack = await useStack();
const { api, client, waits, ended, audit } = await startControl(stack, [report]);
await api.fleet.worker();
const count = (list: readonly string[], what: string): number => list.filter((one) => one === what).length;
const completed = async (word: string, tool: Input['tool'] = 'write_unkeyed', bytes = 0): Promise<string> => {
  const { id } = await client.runs.create({ agent: 'report', input: { word, tool, bytes }, user: 'ada' });
  expect(await ended(id)).toMatchObject({ status: 'completed', step_seq: 3 });
  return id;
};

test.each(['write_unkeyed', 'write_keyed'] as const)('an effect of %s the origin had is repeated only when a person says so', async (tool) => {
  const origin = await completed(`yes ${tool}`, tool);
  const fork = await client.runs.fork(origin, 1);
  expect(fork).toMatchObject({ forkedFrom: origin, steps: 1, nextStep: 'send', user: 'ada' });
  await waits(fork.id, 'approval');
  expect(count(book.calls, `yes ${tool}`)).toBe(1);
  const { data: [question] } = await client.approvals.list({ run: fork.id });
  expect(question).toMatchObject({ subject: tool, request: { line: `yes ${tool}` }, status: 'pending' });
  await client.approvals.decide(question?.id ?? '', { approved: true });
  expect(await ended(fork.id)).toMatchObject({ status: 'completed' });
  expect([count(ran, `yes ${tool}/draft`), count(book.calls, `yes ${tool}`)]).toEqual([1, 2]);
  expect(await audit(origin)).toEqual(['run.forked']);
});

test('no is no: nothing is done, and the fork ends', async () => {
  const fork = (await client.runs.fork(await completed('no'), 1)).id;
  await waits(fork, 'approval');
  const { data: [question] } = await client.approvals.list({ run: fork });
  await client.approvals.decide(question?.id ?? '', { approved: false });
  expect(await ended(fork)).toMatchObject({ status: 'failed', error_code: 'approval_denied' });
  expect(count(book.lines, 'no')).toBe(1);
});

test('a fork from before a fork asks as well', async () => {
  const origin = await completed('twice removed');
  const second = (await client.runs.fork(origin, 2)).id; // took the effect over
  expect(await ended(second)).toMatchObject({ status: 'completed' });
  const third = (await client.runs.fork(second, 1)).id; // goes back before it
  await waits(third, 'approval');
  expect(count(book.calls, 'twice removed')).toBe(1);
  await client.runs.cancel(third);
});

test('after the effect nothing is asked; from 0 all is done anew, and asked', async () => {
  const origin = await completed('places');
  expect(await ended((await client.runs.fork(origin, 2)).id)).toMatchObject({ status: 'completed' });
  expect([count(ran, 'places/send'), count(ran, 'places/file')]).toEqual([1, 2]);
  const anew = (await client.runs.fork(origin, 0)).id;
  await waits(anew, 'approval');
  expect(count(ran, 'places/draft')).toBe(2);
  await client.runs.cancel(anew);
});

test('a read is done again, and so is what has other arguments', async () => {
  expect(await ended((await client.runs.fork(await completed('looked', 'look'), 1)).id)).toMatchObject({ status: 'completed' });
  expect(count(reads, 'looked')).toBe(2);
  const origin = await completed('changed');
  saysNow.set('changed', 'changed since');
  expect(await ended((await client.runs.fork(origin, 1)).id)).toMatchObject({ status: 'completed' });
  expect([count(book.lines, 'changed'), count(book.lines, 'changed since')]).toEqual([1, 1]);
});

test('only from a checkpoint of one’s own', async () => {
  const origin = await completed('checkpoints');
  for (const step of [3, 4, 1_000_000]) expect(await refusal(client.runs.fork(origin, step))).toBe('no_such_checkpoint'); // after its end nothing goes on
  expect(await refusal(client.runs.fork(origin, -1))).toBe('bad_request');
  for (const key of [await api.makeKey({ tenant: 'globex' }), await api.makeKey({ user: 'bob' })]) {
    expect((await api.call<{ code: string }>('POST', `/v1/runs/${origin}/fork`, { key, body: { fromStep: 1 } })).body.code).toBe('not_found');
  }
});

test('the same key is one fork, and a key of another request is refused', async () => {
  const origin = await completed('keys');
  const key = { idempotencyKey: 'fork once' };
  const answer = await api.call<{ id: string }>('POST', `/v1/runs/${origin}/fork`, { key: await api.makeKey(), body: { fromStep: 2 }, headers: { 'idempotency-key': key.idempotencyKey } });
  const { id } = answer.body;
  expect([answer.status, answer.headers.get('location')]).toEqual([202, `/v1/runs/${id}`]);
  expect((await client.runs.fork(origin, 2, key)).id).toBe(id);
  expect(await refusal(client.runs.fork(origin, 1, key))).toBe('idempotency_conflict');
  expect(await refusal(client.runs.create({ agent: 'report', input: { word: 'x', tool: 'look', bytes: 0 } }, key))).toBe('idempotency_conflict');
});

test('what is too large for its row is shared with the origin, named in lists and read in a run', async () => {
  const text = 'x'.repeat(100_000);
  const origin = await completed('large', 'look', text.length);
  const stored = { $stored: { bytes: expect.any(Number), sha256: expect.stringMatching(/^[0-9a-f]{64}$/) } };
  const { data } = await client.runs.steps(origin);
  expect(data.map((step) => step.data)).toEqual([stored, stored, null]);
  expect((await client.runs.get(origin)).output).toEqual({ text });
  const fork = (await client.runs.fork(origin, 1)).id;
  expect(await client.runs.wait(fork)).toMatchObject({ status: 'completed', output: { text } });
  expect((await client.runs.steps(fork)).data[0]?.data).toEqual(data[0]?.data);
});
