// The one number a pool is scaled by counts a run from the moment it may start to its end, whoever holds it and whether that
// worker lives, and a wait from a minute before it is due. It reads 0 only where a worker has nothing to do. A run whose version
// no living worker has is counted apart; where no worker lives at all it is work like any other.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { parseId } from '../../src/ids.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { Gates, startControl } from '../support/control.ts';
import { useStack } from '../support/stack.ts';

const gates = new Gates();
const input = z.strictObject({ word: z.string() });
const life = defineMachine({
  name: 'life', version: 1, input, start: 'hold', remembers: false,
  steps: {
    hold: async (step: Step<{ word: string }>) => { await gates.pass(step.input.word, step.signal); return step.next('ask', null); },
    ask: async (step: Step<{ word: string }>) => { await step.waitForSignal('go'); return step.done('went'); },
  },
});
const nap = defineMachine({ name: 'nap', version: 1, input, start: 'nap', remembers: false, steps: { nap: async (step: Step<{ word: string }>) => { await step.wait(step.input.word === 'long' ? 3_600_000 : 50_000); return step.done(1); } } });

const stack = await useStack();
const { api, client, until, waits, ended } = await startControl(stack, [life, nap]);
const scale = async (): Promise<string> => {
  const { body } = await api.call<Record<'runnable' | 'running' | 'dueSoon' | 'work' | 'blocked', number>>('GET', '/metrics/scale?pool=agent');
  return `${body.runnable} runnable, ${body.running} running, ${body.dueSoon} soon: ${body.work}; ${body.blocked} blocked`;
};
const IDLE = '0 runnable, 0 running, 0 soon: 0; 0 blocked';
const submit = async (agent: string, word: string, startInMs = 0): Promise<string> => (await client.runs.create({ agent, input: { word }, ...(startInMs === 0 ? {} : { startAt: new Date(Date.now() + startInMs).toISOString() }) })).id;
/** A run of version 2, which no worker here has. */
const insert = (status: 'queued' | 'running', wakeAt: string | null): Promise<object[]> => api.fleet.rows(
  `INSERT INTO agent_runs (tenant_id, id, agent, version, pool, status, wake_at, claimed_by, request_hash, input, next_step) VALUES ('acme', gen_random_uuid(), 'life', 2, 'agent', $1::run_status, now() + $2::interval, CASE WHEN $1 = 'running' THEN gen_random_uuid() END, '\\xab', '{}', 'hold')`, [status, wakeAt]);
const clear = (): Promise<object[]> => api.fleet.rows(`UPDATE agent_runs SET status = 'cancelled', wait_reason = NULL, claimed_by = NULL, finished_at = now() WHERE version = 2 AND finished_at IS NULL`);

test('a run counts from the moment it may start until it has ended', async () => {
  await submit('life', 'in an hour', 3_600_000);
  expect(await scale()).toBe(IDLE);
  const soon = await submit('life', 'in 40 s', 40_000);
  expect(await scale()).toBe('0 runnable, 0 running, 1 soon: 1; 0 blocked');
  await client.runs.cancel(soon);
  const run = await submit('life', 'now');
  expect(await scale()).toBe('1 runnable, 0 running, 0 soon: 1; 0 blocked'); // no worker yet: this is what asks for one

  const worker = await api.fleet.worker();
  await gates.reached('now');
  expect(await scale()).toBe('0 runnable, 1 running, 0 soon: 1; 0 blocked');
  gates.open('now');
  await waits(run, 'signal');
  expect(await scale()).toBe(IDLE); // it waits for somebody, and needs no worker

  await worker.stop();
  await client.runs.signal(run, { name: 'go' });
  expect(await scale()).toBe('1 runnable, 0 running, 0 soon: 1; 0 blocked');
  await api.fleet.worker();
  await ended(run);
  expect(await scale()).toBe(IDLE);
  expect(await api.fleet.rows(`SELECT FROM agent_runs WHERE status = 'queued'`)).toHaveLength(1); // the one in an hour
});

test('a timer counts from a minute before it is over', async () => {
  const [long, short] = [await submit('nap', 'long'), await submit('nap', 'short')];
  await Promise.all([waits(long, 'timer'), waits(short, 'timer')]);
  expect(await scale()).toBe('0 runnable, 0 running, 1 soon: 1; 0 blocked');
  await api.fleet.rows(`UPDATE agent_runs SET wake_at = now() - interval '1 second', agent = 'life', version = 2 WHERE id = $1`, [parseId('run', short)]); // over, and its worker gone
  expect(await scale()).toBe('0 runnable, 0 running, 0 soon: 0; 1 blocked');
  await clear();
  await client.runs.cancel(long);
});

test('a run of a worker that died counts until somebody has it', async () => {
  await insert('running', null);
  expect(await scale()).toBe('0 runnable, 1 running, 0 soon: 1; 0 blocked');
  await clear();
});

test('a run whose version no living worker has is counted apart, unless no worker lives at all', async () => {
  await insert('queued', '-1 second');
  await insert('queued', '30 seconds');
  expect(await scale()).toBe('0 runnable, 0 running, 0 soon: 0; 2 blocked');
  const held = await submit('life', 'beside');
  await gates.reached('beside');
  expect(await scale()).toBe('0 runnable, 1 running, 0 soon: 1; 2 blocked');
  gates.open('beside');
  await until(held, ({ wait_reason }) => wait_reason === 'signal');
  await Promise.all(api.fleet.workers.map((worker) => worker.stop()));
  expect(await scale()).toBe('1 runnable, 0 running, 1 soon: 2; 0 blocked');
  await clear();
});
