// Guards that stand in code and not in a statement, met through a fleet of one worker. They hold in the suite as they are;
// with their guard switched off they must fail (test/guards.test.ts).
import { expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { monoMs } from '../../src/clock.ts';
import type { Step } from '../../src/domain/machine.ts';
import type { Tool } from '../../src/domain/tool.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { Lease } from '../../src/run/lease.ts';
import { Suspects } from '../../src/run/suspects.ts';
import { sendSignal } from '../../src/store/engine/waits.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

let calls = 0;
const input = z.strictObject({ fail: z.number() });
type Input = z.infer<typeof input>;
const counted = (name: string, answers: boolean) => defineTool({
  name, description: 'Counts how often it is called.', input: z.strictObject({}),
  run: () => { calls++; return answers ? Promise.resolve('done') : Promise.reject(new Error('connection reset')); },
});

/** Calls once, then fails `fail` times. */
const machineOf = (tool: Tool): ReturnType<typeof defineMachine> => defineMachine<Input>({
  name: tool.name, version: 1, input, start: 'go', tools: [tool], remembers: false, attempts: 3,
  steps: { go: async (step: Step<Input>) => {
    const result = await step.tool(tool.name, {});
    if (step.run.attempt < step.input.fail) throw new Error('not yet');
    return step.done(result);
  } },
});

const keys: string[] = [];
const keyed = defineTool({
  name: 'failing_once', description: 'Fails the first time.', input: z.strictObject({}), effect: 'keyed',
  run: (_args, { key }) => (keys.push(key) > 1 ? Promise.resolve('done') : Promise.reject(new Error('connection reset'))),
});

const stack = await useStack();
const fleet = await startFleet(stack, [machineOf(counted('answering', true)), machineOf(counted('losing', false)), machineOf(keyed)]);
await fleet.worker();
const submit = (agent: string, fail: number, idempotencyKey?: string): Promise<{ id: string }> => fleet.base.submit({ tenant: 'acme', door: 'test', agent, input: { fail }, idempotencyKey });

test('a recorded call is returned when its step runs again', async () => {
  calls = 0;
  const { id } = await submit('answering', 1);
  await fleet.ended('acme', id);
  expect(calls).toBe(1);
});

test('a call whose outcome is unknown is not made again by a run that is woken', async () => {
  calls = 0;
  const { id } = await submit('losing', 0);
  const { fence } = await fleet.until('acme', id, (row) => row.status === 'waiting');
  await sendSignal(fleet.base.engine.pool, { tenant: 'acme', run: id, user: undefined, id: randomUUID(), name: 'look again', payload: '1', sentBy: 'key:1', idempotencyKey: undefined });
  await fleet.until('acme', id, (row) => row.status === 'waiting' && row.fence !== fence);
  expect(calls).toBe(1);
});

test('every try of a call carries the same key', async () => {
  const { id } = await submit('failing_once', 0);
  await fleet.ended('acme', id);
  expect(keys).toHaveLength(2);
  expect(new Set(keys).size).toBe(1);
});

test('another request under a key that was used is refused', async () => {
  const { id } = await submit('answering', 0, 'key');
  expect((await submit('answering', 0, 'key')).id).toBe(id);
  await expect(submit('answering', 1, 'key')).rejects.toMatchObject({ code: 'idempotency_conflict' });
});

test('a lease that may be over is not alive, and a younger one is', () => {
  expect(new Lease(1n, 'w', 5_000, monoMs()).alive).toBe(true);
  expect(new Lease(1n, 'w', 5_000, monoMs() - 4_500).alive).toBe(false);
});

test('beside a run that has crashed its worker often no other begins', async () => {
  const suspects = new Suspects();
  expect(await suspects.admit({ id: 'suspect', crashes: 9, stepClaims: 9 })).toMatchObject({ admitted: true, alone: true });
  expect(await suspects.admit({ id: 'other', crashes: 0, stepClaims: 1 })).toMatchObject({ admitted: false });
});
