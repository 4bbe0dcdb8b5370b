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

const stack = await useStack();
const redis = await startOwnRedis();
atFileEnd(() => redis.stop());
const fleet = await startFleet({ ...stack, env: { ...stack.env, REDIS_URL: redis.url } }, [machine]);
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

test('with Redis away a run is accepted and runs', async () => {
  redis.freeze();
  const { id } = await submit(101);
  expect((await fleet.ended('acme', id)).status).toBe('completed');
  redis.thaw();
});
