// A retry is a new run that begins where another failed: steps on record are not run again, an effect that succeeded in the very
// step that failed is returned, one that may have been applied is asked about. However many retries lie between.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { parseId } from '../../src/ids.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { Book, Gates, refusal, startControl } from '../support/control.ts';
import { useStack } from '../support/stack.ts';

const book = new Book();
const gates = new Gates();
const input = z.strictObject({ word: z.string(), tool: z.enum(['write_keyed', 'write_unkeyed']) });
type Input = z.infer<typeof input>;
const ran: string[] = [];
/** What is to go wrong, by word: each time it is met one is taken away. */
const fails = new Map<string, ('before' | 'after')[]>();

const order = defineMachine<Input>({
  name: 'order', version: 1, input, start: 'reserve', tools: book.tools, remembers: false, attempts: 1,
  steps: {
    reserve: (step: Step<Input>) => { ran.push(`${step.input.word}/reserve`); return Promise.resolve(step.next('charge', { reserved: step.input.word })); },
    charge: async (step: Step<Input, { reserved: string }>) => {
      const { word, tool } = step.input;
      ran.push(`${word}/charge`);
      const wrong = fails.get(word)?.shift();
      if (wrong === 'before') throw new Error('before');
      const charged = await step.tool(tool, { line: word });
      if (wrong === 'after') throw new Error('after');
      if (word === 'held') await gates.pass(word, step.signal);
      return step.next('ship', { ...step.data, charged });
    },
    ship: (step: Step<Input>) => { ran.push(`${step.input.word}/ship`); return Promise.resolve(step.done(step.data)); },
  },
});

const stack = await useStack();
const { api, client, waits, ended, story, audit } = await startControl(stack, [order]);
await api.fleet.worker();
const submit = async (word: string, tool: Input['tool'] = 'write_unkeyed', over: object = {}): Promise<string> => (await client.runs.create({ agent: 'order', input: { word, tool }, ...over })).id;
const count = (list: readonly string[], what: string): number => list.filter((one) => one === what).length;
const failed = async (word: string, plan: ('before' | 'after')[], tool?: Input['tool'], over?: object): Promise<string> => {
  fails.set(word, plan);
  const run = await submit(word, tool, over);
  expect(await ended(run)).toMatchObject({ status: 'failed', error_code: 'attempts_exhausted', step_seq: 1 });
  return run;
};

test('recorded steps and succeeded effects are not repeated', async () => {
  const run = await failed('once', ['after']);
  const retry = await client.runs.retry(run);
  expect(retry).toMatchObject({ forkedFrom: run, agent: 'order', version: 1, input: { word: 'once' } });
  expect(await ended(retry.id)).toMatchObject({ status: 'completed', output: { reserved: 'once', charged: { wrote: 'once' } } });
  expect(count(book.lines, 'once')).toBe(1);
  expect([count(ran, 'once/reserve'), count(ran, 'once/charge'), count(ran, 'once/ship')]).toEqual([1, 2, 1]);
  expect((await client.runs.steps(retry.id)).data.map(({ name }) => name)).toEqual(['reserve', 'charge', 'ship']);
  expect(await story(retry.id)).toEqual(['run.queued', 'step:reserve', 'run.started', 'step:charge', 'step:ship', 'run.completed']);
  expect((await api.fleet.rows<{ seq: number }>(`SELECT seq FROM run_history WHERE run_id = $1 ORDER BY seq`, [parseId('run', retry.id)])).map(({ seq }) => seq)).toEqual([1, 2, 3, 4, 5, 6]);
  expect(await client.runs.get(run)).toMatchObject({ status: 'failed', forkedFrom: null }); // the failure stays on record
  expect(await audit(run)).toEqual(['run.retried']);
});

test('a retry that failed before it came to the call hands on what its origin knows', async () => {
  const first = await failed('chain', ['after', 'before', 'before']);
  const second = (await client.runs.retry(first)).id;
  expect(await ended(second)).toMatchObject({ status: 'failed' });
  const third = (await client.runs.retry(second)).id;
  expect(await ended(third)).toMatchObject({ status: 'failed' });
  expect(await ended((await client.runs.retry(third)).id)).toMatchObject({ status: 'completed', output: { charged: { wrote: 'chain' } } });
  expect([count(book.calls, 'chain'), count(book.lines, 'chain')]).toEqual([1, 1]);
});

test('a keyed call is made again under the key of its first try', async () => {
  book.loses.add('keyed');
  const run = await failed('keyed', [], 'write_keyed');
  expect(await ended((await client.runs.retry(run)).id)).toMatchObject({ status: 'completed' });
  expect([count(book.calls, 'keyed'), count(book.lines, 'keyed')]).toEqual([2, 1]);
});

test('an effect of unknown outcome is asked about before it is repeated', async () => {
  book.loses.add('lost');
  const run = await submit('lost');
  await waits(run, 'outcome');
  expect((await client.runs.cancel(run)).unsettled).toEqual([expect.objectContaining({ stepSeq: 2, path: '0', tool: 'write_unkeyed', status: 'unknown' })]);
  const retry = (await client.runs.retry(run)).id;
  await waits(retry, 'approval');
  expect(count(book.calls, 'lost')).toBe(1);
  const { data: [question] } = await client.approvals.list({ run: retry, status: 'pending' });
  await client.approvals.decide(question?.id ?? '', { approved: true });
  expect(await ended(retry)).toMatchObject({ status: 'completed' });
  expect(count(book.calls, 'lost')).toBe(2);
});

test('the same key is one retry, also for two at once; another key is another', async () => {
  const run = await failed('keys', ['after', 'after']);
  const [one, same] = await Promise.all([1, 2].map(() => client.runs.retry(run, { idempotencyKey: 'again' })));
  expect(same?.id).toBe(one?.id);
  expect((await client.runs.retry(run, { idempotencyKey: 'again' })).id).toBe(one?.id);
  expect(await ended(one?.id ?? '')).toMatchObject({ status: 'failed' });
  expect(await refusal(client.runs.retry(one?.id ?? '', { idempotencyKey: 'again' }))).toBe('idempotency_conflict');
  const other = await client.runs.retry(run, { idempotencyKey: 'another' });
  expect(other.id).not.toBe(one?.id);
  expect(await ended(other.id)).toMatchObject({ status: 'completed' });
  expect(count(book.lines, 'keys')).toBe(1);
});

test('it takes a place of its own in its session', async () => {
  const who = { user: 'ada', session: 's' };
  const run = await failed('sessional', ['after'], 'write_unkeyed', who);
  const held = await submit('held', 'write_unkeyed', who);
  await gates.reached('held');
  const retry = await client.runs.retry(run);
  expect(retry).toMatchObject({ user: 'ada', session: 's', status: 'queued' });
  gates.open('held');
  const [before, after] = [await ended(held), await ended(retry.id)];
  expect([before.status, after.status]).toEqual(['completed', 'completed']);
  expect(after.started_at?.getTime()).toBeGreaterThanOrEqual(before.finished_at?.getTime() ?? Infinity);
});

test('only what ended without completing is retried', async () => {
  const completed = await submit('fine');
  await ended(completed);
  const waiting = await submit('later', 'write_unkeyed', { delayMs: 3_600_000 });
  for (const run of [completed, waiting]) expect(await refusal(client.runs.retry(run))).toBe('not_retryable');
  const run = await failed('private', ['before'], 'write_unkeyed', { user: 'ada' });
  for (const key of [await api.makeKey({ tenant: 'globex' }), await api.makeKey({ user: 'bob' })]) {
    expect((await api.call<{ code: string }>('POST', `/v1/runs/${run}/retry`, { key })).body.code).toBe('not_found');
  }
});
