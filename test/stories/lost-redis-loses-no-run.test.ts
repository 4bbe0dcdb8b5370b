// Redis is emptied with runs queued, delayed and under way, and then stopped: every accepted run still ends, once.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { Maintenance } from '../../src/run/maintain.ts';
import { startFleet } from '../support/fleet.ts';
import { startOwnRedis } from '../support/own-redis.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

const started: number[] = [];
let letGo: () => void = () => undefined;
const gate = new Promise<void>((resolve) => { letGo = resolve; });
let third: () => void = () => undefined;
const threeStarted = new Promise<void>((resolve) => { third = resolve; });
const machine = defineMachine({
  name: 'held', version: 1, input: z.strictObject({ n: z.number() }), start: 'one', remembers: false,
  steps: {
    one: async (step: Step<{ n: number }>) => { if (started.push(step.input.n) === 3) third(); await gate; return step.next('two', null); },
    two: (step) => Promise.resolve(step.done('ok')),
  },
});

let isWiped = false;
const failing: number[] = [];
const flaky = defineMachine({
  name: 'flaky', version: 1, input: z.strictObject({ n: z.number() }), start: 'one', remembers: false, attempts: 100,
  steps: { one: (step: Step<{ n: number }>) => { if (step.input.n > 0 && !isWiped) return Promise.reject(new Error('not yet')); failing.push(step.input.n); return Promise.resolve(step.done('ok')); } },
});
const stack = await useStack();
const redis = await startOwnRedis();
atFileEnd(() => redis.stop());
const fleet = await startFleet({ ...stack, env: { ...stack.env, REDIS_URL: redis.url } }, [machine, flaky]);
const { base } = fleet;
const maintenance = new Maintenance({ engine: base.engine, queues: base.queues, metrics: base.metrics, log: base.log, fire: () => Promise.resolve(), remember: () => Promise.resolve(), index: () => Promise.resolve(0) });
const submit = (n: number, delayMs = 0): Promise<{ id: string }> => base.submit({ tenant: n % 2 ? 'acme' : 'globex', door: 'test', agent: 'held', input: { n }, delayMs });
const tenantOf = (n: number): string => (n % 2 ? 'acme' : 'globex');

test('FLUSHALL with runs queued, delayed and running loses none', async () => {
  await fleet.worker({ concurrency: 3 });
  const runs = await Promise.all(Array.from({ length: 30 }, (_, n) => submit(n, n % 5 === 0 ? 700 : 0)));
  await threeStarted; // the worker is full, the others are queued or delayed
  await redis.client.flushall();
  await maintenance.start();
  letGo();
  const ends = await Promise.all(runs.map(({ id }, n) => fleet.ended(tenantOf(n), id)));
  expect(ends.map((run) => run.status)).toEqual(runs.map(() => 'completed'));
  expect(started.toSorted((a, b) => a - b)).toEqual(runs.map((_, n) => n)); // each started once
  await maintenance.stop();
});

test('a delayed run and runs in retry back-off survive FLUSHALL, and each ends once', async () => {
  const make = (n: number, delayMs = 0): Promise<{ id: string }> => base.submit({ tenant: 'acme', door: 'test', agent: 'flaky', input: { n }, delayMs });
  const [delayed, ...backing] = await Promise.all([make(0, 1_500), make(1), make(2), make(3)]);
  for (const { id } of backing) await fleet.until('acme', id, ({ attempt, status }) => attempt >= 1 && status === 'queued');
  await redis.client.flushall();
  isWiped = true;
  expect(await fleet.run('acme', delayed.id)).toMatchObject({ status: 'queued', started_at: null });
  for (const { id } of [delayed, ...backing]) expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', output: 'ok' });
  expect(failing.toSorted()).toEqual([0, 1, 2, 3]);
});

test('with Redis away a run is accepted and runs', async () => {
  redis.freeze();
  const { id } = await submit(101);
  expect((await fleet.ended('acme', id)).status).toBe('completed');
  redis.thaw();
});
