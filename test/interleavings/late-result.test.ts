// A result may come while the worker that took the run over is about to make the call again: after it has read the ledger,
// before it writes its intent. It is no claim lost: the run goes on with the result, and the call is not made.
import { expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { fillToolResult } from '../../src/store/engine/ledger.ts';
import { sendSignal } from '../../src/store/engine/waits.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

let calls = 0;
/** Its answer is lost; asked about it, the callee says no while the answer arrives after all. */
const lost = defineTool({
  name: 'lost', description: 'Takes effect, then its answer is lost.', input: z.strictObject({}),
  run: () => { calls++; return Promise.reject(new Error('connection reset')); },
  lookup: async (_key, { tenant, run }) => {
    const place = { tenant, run, fence: 0n, claimedBy: randomUUID(), stepSeq: 1, path: '0' };
    await fillToolResult(fleet.base.engine.pool, place, { status: 'succeeded', response: { json: '"late"', blob: null }, meta: '{}', errorCode: null, errorMessage: null, durationMs: 1 });
    return 'not_applied';
  },
});
const machine = defineMachine({
  name: 'asking', version: 1, input: z.strictObject({}), start: 'go', tools: [lost], remembers: false,
  steps: { go: async (step: Step) => step.done(await step.tool('lost', {})) },
});
const stack = await useStack();
const fleet = await startFleet(stack, [machine]);
await fleet.worker();

test('a result that comes just before the call is made again ends the matter', async () => {
  const { id } = await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'asking', input: {} });
  await fleet.until('acme', id, (row) => row.status === 'waiting');
  await sendSignal(fleet.base.engine.pool, { tenant: 'acme', run: id, user: undefined, id: randomUUID(), name: 'look again', payload: '1', sentBy: 'key:1', idempotencyKey: undefined });
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', output: 'late' });
  expect(calls).toBe(1);
});
