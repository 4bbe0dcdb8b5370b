// A run submitted again under its key is the same run, runs once, and another request under that key is refused.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import type { SubmitRequest } from '../../src/run/submit-run.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

let ran = 0;
const count = defineMachine({
  name: 'count', version: 1, input: z.strictObject({ n: z.number() }), start: 'one', remembers: false,
  steps: {
    one: async (step) => { ran++; const doubled = await step.record('double', () => Promise.resolve(step.input.n * 2)); return step.next('two', { doubled }); },
    two: (step: Step<{ n: number }, { doubled: number }>) => Promise.resolve(step.done({ result: step.data.doubled })),
  },
});
const stack = await useStack();
const fleet = await startFleet(stack, [count]);
const request: SubmitRequest = { tenant: 'acme', door: 'test', agent: 'count', input: { n: 21 }, user: 'u', idempotencyKey: 'k1' };

test('the same key twice, at once and later, is one run that runs once', async () => {
  const [a, b] = await Promise.all([fleet.base.submit(request), fleet.base.submit(request)]);
  expect(a.id).toBe(b.id);
  expect([a.created, b.created].filter(Boolean)).toHaveLength(1);
  await fleet.worker();
  const run = await fleet.ended('acme', a.id);
  expect(run).toMatchObject({ error_message: null, status: 'completed', output: { result: 42 }, step_seq: 2 });
  const again = await fleet.base.submit(request);
  expect(again).toEqual({ id: a.id, created: false, status: 'completed' });
  expect(ran).toBe(1);
});

test('another body or another user under the key is refused and changes nothing', async () => {
  const rows = async (): Promise<unknown> => (await fleet.base.engine.pool.query('SELECT count(*)::int AS n FROM agent_runs')).rows[0];
  const before = await rows();
  await expect(fleet.base.submit({ ...request, input: { n: 22 } })).rejects.toMatchObject({ code: 'idempotency_conflict' });
  await expect(fleet.base.submit({ ...request, user: 'v' })).rejects.toMatchObject({ code: 'idempotency_conflict' });
  expect(await rows()).toEqual(before);
});

test('the same key of another tenant is another run', async () => {
  const other = await fleet.base.submit({ ...request, tenant: 'globex' });
  expect(other.created).toBe(true);
  expect((await fleet.ended('globex', other.id)).status).toBe('completed');
});
