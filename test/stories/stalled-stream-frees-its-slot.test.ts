// A stream that is silent, or that only pings, ends after the idle time; one that trickles for ever ends at the turn's deadline. The
// run goes on with another attempt, the lost one is booked once, and the worker's slot serves others meanwhile.
import { beforeEach, expect, test } from '@jest/globals';
import { makeAnthropicModel } from '../../src/model/anthropic.ts';
import { assembleExecution } from '../../workers/assemble.ts';
import { agent, ledgerOf } from '../support/agents.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const stack = await useStack();
// Each agent has a model, and so a breaker, of its own.
const fleet = await startFleet(stack, [agent(), agent({ name: 'trickler', model: 'claude-sonnet-5-5' }), agent({ name: 'pair', model: 'claude-opus-5-5' })]);
const { models } = assembleExecution(fleet.base, fleet.limits, { recall: () => Promise.reject(new Error('no memory')), cite: () => Promise.resolve(), searchDocuments: () => Promise.reject(new Error('no documents')) }, 'w');
const model = makeAnthropicModel({ apiKey: 'stub', baseUrl: fleet.stub.url, log: fleet.base.log, contentIdleMs: 2_000, turnDeadlineMs: 4_000 });
await fleet.worker({ models: { ...models, model }, concurrency: 1 });
beforeEach(() => fleet.stub.reset());
const say = async (message: string, name = 'talker'): Promise<string> => (await fleet.base.submit({ tenant: 'acme', door: 'test', agent: name, input: { message } })).id;

test.each(['stall_with_pings', 'stall_in_silence'] as const)('%s: the attempt ends after the idle time, the next one is whole', async (kind) => {
  fleet.stub.addFault({ kind, when: kind });
  const id = await say(`Hello ${kind}`);
  const run = await fleet.ended('acme', id);
  expect(run).toMatchObject({ status: 'completed', output: { answer: `You said: Hello ${kind}` } });
  const [stalled, whole] = await ledgerOf(fleet, id);
  expect([stalled, whole]).toMatchObject([{ status: 'booked', error_code: 'model_stalled', attempt: 1 }, { status: 'settled', attempt: 2 }]);
  expect(stalled?.cost).toBe(stalled?.reserved);
  expect(Number(run.cost_micro_usd)).toBe((stalled?.cost ?? 0) + (whole?.cost ?? 0));
});

test('content that trickles resets the idle time, and meets the deadline of the turn', async () => {
  fleet.stub.addFault({ kind: 'trickle', when: 'trickle', delayMs: 100 });
  const id = await say('Hello trickle', 'trickler');
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed' });
  const [late] = await fleet.rows<{ error_code: string; ms: number }>(`SELECT error_code, duration_ms::float8 AS ms FROM model_calls WHERE run_id = $1 ORDER BY attempt`, [id]);
  expect(late?.error_code).toBe('model_stalled');
  expect(late?.ms).toBeGreaterThan(3_800);
});

test('the only slot is free while the run waits for its next attempt', async () => {
  fleet.stub.addFault({ kind: 'stall_with_pings', when: 'the first one' }, 2);
  const first = await say('the first one', 'pair');
  const second = await say('the other', 'pair');
  const [last, other] = [await fleet.ended('acme', first), await fleet.ended('acme', second)];
  expect([last.status, other.status]).toEqual(['completed', 'completed']);
  expect(other.finished_at?.getTime()).toBeLessThan(last.finished_at?.getTime() ?? 0); // it came later and had the slot meanwhile
});
