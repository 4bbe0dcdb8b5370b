// The take that goes out before its wake-up is there: its run is moved at once, by one place and no more, and whatever becomes
// of the wake-up it is settled.
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type { Redis } from 'ioredis';
import { makeLog } from '../src/log.ts';
import { ReadyQueue, type Settle, type Taken } from '../src/queue/ready-queue.ts';
import { WakeUps } from '../src/queue/wake-ups.ts';
import { openRedis, redisKeys, redisReady } from '../src/redis.ts';
import { EarlyTake, type Show } from '../src/run/early-take.ts';
import { signalList, type SignalList } from './support/signal-list.ts';
import { useStack } from './support/stack.ts';

interface Moving { readonly taken: Taken; readonly show: Show; leave(): void; fail(): void }

const stack = await useStack();
const log = makeLog('silent', 'test');
let redis: Redis;
let wakeUps: WakeUps;
let ready: ReadyQueue;
let moving: SignalList<Moving>;
let early: EarlyTake;
let installation = 0;

beforeAll(async () => {
  redis = openRedis(stack.redisUrl, 'fast', log);
  await redisReady(redis);
});
afterAll(() => { redis.disconnect(); });
beforeEach(() => {
  const keys = redisKeys(`${stack.redisPrefix}-${++installation}`);
  wakeUps = new WakeUps({ redis, keys, pool: 'agents', log });
  ready = new ReadyQueue({ redis, wakeUps, keys, pool: 'agents' });
  moving = signalList<Moving>();
  early = new EarlyTake(ready, (taken, show) => ({
    moved: new Promise<Settle>((resolve, reject) => { moving.push({ taken, show, leave: () => resolve({ ...taken, realMs: 5 }), fail: () => reject(new Error('its claim failed')) }); }),
    left: new Promise(() => undefined),
  }));
});

/** One at a time: whoever is taken second has seen the first one's slot given back. */
const offer = (...runs: string[]): Promise<number> => ready.offerMany(runs.map((run, order) => ({ tenant: 'a', run, order, cap: 1 })));
const nothing = (): void => undefined;

test('a run is moved before there is a wake-up, which goes on with it and shows where it is', async () => {
  await offer('run-1');
  await early.begin();
  const { taken, show, leave } = await moving.next();
  expect(taken.run).toBe('run-1');
  show({ run: 'run-1', step: 'first' });
  const shown: unknown[] = [];
  const adopted = early.adopt((data) => shown.push(data));
  show({ run: 'run-1', step: 'second' });
  leave();
  expect(await adopted?.moved).toMatchObject({ run: 'run-1', realMs: 5 });
  expect(shown).toEqual([{ run: 'run-1', step: 'first' }, { run: 'run-1', step: 'second' }]);
  expect(early.adopt(nothing)).toBeUndefined();
});

test('while its run is moved no second one is taken', async () => {
  await offer('run-1', 'run-2');
  (await early.begin())?.();
  await moving.next();
  expect(await early.begin()).toBeUndefined();
  expect(await ready.depth()).toMatchObject({ held: 1 });
});

test('without a wake-up it is settled when it ends, and the next may be taken', async () => {
  await offer('run-1', 'run-2');
  (await early.begin())?.();
  (await moving.next()).leave();
  let second: Moving | undefined;
  void moving.next().then((one) => { second = one; });
  while (!second) await early.begin(); // its limit is 1: nothing is to be had before the first is settled
  expect(second.taken.run).toBe('run-2');
});

test('a wake-up that goes on with a run whose own never came is replaced: it was meant for another', async () => {
  await offer('run-1');
  (await early.begin())?.();
  await moving.next();
  await ready.offerMany([{ tenant: 'b', run: 'run-2', order: 1 }]);
  await redis.del(wakeUps.waitKey); // BullMQ has handed out all there are
  void early.adopt(nothing);
  for (;;) if ((await wakeUps.counts()).waiting === 1) return;
});

test('one that fails tells the wake-up, and is in nobody\'s way', async () => {
  await offer('run-1');
  await early.begin();
  const first = await moving.next();
  const adopted = early.adopt(nothing);
  first.fail();
  await expect(adopted?.moved).rejects.toThrow('its claim failed');
  await ready.offer({ tenant: 'b', run: 'run-2', order: 1 });
  (await early.begin())?.();
  (await moving.next()).fail();
  await new Promise((resolve) => { setImmediate(resolve); });
  expect(early.adopt(nothing)).toBeUndefined();
});
