// Wake-ups on a real Redis and real BullMQ: delayed offers come when they are due, whatever a person or a stranger puts into
// the queue is one more wake-up, long runs are shown, and nothing hangs or floods when Redis goes away.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, jest, test } from '@jest/globals';
import { Queue, type Job } from 'bullmq';
import type { Redis } from 'ioredis';
import { DELAYED_JOB_MS } from '../src/domain/tunables.ts';
import { makeLog, type Log } from '../src/log.ts';
import { boardQueues } from '../src/queue/board-queues.ts';
import { ReadyQueue } from '../src/queue/ready-queue.ts';
import { makeWakeUpWorker, type WakeUp, type WakeUpWorkerOptions } from '../src/queue/wake-up-worker.ts';
import { WakeUps } from '../src/queue/wake-ups.ts';
import { openRedis, redisKeys, redisReady, type RedisKeys } from '../src/redis.ts';
import type { Service } from '../src/service.ts';
import { startOwnRedis, type OwnRedis } from './support/own-redis.ts';
import { signalList } from './support/signal-list.ts';

const log = makeLog('silent', 'test');
let server: OwnRedis;
let fast: Redis;
let keys: RedisKeys;
let wakeUps: WakeUps;
let queue: Queue;
let installation = 0;
const services: Service[] = [];

beforeAll(async () => {
  server = await startOwnRedis();
  fast = openRedis(server.url, 'fast', log);
  await redisReady(fast);
});
afterAll(async () => {
  fast.disconnect();
  await server.stop();
});
beforeEach(() => {
  keys = redisKeys(`t${++installation}`);
  wakeUps = new WakeUps({ redis: fast, keys, pool: 'agents', log });
  queue = new Queue('wake-agents', { connection: server.client, prefix: keys.bull, skipMetasUpdate: true });
});
afterEach(async () => {
  for (const service of services.splice(0)) await service.stop();
});

async function startWorker(more: Partial<WakeUpWorkerOptions>): Promise<Service> {
  const worker = makeWakeUpWorker({
    url: server.url, keys, pool: 'agents', concurrency: 2, log, drainMs: 5_000,
    onWakeUp: async () => undefined, onDelayed: async () => 'offer', ...more,
  });
  services.push(worker);
  await worker.start();
  return worker;
}

describe('delayed offers', () => {
  test('come when due, name their run, and go on as a wake-up', async () => {
    const offered = signalList<string>();
    const woken = signalList<number>();
    await startWorker({ onDelayed: async (tenant, run) => { offered.push(`${tenant}/${run}`); return 'offer'; }, onWakeUp: async () => { woken.push(1); } });
    const before = performance.now();
    await wakeUps.offerLater({ tenant: 'a', run: 'run-1' }, 150);
    expect(await offered.next()).toBe('a/run-1');
    const passedMs = performance.now() - before;
    expect(passedMs).toBeGreaterThanOrEqual(145);
    expect(passedMs).toBeLessThan(600); // BullMQ rounds its waits up to whole seconds where it does not know Redis' version
    await woken.next();
  });

  test('one that is early is delayed again by the difference', async () => {
    const asked = signalList<number>();
    let early = true;
    await startWorker({ onDelayed: async () => {
      asked.push(performance.now());
      const verdict = early ? { againInMs: 200 } : 'offer';
      early = false;
      return verdict;
    } });
    await wakeUps.offerLater({ tenant: 'a', run: 'run-1' }, 10);
    const [first, second] = [await asked.next(), await asked.next()];
    expect(second - first).toBeGreaterThanOrEqual(195);
  });

  test('one that a clock standing ahead has put too far off is removed, one that may lie there stays', async () => {
    await wakeUps.offerLater({ tenant: 'a', run: 'run-1' }, DELAYED_JOB_MS);
    const now = Date.now;
    jest.spyOn(Date, 'now').mockImplementation(() => now() + 600_000);
    await wakeUps.offerManyLater([{ tenant: 'a', run: 'run-2', delayMs: 10 }, { tenant: 'a', run: 'run-3', delayMs: 300 }]);
    jest.restoreAllMocks();
    expect(await wakeUps.counts()).toMatchObject({ delayed: 3 });
    expect(await wakeUps.dropStrays()).toBe(2);
    expect((await queue.getDelayed()).map(({ data }) => (data as { run: string }).run)).toEqual(['run-1']);
    expect(await wakeUps.dropStrays()).toBe(0);
  });

  test('one that is late (no worker was there) comes at once', async () => {
    await wakeUps.offerLater({ tenant: 'a', run: 'run-1' }, 20);
    await new Promise((resolve) => { setTimeout(resolve, 60); });
    const offered = signalList<string>();
    await startWorker({ onDelayed: async (_, run) => { offered.push(run); return 'offer'; } });
    expect(await offered.next()).toBe('run-1');
  });

  test('the same run may wait again and again: no job is silently dropped', async () => {
    const offered = signalList<string>();
    await startWorker({ onDelayed: async (_, run) => { offered.push(run); return 'offer'; } });
    for (let i = 0; i < 3; i++) {
      await wakeUps.offerLater({ tenant: 'a', run: 'run-1' }, 5);
      expect(await offered.next()).toBe('run-1');
    }
    await Promise.all([1, 2, 3].map(() => wakeUps.offerLater({ tenant: 'a', run: 'run-1' }, 60_000)));
    expect(await wakeUps.counts()).toMatchObject({ delayed: 3 });
  });
});

describe('wake-ups', () => {
  test('an offered run wakes a worker that takes it', async () => {
    const ready = new ReadyQueue({ redis: fast, wakeUps, keys, pool: 'agents' });
    const taken = signalList<string>();
    await startWorker({ onWakeUp: async () => { for (let one = await ready.take(); one; one = await ready.take()) taken.push(one.run); } });
    await ready.offer({ tenant: 'a', run: 'run-1', order: 1 });
    expect(await taken.next()).toBe('run-1');
  });

  test('an offer has an idle worker look before its wake-up is there', async () => {
    const lost = openRedis(server.url, 'fast', log);
    await redisReady(lost);
    const unheard = new WakeUps({ redis: lost, keys, pool: 'agents', log });
    lost.disconnect(); // no wake-up is ever added
    const ready = new ReadyQueue({ redis: fast, wakeUps: unheard, keys, pool: 'agents' });
    const idle = openRedis(server.url, 'blocking', log);
    const woken = idle.bzpopmin(queue.toKey('marker'), 0); // as BullMQ's own workers wait
    await ready.offer({ tenant: 'a', run: 'run-1', order: 1 });
    expect(await woken).not.toBeNull();
    idle.disconnect();
    expect((await wakeUps.counts()).waiting).toBe(0);
  });

  test('a fetch waits for what is asked of the worker before it', async () => {
    const [fetches, woken] = [signalList<() => void>(), signalList<number>()];
    await startWorker({ beforeFetch: () => new Promise((resolve) => { fetches.push(resolve); }), onWakeUp: async () => { woken.push(1); } });
    const first = await fetches.next(); // BullMQ looks once before it waits
    await wakeUps.ring(1);
    expect((await wakeUps.counts()).waiting).toBe(1);
    first();
    (await fetches.next())(); // it looks for more before it begins
    await woken.next();
  });

  test.each<[string, string, unknown, object]>([
    ['another name', 'whatever', { tenant: 'a', run: 'run-1' }, {}],
    ['no data', 'wake-up', null, {}],
    ['odd data', 'offer', ['run'], {}],
    ['a number for a run', 'offer', { tenant: 'a', run: 7 }, {}],
    ['the highest priority', 'wake-up', {}, { priority: 1 }],
    ['a negative priority', 'wake-up', {}, { priority: -5 }],
    ['attempts of its own', 'wake-up', {}, { attempts: 5 }],
  ])('a job added by hand with %s is one more wake-up', async (_, name, data, opts) => {
    const woken = signalList<number>();
    const onDelayed = jest.fn<WakeUpWorkerOptions['onDelayed']>();
    await startWorker({ onWakeUp: async () => { woken.push(1); }, onDelayed });
    await queue.add(name, data, opts);
    await woken.next();
    expect(onDelayed).not.toHaveBeenCalled();
  });

  test('a person may promote, retry and remove: each is at most one more wake-up', async () => {
    const woken = signalList<number>();
    let fail = true;
    await startWorker({ onWakeUp: async () => { woken.push(1); if (fail) { fail = false; throw new Error('store is down'); } } });
    const failed = signalList<Job>();
    const events = setInterval(() => { void queue.getFailed().then(([job]) => { if (job) failed.push(job); }); }, 20);
    await wakeUps.ring(1);
    await woken.next();
    const job = await failed.next();
    clearInterval(events);
    await job.retry();
    await woken.next();
    await wakeUps.offerLater({ tenant: 'a', run: 'run-1' }, 60_000);
    const [delayed] = await queue.getDelayed();
    await delayed?.promote();
    await woken.next();
    await wakeUps.offerLater({ tenant: 'a', run: 'run-1' }, 60_000);
    await (await queue.getDelayed())[0]?.remove();
    expect(await wakeUps.counts()).toMatchObject({ delayed: 0 });
  });

  test('finished wake-ups are kept in a bounded number, and so are events', async () => {
    let woken = 0;
    await startWorker({ concurrency: 20, onWakeUp: async () => { woken++; } });
    await wakeUps.ring(400);
    await eventually(async () => woken === 400 && (await queue.getJobCounts('active'))['active'] === 0);
    expect((await queue.getJobCounts('completed'))['completed']).toBe(100);
    expect(await server.client.xlen(`${keys.bull}:wake-agents:events`)).toBeLessThan(500);
  });
});

describe('what the board shows', () => {
  const showing = (body: (wakeUp: WakeUp) => Promise<void>) => startWorker({ onWakeUp: body });

  test('a run that lasts is written into its wake-up, with its progress and its end', async () => {
    const end = signalList<number>();
    await showing(async (wakeUp) => {
      wakeUp.show({ run: 'run-1', tenant: 'a', agent: 'support', status: 'running', progress: 0 });
      wakeUp.show({ run: 'run-1', tenant: 'a', agent: 'support', status: 'running', progress: 40 });
      await end.next();
      wakeUp.show({ run: 'run-1', tenant: 'a', agent: 'support', status: 'completed', progress: 100 });
    });
    await wakeUps.ring(1);
    const board = boardQueues({ redis: fast, keys, pools: ['agents'], sources: ['crm'], log });
    expect(board.queues.map(({ name }) => name)).toEqual(['wake-agents', 'intake-crm']);
    const shown = board.queues[0] as Queue;
    await eventually(async () => (await shown.getActive())[0]?.data.progress === 40);
    end.push(1);
    await eventually(async () => (await shown.getCompleted())[0]?.data.status === 'completed');
    await board.close();
  });

  test('short runs of a chain leave no trace, a long one after them does', async () => {
    const end = signalList<number>();
    await showing(async (wakeUp) => {
      for (let i = 0; i < 8; i++) {
        wakeUp.show({ run: `short-${i}` });
        await new Promise((resolve) => { setTimeout(resolve, 50); });
      }
      const [job] = await queue.getActive();
      end.push(Object.keys(job?.data ?? { none: 1 }).length);
      wakeUp.show({ run: 'long' });
      await eventually(async () => (await queue.getActive())[0]?.data.run === 'long');
      end.push(1);
    });
    await wakeUps.ring(1);
    expect(await end.next()).toBe(0);
    await end.next();
  });
});

describe('stopping', () => {
  test('tells the wake-ups in hand and waits for them', async () => {
    const began = signalList<number>();
    let ended = false;
    const worker = await startWorker({ onWakeUp: ({ signal }) => new Promise((resolve) => {
      signal.addEventListener('abort', () => setTimeout(() => { ended = true; resolve(); }, 50));
      began.push(1);
    }) });
    await wakeUps.ring(1);
    await began.next();
    await worker.stop();
    expect(ended).toBe(true);
    await worker.stop();
  });

  test('is safe when never started', async () => {
    await makeWakeUpWorker({ url: 'redis://127.0.0.1:1', keys, pool: 'x', concurrency: 1, log, drainMs: 10, onWakeUp: async () => undefined, onDelayed: async () => 'offer' }).stop();
  });

  test('an idle worker stops quickly', async () => {
    const worker = await startWorker({});
    await eventually(async () => (await queue.getWorkersCount()) > 0);
    const before = performance.now();
    await worker.stop();
    expect(performance.now() - before).toBeLessThan(2_000);
  });

  test('does not hang on a run that never ends, nor on a Redis that is frozen', async () => {
    const began = signalList<number>();
    const worker = await startWorker({ drainMs: 200, onWakeUp: () => new Promise(() => { began.push(1); }) });
    await wakeUps.ring(1);
    await began.next();
    server.freeze();
    const before = performance.now();
    try {
      await worker.stop();
    } finally {
      server.thaw();
    }
    expect(performance.now() - before).toBeLessThan(1_500);
  });

  test('does not hang on a Redis that was never there', async () => {
    const worker = makeWakeUpWorker({ url: 'redis://127.0.0.1:1', keys, pool: 'agents', concurrency: 1, log, drainMs: 200, onWakeUp: async () => undefined, onDelayed: async () => 'offer' });
    await worker.start();
    const before = performance.now();
    await worker.stop();
    expect(performance.now() - before).toBeLessThan(3_000);
  });
});

describe('without Redis', () => {
  test('calls neither reject nor wait long, and the log is not flooded', async () => {
    const lines: string[] = [];
    const heard = { warn: (_: object, text: string) => { lines.push(text); } } as unknown as Log;
    const away = openRedis('redis://127.0.0.1:1', 'fast', heard);
    const lost = new WakeUps({ redis: away, keys, pool: 'agents', log: heard });
    const before = performance.now();
    await Promise.all(Array.from({ length: 200 }, () => lost.ring(1)));
    await lost.offerLater({ tenant: 'a', run: 'run-1' }, 10);
    await expect(lost.counts()).rejects.toThrow();
    await lost.close();
    expect(performance.now() - before).toBeLessThan(2_500);
    expect(lines.length).toBeGreaterThan(0);
    expect(lines.length).toBeLessThan(12);
    away.disconnect();
  });

  test('a queue made while Redis does not answer works once it does', async () => {
    const late = openRedis(server.url, 'fast', log);
    const lateWakeUps = new WakeUps({ redis: late, keys, pool: 'agents', log });
    await lateWakeUps.ring(1); // not connected yet: lost, and said so
    expect(await wakeUps.counts()).toMatchObject({ waiting: 0 });
    await redisReady(late);
    await lateWakeUps.ring(1);
    expect(await wakeUps.counts()).toMatchObject({ waiting: 1 });
    late.disconnect();
  });

  test('after FLUSHALL a worker goes on', async () => {
    const woken = signalList<number>();
    await startWorker({ onWakeUp: async () => { woken.push(1); } });
    await wakeUps.ring(1);
    await woken.next();
    await server.client.flushall();
    await wakeUps.ring(1);
    await woken.next();
  });
});

async function eventually(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => { setTimeout(resolve, 20); });
}
