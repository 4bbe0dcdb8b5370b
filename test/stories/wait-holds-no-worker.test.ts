// A run that waits holds no place in a worker and nothing in Redis: many more wait than a worker has places for, and others run
// meanwhile. What it waits for wakes it; its step is called again from its own top, and what is on record is not done again.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { newId } from '../../src/ids.ts';
import { sendSignal } from '../../src/store/engine/waits.ts';
import { readyRun } from '../../src/store/engine/sweeps.ts';
import { eventually } from '../support/agent-process.ts';
import { startFleet } from '../support/fleet.ts';
import { redisDump } from '../support/meet.ts';
import { useStack } from '../support/stack.ts';

const calls: string[] = [];
const waiter = defineMachine({
  name: 'waiter', version: 1, input: z.strictObject({ timeoutMs: z.number().optional() }), start: 'ask', remembers: false,
  steps: {
    ask: async (step: Step<{ timeoutMs?: number | undefined }>) => {
      calls.push(`top ${step.run.id}`);
      const before = await step.record('before', () => { calls.push(`before ${step.run.id}`); return Promise.resolve('recorded'); });
      const answer = await step.waitForSignal('answer', step.input.timeoutMs === undefined ? {} : { timeoutMs: step.input.timeoutMs });
      return step.done({ before, answer: answer?.payload ?? 'nobody answered' });
    },
  },
});
const both = defineMachine({
  name: 'both', version: 1, input: z.strictObject({}), start: 'ask', remembers: false,
  steps: {
    ask: async (step: Step) => {
      const [left, right] = await step.all([(branch) => branch.waitForSignal('left'), (branch) => branch.waitForSignal('right')]);
      await step.wait(30);
      return step.done([left?.payload ?? null, right?.payload ?? null]);
    },
  },
});
const quick = defineMachine({ name: 'quick', version: 1, input: z.strictObject({}), start: 'go', remembers: false, steps: { go: (step: Step) => Promise.resolve(step.done('ran')) } });
const stack = await useStack();
const fleet = await startFleet(stack, [waiter, both, quick]);
const { base } = fleet;
const worker = await fleet.worker({ concurrency: 2 });
const submit = async (agent: string, input: object = {}): Promise<string> => (await base.submit({ tenant: 'acme', door: 'test', agent, input })).id;
const send = async (run: string, name: string, payload: unknown, idempotencyKey?: string): Promise<string | undefined> => {
  const answer = await sendSignal(base.pool, { tenant: 'acme', run, user: undefined, id: newId(), name, payload: JSON.stringify(payload), sentBy: 'test', idempotencyKey });
  const ready = await readyRun(base.pool, 'acme', run);
  if (ready) await base.dispatcher.offer(ready, ready.dueInMs);
  return answer;
};
const waits = (id: string) => fleet.until('acme', id, (run) => run.status === 'waiting');

test('fifty runs wait beside a worker of two places, and nothing of them is in Redis', async () => {
  const ids = await Promise.all(Array.from({ length: 50 }, () => submit('waiter')));
  for (const id of ids) expect(await waits(id)).toMatchObject({ wait_reason: 'signal' });
  await eventually('both places to be free', () => worker.running === 0); // a place is free once the commit of its wait is answered
  expect((await fleet.ended('acme', await submit('quick'))).output).toBe('ran');
  const held = async () => (await redisDump(stack.redisUrl, stack.redisPrefix)).filter(({ key, value }) => !key.includes('events') && ids.some((id) => key.includes(id) || value.includes(id)));
  for (let tries = 0; (await held()).length > 0 && tries < 100; tries++) await fleet.run('acme', ids[0] ?? ''); // the last writes are on their way
  expect((await held()).map(({ key }) => key).filter((key) => !/:completed$|:\d+$/.test(key))).toEqual([]);
  await Promise.all(ids.map((id, at) => send(id, 'answer', at)));
  for (const [at, id] of ids.entries()) expect((await fleet.ended('acme', id)).output).toEqual({ before: 'recorded', answer: at });
  for (const id of ids) expect([calls.filter((call) => call === `top ${id}`).length >= 2, calls.filter((call) => call === `before ${id}`).length]).toEqual([true, 1]);
});

test('a signal that comes before the wait is kept, and the first of two is consumed first', async () => {
  const id = (await base.submit({ tenant: 'acme', door: 'test', agent: 'waiter', input: {}, delayMs: 300 })).id;
  expect(await send(id, 'answer', 'first')).toBe('sent');
  expect(await send(id, 'answer', 'second')).toBe('sent');
  expect((await fleet.ended('acme', id)).output).toMatchObject({ answer: 'first' });
  expect(await fleet.rows(`SELECT payload, consumed_at IS NOT NULL AS consumed FROM signals WHERE run_id = $1 ORDER BY seq`, [id])).toEqual([{ payload: 'first', consumed: true }, { payload: 'second', consumed: false }]);
  expect(await send(id, 'answer', 'late')).toBe('finished');
});

test('the same key is one signal; a name nobody waits for wakes and changes nothing', async () => {
  const id = await submit('waiter');
  await waits(id);
  expect([await send(id, 'other', 1), await send(id, 'other', 1, 'k'), await send(id, 'other', 1, 'k')]).toEqual(['sent', 'sent', 'repeated']);
  await waits(id);
  await send(id, 'answer', 'now');
  expect((await fleet.ended('acme', id)).output).toMatchObject({ answer: 'now' });
});

test('a wait with a limit ends by the clock of the database', async () => {
  expect((await fleet.ended('acme', await submit('waiter', { timeoutMs: 120 }))).output).toEqual({ before: 'recorded', answer: 'nobody answered' });
});

test('a step that waits for two things goes on when both are there, in whatever order, and no message is missed', async () => {
  const ids = await Promise.all(Array.from({ length: 10 }, () => submit('both')));
  // sent while the runs are still starting, parking and looking: every interleaving there is time for
  await Promise.all(ids.flatMap((id, at) => (at % 2 === 0 ? ['left', 'right'] : ['right', 'left']).map((name) => send(id, name, `${name} ${at}`))));
  for (const [at, id] of ids.entries()) expect((await fleet.ended('acme', id)).output).toEqual([`left ${at}`, `right ${at}`]);
});
