// A worker of two places never moves three runs at once, however the runs come to it: one by one while it is idle, when the run
// is taken before its wake-up is there, and many at once.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { pause } from '../../src/clock.ts';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

let inside = 0;
let most = 0;
const brief = defineMachine({
  name: 'brief', version: 1, input: z.strictObject({}), start: 'work', remembers: false,
  steps: { work: async (step: Step<object>) => { most = Math.max(most, ++inside); await pause(30); inside--; return step.done(null); } },
});
const stack = await useStack();
const fleet = await startFleet(stack, [brief]);
const submit = async (): Promise<string> => (await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'brief', input: {} })).id;

test('a worker of two places has never more than two runs in hand', async () => {
  await fleet.worker({ concurrency: 2 });
  for (let round = 0; round < 12; round++) {
    const ids: string[] = [];
    for (let i = 0; i < 5; i++) ids.push(await submit()); // each comes while the one before is on its way
    if (round % 6 === 5) ids.push(...await Promise.all(Array.from({ length: 20 }, submit)));
    await Promise.all(ids.map((id) => fleet.ended('acme', id)));
  }
  expect(most).toBe(2);
});
