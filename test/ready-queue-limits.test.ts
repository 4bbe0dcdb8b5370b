// Limits of an agent or a key in the ready queue, on a real Redis: a run whose limit is full is set aside when its turn comes,
// holds up nobody meanwhile, and comes back in order when a slot of that limit is free.
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type { Redis } from 'ioredis';
import { ASIDE_MAX, LEASE_MS } from '../src/domain/tunables.ts';
import { makeLog } from '../src/log.ts';
import { ReadyQueue, type Offer, type Taken } from '../src/queue/ready-queue.ts';
import { WakeUps } from '../src/queue/wake-ups.ts';
import { openRedis, redisKeys, redisReady } from '../src/redis.ts';
import { startOwnRedis, type OwnRedis } from './support/own-redis.ts';

const log = makeLog('silent', 'test');
let server: OwnRedis;
let fast: Redis;
let ready: ReadyQueue;
let installation = 0;
let submitted = 0;

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
  const keys = redisKeys(`t${++installation}`);
  ready = new ReadyQueue({ redis: fast, wakeUps: new WakeUps({ redis: fast, keys, pool: 'agents', log }), keys, pool: 'agents' });
});

const runs = (tenant: string, count: number, more: Partial<Offer> = {}): Offer[] =>
  Array.from({ length: count }, () => ({ tenant, run: `run-${String(++submitted).padStart(6, '0')}`, order: submitted, ...more }));

const takeAll = async (): Promise<Taken[]> => {
  const all: Taken[] = [];
  for (let taken = await ready.take(); taken; taken = await ready.take()) all.push(taken);
  return all;
};

async function untilTaken(): Promise<Taken> {
  for (;;) {
    const taken = await ready.take();
    if (taken) return taken;
  }
}

const agent = (most: number): Partial<Offer> => ({ limits: `${most} agent:slow` });

test('a run whose limit is full is set aside and holds up nobody; a settle brings the next back, in order', async () => {
  const slow = runs('a', 4, agent(1));
  await ready.offerMany([...slow, ...runs('a', 3), ...runs('b', 1)]);
  const taken = await takeAll();
  expect(taken.map(({ run, limits }) => [run === slow[0]?.run, limits])).toEqual(expect.arrayContaining([[true, '1 agent:slow']]));
  expect(taken).toHaveLength(5); // one of the slow ones, all others
  expect(await ready.depth()).toMatchObject({ held: 3 });
  expect(await ready.placeOf('a', String(slow[2]?.run))).toMatchObject({ held: 'aside', runsAhead: 1 });
  let last = taken.find(({ run }) => run === slow[0]?.run);
  for (const next of slow.slice(1)) {
    last = await ready.take({ ...(last as Taken), realMs: 5 });
    expect(last?.run).toBe(next.run);
    expect(await ready.take()).toBeUndefined();
  }
});

test('the slots of a limit never pass it, whatever else is full', async () => {
  await ready.offerMany([...runs('a', 20, { cap: 6, limits: '3 agent:slow' }), ...runs('a', 20, { cap: 6, limits: '3 agent:slow\n2 key:k 1' }), ...runs('a', 20, { cap: 6, limits: '2 key:k 1' })]);
  const inHand = await takeAll();
  const count = (name: string): number => inHand.filter(({ limits }) => limits.includes(name)).length;
  let served = inHand.length;
  while (inHand.length > 0) {
    expect([count('agent:slow') <= 3, count('key:k 1') <= 2, inHand.length <= 6]).toEqual([true, true, true]);
    const next = await ready.take({ ...(inHand.shift() as Taken), realMs: 5 });
    for (const one of next ? [next, ...await takeAll()] : await takeAll()) { inHand.push(one); served++; }
  }
  expect(served).toBe(60);
  expect(await ready.depth()).toEqual({ held: 0, tenants: 0 });
});

test('a run brought back for one limit and set aside for another leaves its place to the next', async () => {
  await ready.offerMany([...runs('a', 1, { limits: '1 key:k' }), ...runs('a', 1, { limits: '1 agent:slow' })]);
  const [ofKey, ofAgent] = await takeAll();
  const [both, next] = [...runs('a', 1, { limits: '1 agent:slow\n1 key:k' }), ...runs('a', 1, { limits: '1 agent:slow' })];
  await ready.offerMany([both as Offer, next as Offer]);
  expect(await takeAll()).toEqual([]);
  expect((await ready.take({ ...(ofAgent as Taken), realMs: 1 }))?.run).toBe(next?.run);
  expect(ofKey).toBeDefined();
});

test('a limit that is raised, or gone, counts from the next offer; an offer again of a run aside changes nothing', async () => {
  const slow = runs('a', 4, agent(1));
  await ready.offerMany(slow);
  expect(await takeAll()).toHaveLength(1);
  expect(await ready.offerMany(slow.slice(1))).toBe(0);
  expect(await takeAll()).toHaveLength(0);
  expect(await ready.offerMany(slow.slice(1).map((offer) => ({ ...offer, ...agent(2) })))).toBe(0);
  expect(await takeAll()).toHaveLength(1);
  await ready.offerMany(slow.slice(2).map((offer) => ({ ...offer, limits: '' })));
  expect(await takeAll()).toHaveLength(2);
  expect(await ready.depth()).toEqual({ held: 0, tenants: 0 });
});

test('a run removed from aside is gone, and one removed after it was brought back leaves its place', async () => {
  const slow = runs('a', 4, agent(1));
  await ready.offerMany(slow);
  const first = (await ready.take()) as Taken;
  expect(await ready.take()).toBeUndefined();
  expect(await ready.remove('a', String(slow[1]?.run))).toBe(true);
  await ready.settle({ ...first, realMs: 1 });
  expect(await ready.remove('a', String(slow[2]?.run))).toBe(true);
  expect((await takeAll()).map(({ run }) => run)).toEqual([slow[3]?.run]);
  expect(await ready.depth()).toEqual({ held: 0, tenants: 0 });
});

test('a slot is renewed with its run, and only one that is held', async () => {
  await ready.holdSlots('a', [{ run: 'here', leftMs: 1_000, limits: '2 agent:slow' }]);
  await ready.renew(['here', 'gone'].map((run) => ({ tenant: 'a', run, moreMs: 0, limits: '2 agent:slow' })));
  const slots = await server.client.zrange(`{t${installation}}:ready:agents:s:a/agent:slow`, '0', '-1', 'WITHSCORES');
  expect(slots).toEqual(['here', expect.any(String)]);
  expect(Number(slots[1]) - Number((await server.client.time())[0]) * 1_000).toBeGreaterThan(LEASE_MS - 2_000);
});

test('a slot that Postgres knows of is held, and runs out by itself', async () => {
  await ready.holdSlots('a', [{ run: 'elsewhere', leftMs: 60_000, limits: '1 agent:slow' }]);
  await ready.offerMany(runs('a', 1, agent(1)));
  expect(await ready.take()).toBeUndefined();
  await ready.freeSlots([{ tenant: 'a', run: 'elsewhere', limits: '1 agent:slow' }]);
  const taken = (await ready.take()) as Taken;
  await ready.offerMany(runs('a', 1, agent(1)));
  await ready.holdSlots('a', [{ run: taken.run, leftMs: 30, limits: '1 agent:slow' }]); // its worker dies
  expect(await ready.take()).toBeUndefined();
  await expect(untilTaken()).resolves.toMatchObject({ limits: '1 agent:slow' });
});

test('one call sets no more than so many aside, and the next goes on', async () => {
  await ready.holdSlots('a', [{ run: 'elsewhere', leftMs: 60_000, limits: '1 agent:slow' }]);
  const free = runs('a', 1, { order: 1e9 });
  await ready.offerMany([...runs('a', 2 * ASIDE_MAX, agent(1)), ...free]);
  expect([await ready.take(), await ready.take()].map((one) => one?.run)).toEqual([undefined, free[0]?.run]);
});

test('of a limit whose runs have ended nothing stays', async () => {
  await ready.offerMany(runs('a', 3, agent(1)));
  for (let taken = await ready.take(); taken;) taken = await ready.take({ ...taken, realMs: 5 });
  expect((await server.client.keys(`{t${installation}}:ready:agents:*`)).filter((key) => /:(a|l|s|q):|:aside$/.test(key))).toEqual([]);
});
