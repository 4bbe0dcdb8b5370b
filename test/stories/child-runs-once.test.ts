// A run spawns others, once, however often its step runs; it waits for all or for the first without holding a worker, and gets
// their outputs, or how they failed.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const child = defineMachine({
  name: 'child', version: 1, input: z.strictObject({ n: z.number(), delayMs: z.number().default(0) }), start: 'go', remembers: false, attempts: 1,
  steps: {
    go: async (step: Step<{ n: number; delayMs: number }>) => {
      if (step.input.n < 0) throw new Error('negative');
      await step.wait(step.input.delayMs);
      return step.done(step.input.n * 2);
    },
  },
});
const input = z.strictObject({ numbers: z.array(z.number()), any: z.boolean().default(false), fail: z.number().default(0) });
type Input = z.infer<typeof input>;
const parent = defineMachine<Input>({
  name: 'parent', version: 1, input, start: 'spawn', remembers: false, attempts: 5,
  steps: {
    spawn: async (step: Step<Input>) => {
      const children = [];
      for (const [at, n] of step.input.numbers.entries()) children.push(await step.spawn('child', { n, delayMs: step.input.any && at > 0 ? 60_000 : 0 }));
      if (step.run.attempt < step.input.fail) throw new Error('again');
      const ended = await step.waitForChildren(children, { any: step.input.any });
      return step.done(ended?.map(({ status, output, errorCode }) => [status, output, errorCode ?? null]));
    },
  },
});
const stack = await useStack();
const fleet = await startFleet(stack, [child, parent]);
await fleet.worker({ concurrency: 3 });
const submit = async (given: object): Promise<string> => (await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'parent', input: given, user: 'ada', session: 's' })).id;
const childrenOf = (id: string) => fleet.rows<{ id: string; status: string }>(`SELECT id, status::text FROM agent_runs WHERE parent_id = $1 ORDER BY created_at, id`, [id]);

test('all: outputs in the order they were asked for, with how one failed', async () => {
  const id = await submit({ numbers: [1, 2, -1, 4] });
  expect((await fleet.ended('acme', id)).output).toEqual([['completed', 2, null], ['completed', 4, null], ['failed', null, 'attempts_exhausted'], ['completed', 8, null]]);
});

test('a step that runs again spawns nothing again', async () => {
  const id = await submit({ numbers: [1, 2, 3], fail: 2 });
  expect((await fleet.ended('acme', id)).output).toHaveLength(3);
  expect(await childrenOf(id)).toHaveLength(3);
});

test('any: the first end is enough, and the others go on', async () => {
  const id = await submit({ numbers: [7, 8], any: true });
  expect((await fleet.ended('acme', id)).output).toEqual([['completed', 14, null]]);
  const [first, second] = await childrenOf(id);
  expect(first?.status).toBe('completed');
  await fleet.until('acme', second?.id ?? '', ({ status }) => status === 'waiting');
});

test('thirty children of one parent on three places: none is missed, and the parent holds no place meanwhile', async () => {
  const id = await submit({ numbers: Array.from({ length: 30 }, (_, n) => n) });
  expect((await fleet.ended('acme', id)).output).toEqual(Array.from({ length: 30 }, (_, n) => ['completed', n * 2, null]));
});
