// A run is pinned to the version it started on. A newer build takes it over only where it says how (`migrates`): then the pin
// moves in its first checkpoint and never back. Where no live worker has its version the run waits and is not lost.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { newId } from '../../src/ids.ts';
import { sendSignal } from '../../src/store/engine/waits.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const input = z.strictObject({});
const v1 = defineMachine({
  name: 'job', version: 1, input, start: 'collect', remembers: false,
  steps: {
    collect: (step: Step) => Promise.resolve(step.next('ask', { items: ['a', 'b'] })),
    ask: async (step: Step<object, { items: string[] }>) => { await step.waitForSignal('go'); return step.done({ by: 1, items: step.data.items }); },
  },
});
const steps2 = {
  gather: (step: Step) => Promise.resolve(step.next('confirm', { items: [{ name: 'new' }] })),
  confirm: async (step: Step<object, { items: { name: string }[] }>) => { await step.waitForSignal('go'); return step.next('finish', step.data); },
  finish: (step: Step<object, { items: { name: string }[] }>) => Promise.resolve(step.done({ by: 2, names: step.data.items.map(({ name }) => name), version: step.run.version })),
};
const data = z.object({ items: z.array(z.object({ name: z.string() })) });
const v2 = defineMachine({ name: 'job', version: 2, input, data, start: 'gather', remembers: false, steps: steps2 });
const v2Migrating = defineMachine({
  name: 'job', version: 2, input, data, start: 'gather', remembers: false, steps: steps2,
  migrates: { from: [1], migrate: ({ step, data: old }) => ({ step: step === 'ask' ? 'confirm' : 'gather', data: { items: (old as { items: string[] }).items.map((name) => ({ name })) } }) },
});
const stack = await useStack();
const [old, newer, migrating] = [await startFleet(stack, [v1]), await startFleet(stack, [v2], { REDIS_PREFIX: `${stack.redisPrefix}-2` }), await startFleet(stack, [v2Migrating], { REDIS_PREFIX: `${stack.redisPrefix}-3` })];
const begin = async (): Promise<string> => {
  const worker = await old.worker();
  const { id } = await old.base.submit({ tenant: 'acme', door: 'test', agent: 'job', input: {} });
  await old.until('acme', id, (run) => run.status === 'waiting');
  await worker.stop();
  await sendSignal(old.base.pool, { tenant: 'acme', run: id, user: undefined, id: newId(), name: 'go', payload: 'null', sentBy: 'test', idempotencyKey: undefined });
  return id;
};
const versionOf = async (id: string): Promise<number | undefined> => (await old.rows<{ version: number }>(`SELECT version FROM agent_runs WHERE id = $1`, [id]))[0]?.version;

test('a build that does not say how leaves it alone; the old version, when it is back, goes on with it', async () => {
  const id = await begin();
  const worker = await newer.worker();
  const other = (await newer.base.submit({ tenant: 'acme', door: 'test', agent: 'job', input: {} })).id;
  await newer.until('acme', other, (run) => run.status === 'waiting'); // it works, and has looked at what is due
  await newer.until('acme', other, (run) => run.status === 'waiting');
  expect([(await old.run('acme', id)).status, await versionOf(id)]).toEqual(['queued', 1]);
  await worker.stop();
  const again = await old.worker();
  expect((await old.ended('acme', id)).output).toEqual({ by: 1, items: ['a', 'b'] });
  await again.stop();
});

test('a build that says how goes on with its own steps and data, and the pin moves', async () => {
  const id = await begin();
  const worker = await migrating.worker();
  expect((await migrating.ended('acme', id)).output).toEqual({ by: 2, names: ['a', 'b'], version: 2 });
  expect(await versionOf(id)).toBe(2);
  await worker.stop();
});

test('data that does not match the schema of the next step ends the run, and says where', async () => {
  const wrong = defineMachine({ name: 'wrong', version: 1, input, data, start: 'go', remembers: false, steps: { go: (step: Step) => Promise.resolve(step.next('go', { items: 'none' })) } });
  const fleet = await startFleet(stack, [wrong], { REDIS_PREFIX: `${stack.redisPrefix}-4` });
  await fleet.worker();
  const { id } = await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'wrong', input: {} });
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'failed', error_code: 'data_invalid', error_message: expect.stringContaining('items') });
});
