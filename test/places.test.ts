// A worker's places: filled before there are wake-ups and no more than there are, each moving run after run; whatever becomes of a
// wake-up, no run is left lying for it, and whatever is moved is settled.
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type { Redis } from 'ioredis';
import { monoMs, pause } from '../src/clock.ts';
import { EARLY_TAKES, WAKE_UP_BACKOFF_MS, WAKE_UP_MS } from '../src/domain/tunables.ts';
import { makeLog } from '../src/log.ts';
import { ReadyQueue, type Settle, type Taken } from '../src/queue/ready-queue.ts';
import type { WakeUp } from '../src/queue/wake-up-worker.ts';
import { WakeUps } from '../src/queue/wake-ups.ts';
import { openRedis, redisKeys, redisReady } from '../src/redis.ts';
import { Places, type Show } from '../src/run/places.ts';
import { signalList, type SignalList } from './support/signal-list.ts';
import { useStack } from './support/stack.ts';

interface Moving { readonly run: string; readonly show: Show; end(): void; leave(): void; fail(): void }

const stack = await useStack();
const log = makeLog('silent', 'test');
let redis: Redis;
let ready: ReadyQueue;
let moving: SignalList<Moving>;
let moved: string[];
let isOpen: boolean;
let opening: () => Promise<void>;
let stopping: AbortController;
let installation = 0;

beforeAll(async () => {
  redis = openRedis(stack.redisUrl, 'fast', log);
  await redisReady(redis);
});
afterAll(() => { redis.disconnect(); });
beforeEach(() => {
  const keys = redisKeys(`${stack.redisPrefix}-${++installation}`);
  ready = new ReadyQueue({ redis, wakeUps: new WakeUps({ redis, keys, pool: 'agents', log }), keys, pool: 'agents' });
  moving = signalList<Moving>();
  moved = [];
  isOpen = true;
  opening = () => Promise.resolve();
  stopping = new AbortController();
});
afterEach(() => { stopping.abort(); });

function placesOf(count: number, queue: Pick<ReadyQueue, 'take' | 'takeAtOnce' | 'settle'> = ready): Places {
  const [{ signal }, seen, of] = [stopping, moving, moved]; // a test leaves runs under way
  const mayTake = (): boolean => isOpen && !signal.aborted;
  return new Places({
    ready: queue, count, stopping: signal, isOpen: mayTake, opens: async () => { await opening(); return mayTake(); },
    move: (taken: Taken, show) => {
      const { promise, resolve, reject } = Promise.withResolvers<Settle>();
      const left = Promise.withResolvers<undefined>();
      of.push(taken.run);
      seen.push({ run: taken.run, show, end: () => resolve({ ...taken, realMs: 5 }), leave: () => left.resolve(undefined), fail: () => reject(new Error('its claim failed')) });
      return { moved: promise, left: left.promise };
    },
  });
}
const named = (first: number, count: number): string[] => Array.from({ length: count }, (_, at) => `run-${first + at}`);
const offer = (runs: readonly string[], cap?: number): Promise<number> => ready.offerMany(runs.map((run, order) => ({ tenant: 'a', run, order, cap })));
const next = async (count: number): Promise<Moving[]> => { const some: Moving[] = []; while (some.length < count) some.push(await moving.next()); return some; };
const held = async (): Promise<number> => (await ready.depth()).held;

interface Woken { readonly answered: Promise<string>; readonly shown: unknown[]; isAnswered: boolean; stop(): void }
function wake(places: Places): Woken {
  const stop = new AbortController();
  const wakeUp: WakeUp = { show: (data) => { woken.shown.push(data); }, signal: stop.signal };
  const answered = places.serve(wakeUp).then(() => 'done', (error: Error) => error.message).finally(() => { woken.isAnswered = true; });
  const woken: Woken = { answered, shown: [], isAnswered: false, stop: () => stop.abort() };
  return woken;
}

test('a run is moved before there is a wake-up, which joins it, shows where it is, and is answered when there is no more to do', async () => {
  const places = placesOf(4);
  await offer(named(1, 1));
  await places.beforeFetch();
  const run = await moving.next();
  run.show({ run: 'run-1', step: 'first' });
  const woken = wake(places);
  await new Promise((resolve) => { setImmediate(resolve); });
  run.show({ run: 'run-1', step: 'second' });
  run.end();
  expect(await woken.answered).toBe('done');
  expect(woken.shown).toEqual([{ run: 'run-1', step: 'first' }, { run: 'run-1', step: 'second' }]);
  expect(moved).toEqual(['run-1']);
});

test('of a burst as many are taken as there are places, some at each fetch, and what is left is taken as places come free', async () => {
  const places = placesOf(EARLY_TAKES + 2);
  await offer(named(1, EARLY_TAKES + 4));
  await places.beforeFetch();
  expect(moved).toEqual(named(1, EARLY_TAKES));
  await places.beforeFetch();
  expect(moved).toEqual(named(1, EARLY_TAKES + 2));
  const [first, ...others] = await next(EARLY_TAKES + 2);
  await places.fill();
  expect(await held()).toBe(2); // no place is free
  first?.end();
  expect((await moving.next()).run).toBe(`run-${EARLY_TAKES + 3}`);
  others[0]?.leave(); // all that is left to do is its last commit: its place is free
  expect((await moving.next()).run).toBe(`run-${EARLY_TAKES + 4}`);
});

test('wake-ups join the places there are, the longest run first, and begin one only where there is none to join', async () => {
  const places = placesOf(3);
  await offer(named(1, 2));
  await places.beforeFetch();
  const runs = await next(2);
  const [first, second, third] = [wake(places), wake(places), wake(places)];
  expect(await third.answered).toBe('done'); // its own place found nothing
  for (const run of runs) run.show({ run: run.run });
  expect([first.shown, second.shown]).toEqual([[{ run: 'run-1' }], [{ run: 'run-2' }]]);
  await offer(named(3, 3));
  const fourth = wake(places);
  expect((await moving.next()).run).toBe('run-3');
  expect(fourth.isAnswered).toBe(false);
  expect(await held()).toBe(2);
});

test('a wake-up that joins a place which has just looked in vain has it look again', async () => {
  let late: Woken | undefined;
  const places = placesOf(1, {
    takeAtOnce: (most) => ready.takeAtOnce(most), settle: (settle) => ready.settle(settle),
    take: async (settle) => {
      const taken = await ready.take(settle);
      if (!taken && !late) { await offer(named(2, 1)); late = wake(places); await new Promise((resolve) => { setImmediate(resolve); }); }
      return taken;
    },
  });
  await offer(named(1, 1));
  await places.beforeFetch();
  (await moving.next()).end();
  expect((await moving.next()).run).toBe('run-2');
  expect(late?.isAnswered).toBe(false);
});

test('a wake-up is answered at the end of a run once it is a second old, or its worker stops, and its place goes on', async () => {
  const places = placesOf(2);
  await offer(named(1, 4));
  await places.beforeFetch();
  const [one, two] = await next(2);
  const [old, young] = [wake(places), wake(places)];
  await new Promise((resolve) => { setTimeout(resolve, WAKE_UP_MS + 10); });
  expect([old.isAnswered, young.isAnswered]).toEqual([false, false]);
  one?.end();
  expect(await old.answered).toBe('done');
  const three = await moving.next();
  expect(three.run).toBe('run-3');
  const again = wake(places);
  again.stop();
  three.end();
  expect(await again.answered).toBe('done');
  two?.end();
  expect(await young.answered).toBe('done');
});

test('while no place is free BullMQ is not asked for a second, unless one comes free or the worker stops', async () => {
  const places = placesOf(1);
  await offer(named(1, 1));
  const fullMs = monoMs();
  await places.beforeFetch();
  const run = await moving.next();
  await places.beforeFetch();
  expect(monoMs() - fullMs).toBeGreaterThanOrEqual(WAKE_UP_MS - 1);
  await places.beforeFetch(); // it has waited once: a place that stays full is shown and hears of delayed runs
  run.end();
  await places.ended();
  await offer(named(2, 1));
  await places.beforeFetch();
  const second = await moving.next();
  const freed = places.beforeFetch();
  second.end();
  expect(await Promise.race([freed.then(() => 'freed'), pause(WAKE_UP_MS - 100, stopping.signal).then(() => 'late')])).toBe('freed');
  await offer(named(3, 1));
  await places.fill();
  const stopped = places.beforeFetch();
  stopping.abort();
  await stopped;
  (await moving.next()).end();
  await places.ended();
  expect(moved).toEqual(named(1, 3));
});

test('a run that fails tells its wake-up, and its place rests', async () => {
  const places = placesOf(1);
  await offer(named(1, 2));
  await places.beforeFetch();
  const woken = wake(places);
  const failedMs = monoMs();
  (await moving.next()).fail();
  expect(await woken.answered).toBe('its claim failed');
  await places.fill();
  expect(await held()).toBe(1); // a store that is down is not asked without end
  await places.ended();
  expect(monoMs() - failedMs).toBeGreaterThanOrEqual(WAKE_UP_BACKOFF_MS - 1);
  await places.fill();
  expect((await moving.next()).run).toBe('run-2');
});

test('where nothing may be taken a place waits, and ends', async () => {
  const places = placesOf(2);
  isOpen = false;
  await offer(named(1, 2));
  await places.beforeFetch();
  const opened = Promise.withResolvers<void>();
  opening = () => opened.promise;
  const [first, second] = [wake(places), wake(places)];
  opened.resolve();
  expect(await Promise.all([first.answered, second.answered])).toEqual(['done', 'done']);
  expect([moved, await held()]).toEqual([[], 2]);
  isOpen = true;
  wake(places);
  expect((await moving.next()).run).toBe('run-1');
});

test('what it moved is settled when it ends: the slot of a limit is another run\'s', async () => {
  const places = placesOf(2);
  await offer(named(1, 2), 1);
  await places.beforeFetch();
  const first = await moving.next();
  expect(await held()).toBe(1);
  first.end();
  expect((await moving.next()).run).toBe('run-2');
});
