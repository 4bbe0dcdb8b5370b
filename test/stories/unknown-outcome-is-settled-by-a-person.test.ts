// Where nobody knows whether an effect took place, the run stops and asks. A person says what became of it, once: it succeeded
// (with its result), and the run goes on without another call; or it did not, and it is called again. The latter is believed
// only when the first call cannot be under way any more.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { Book, refusal, startControl } from '../support/control.ts';
import { until } from '../support/meet.ts';
import { useStack } from '../support/stack.ts';

const book = new Book();
/** One for each run: a tool that fails often is left alone by its breaker. */
const pays = Array.from({ length: 9 }, (_, n) => book.tool(`pay_${n}`, 'unkeyed'));
const input = z.strictObject({ line: z.string(), tool: z.string() });
type Input = z.infer<typeof input>;
const payer = defineMachine<Input>({
  name: 'payer', version: 1, input, start: 'pay', tools: [...pays, book.tool('pay_briefly', 'unkeyed', { timeoutMs: 300 })], remembers: false,
  steps: { pay: async (step: Step<Input>) => step.done(await step.tool(step.input.tool, { line: step.input.line })) },
});

const stack = await useStack();
const { api, client, waits, ended, story, audit } = await startControl(stack, [payer]);
let worker = await api.fleet.worker();
const asking = async (line: string, tool = pays.pop()?.name ?? '', over: object = {}): Promise<string> => {
  book.loses.add(line);
  const { id } = await client.runs.create({ agent: 'payer', input: { line, tool }, ...over });
  await waits(id, 'outcome');
  return id;
};
const calls = (line: string): number => book.calls.filter((one) => one === line).length;
const call = { stepSeq: 1, path: '0' };

test('it stops and asks, and says about what', async () => {
  const run = await asking('asks');
  await until('a free worker', () => Promise.resolve(worker.running === 0));
  expect((await client.runs.unsettled(run)).data).toEqual([{ ...call, tool: 'pay_8', effect: 'unkeyed', status: 'unknown', startedAt: expect.any(String) }]);
  expect(calls('asks')).toBe(1);
  await client.runs.cancel(run);
  expect((await client.runs.unsettled(run)).data).toHaveLength(1); // a cancel undoes nothing
});

test('it succeeded: the run goes on with the result it is told, without another call', async () => {
  const run = await asking('succeeded', undefined, { user: 'ada' });
  const settled = await client.runs.settle(run, { ...call, outcome: 'succeeded', response: { receipt: 12 } });
  expect(settled).toMatchObject({ status: 'succeeded', response: { receipt: 12 }, errorCode: null, settledBy: expect.stringMatching(/^key:/) });
  expect(await ended(run)).toMatchObject({ status: 'completed', output: { receipt: 12 } });
  expect(calls('succeeded')).toBe(1);
  expect((await client.runs.unsettled(run)).data).toEqual([]);
  expect(await story(run)).toEqual(['run.queued', 'run.started', 'outcome.settled', 'step:pay', 'run.completed']);
  expect(await audit(run)).toEqual(['outcome.settled']);
});

test('it did not: refused while its worker lives and its time is not over', async () => {
  const run = await asking('open');
  expect(await refusal(client.runs.settle(run, { ...call, outcome: 'not_applied' }))).toBe('outcome_open');
  expect(await client.runs.get(run)).toMatchObject({ waitReason: 'outcome' });
  expect(calls('open')).toBe(1);
});

test('it did not, and its time is over: it is called again', async () => {
  const run = await asking('timed', 'pay_briefly');
  await until('its deadline', async () => (await api.fleet.rows<{ over: boolean }>(`SELECT deadline_at < now() AS over FROM tool_calls WHERE run_id = $1`, [run.slice(4)]))[0]?.over === true);
  await client.runs.settle(run, { ...call, outcome: 'not_applied' });
  expect(await ended(run)).toMatchObject({ status: 'completed', output: { wrote: 'timed' } });
  expect(calls('timed')).toBe(2);
});

test('it did not, and its worker is dead: it is called again by another', async () => {
  const run = await asking('dead');
  await worker.stop();
  await client.runs.settle(run, { ...call, outcome: 'not_applied' });
  worker = await api.fleet.worker();
  expect(await ended(run)).toMatchObject({ status: 'completed', output: { wrote: 'dead' } });
  expect(calls('dead')).toBe(2);
});

test('once: of two at once one is believed, and none after', async () => {
  const run = await asking('once');
  const both = await Promise.allSettled([1, 2].map((n) => client.runs.settle(run, { ...call, outcome: 'succeeded', response: n })));
  expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  expect((await ended(run)).output).toBe(both[0]?.status === 'fulfilled' ? 1 : 2);
  for (const outcome of ['succeeded', 'not_applied'] as const) expect(await refusal(client.runs.settle(run, { ...call, outcome }))).toBe('outcome_settled');
});

test('a result after the end is kept, and the end stands', async () => {
  const run = await asking('cancelled');
  await client.runs.cancel(run);
  await client.runs.settle(run, { ...call, outcome: 'succeeded', response: 'paid after all' });
  expect((await client.runs.toolCalls(run)).data[0]).toMatchObject({ status: 'succeeded', response: 'paid after all' });
  expect(await client.runs.get(run)).toMatchObject({ status: 'cancelled' });
});

test('only about a call there is, and only by whom it concerns', async () => {
  const run = await asking('private', undefined, { user: 'ada' });
  expect(await refusal(client.runs.settle(run, { stepSeq: 1, path: '7', outcome: 'succeeded' }))).toBe('not_found');
  expect(await refusal(client.runs.settle(run, { ...call, outcome: 'not_applied', response: {} }))).toBe('bad_request');
  for (const key of [await api.makeKey({ tenant: 'globex' }), await api.makeKey({ user: 'bob' })]) {
    expect((await api.call<{ code: string }>('GET', `/v1/runs/${run}/unsettled`, { key })).body.code).toBe('not_found');
    expect((await api.call<{ code: string }>('POST', `/v1/runs/${run}/outcomes`, { key, body: { ...call, outcome: 'succeeded' } })).body.code).toBe('not_found');
  }
  expect(await client.runs.get(run)).toMatchObject({ waitReason: 'outcome' });
});
