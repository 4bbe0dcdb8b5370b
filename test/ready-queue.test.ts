// The ready queue on a real Redis: fair by slot time and weight, orderly within a tenant, bounded by caps, whole again after
// a wipe. Each test has an installation prefix of its own on this file's own server.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import type { Redis } from 'ioredis';
import { createRequire } from 'node:module';
import { IDLE_TENANT_MS, LEASE_MS, SWEEP_MS, WAKE_UP_WINDOW } from '../src/domain/tunables.ts';
import { makeLog } from '../src/log.ts';
import { orderOf, ReadyQueue, type Offer, type Settle, type Taken } from '../src/queue/ready-queue.ts';
import { WakeUps } from '../src/queue/wake-ups.ts';
import { openRedis, redisKeys, redisReady } from '../src/redis.ts';
import { startOwnRedis, type OwnRedis } from './support/own-redis.ts';

const log = makeLog('silent', 'test');
let server: OwnRedis;
let fast: Redis;
let wakeUps: WakeUps;
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
  wakeUps = new WakeUps({ redis: fast, keys, pool: 'agents', log });
  ready = new ReadyQueue({ redis: fast, wakeUps, keys, pool: 'agents' });
});

const runs = (tenant: string, count: number, more: Partial<Offer> = {}): Offer[] =>
  Array.from({ length: count }, () => ({ tenant, run: `run-${String(++submitted).padStart(6, '0')}`, order: submitted, ...more }));

/** One place that serves `count` runs one after the other; returns how many of each tenant. */
async function serve(count: number, realMs: (tenant: string) => number = () => 20): Promise<Record<string, number>> {
  const served: Record<string, number> = {};
  let last: Settle | undefined;
  for (let i = 0; i < count; i++) {
    const taken = await ready.take(last);
    last = undefined;
    if (!taken) break;
    served[taken.tenant] = (served[taken.tenant] ?? 0) + 1;
    last = { ...taken, realMs: realMs(taken.tenant) };
  }
  if (last) await ready.settle(last);
  return served;
}

const takeAll = async (): Promise<Taken[]> => {
  const all: Taken[] = [];
  for (let taken = await ready.take(); taken; taken = await ready.take()) all.push(taken);
  return all;
};

describe('offering', () => {
  test('an offer is idempotent and keeps the place of a held run', async () => {
    const [first, second] = runs('a', 2) as [Offer, Offer];
    await Promise.all([ready.offer(first), ready.offer(second), ready.offer(first)]);
    expect(await ready.offerMany([{ ...first, order: 1e9 }, second])).toBe(0);
    expect(await ready.depth()).toEqual({ held: 2, tenants: 1 });
    expect((await takeAll()).map(({ run }) => run)).toEqual([first.run, second.run]);
    expect(await ready.depth()).toEqual({ held: 0, tenants: 0 });
  });

  test('a removed run is not taken, and its tenant leaves with its last run', async () => {
    const [one, two] = runs('a', 2) as [Offer, Offer];
    await ready.offerMany([one, two]);
    expect(await ready.remove('a', one.run)).toBe(true);
    expect(await ready.remove('a', one.run)).toBe(false);
    expect(await ready.remove('b', two.run)).toBe(false);
    expect(await ready.depth()).toEqual({ held: 1, tenants: 1 });
    expect(await ready.remove('a', two.run)).toBe(true);
    expect(await ready.depth()).toEqual({ held: 0, tenants: 0 });
    expect(await ready.take()).toBeUndefined();
  });

  test('wake-ups are added for what is held, never beyond the window', async () => {
    await ready.offerMany(runs('a', 3));
    expect((await wakeUps.counts()).waiting).toBe(3);
    await ready.offerMany(runs('b', 500));
    expect((await wakeUps.counts()).waiting).toBe(WAKE_UP_WINDOW);
    await ready.ring();
    expect((await wakeUps.counts()).waiting).toBe(WAKE_UP_WINDOW);
  });

  test('lost wake-ups are replaced by ring', async () => {
    await ready.offerMany(runs('a', 5));
    await fast.del(wakeUps.waitKey);
    await ready.ring();
    expect((await wakeUps.counts()).waiting).toBe(5);
  });

  test('many callers at once each get a run of their own', async () => {
    await Promise.all(runs('a', 300).map((run) => ready.offer(run)));
    const taken = await Promise.all(Array.from({ length: 310 }, () => ready.take()));
    const ids = taken.flatMap((one) => (one ? [one.run] : []));
    expect(ids).toHaveLength(300);
    expect(new Set(ids).size).toBe(300);
  });
});

describe('fair shares', () => {
  test('weights 3:1 are slot time 3:1', async () => {
    await ready.offerMany([...runs('a', 400, { weight: 3 }), ...runs('b', 400)]);
    const served = await serve(400);
    expect(served['a']).toBeGreaterThanOrEqual(298);
    expect(served['a']).toBeLessThanOrEqual(302);
  });

  test('a tenant that was idle hoards nothing', async () => {
    await ready.offerMany(runs('b', 1_200));
    await serve(1_000);
    await ready.offerMany(runs('a', 300));
    const served = await serve(200);
    expect(Math.abs((served['a'] ?? 0) - (served['b'] ?? 0))).toBeLessThanOrEqual(4);
  });

  test('a tenant that worked before, then was idle, hoards nothing either', async () => {
    await ready.offerMany([...runs('a', 1), ...runs('b', 1_200)]);
    await serve(1_000);
    await ready.offerMany(runs('a', 300));
    const taken = await Promise.all(Array.from({ length: 60 }, () => ready.take())); // sixty places at once, nothing settled
    const ofA = taken.filter((one) => one?.tenant === 'a').length;
    expect(Math.abs(ofA - 30)).toBeLessThanOrEqual(2);
  });

  test('a refund of the time before it was idle is no credit afterwards', async () => {
    await ready.offerMany(runs('a', 11));
    await serve(1, () => 1_000); // a's runs usually cost a second
    const inHand = await takeAll();
    expect(inHand).toHaveLength(10);
    expect(inHand[0]?.chargedMs).toBeCloseTo(1_000, 0);
    await ready.offerMany(runs('b', 2_000));
    await serve(1_500, () => 20); // virtual time passes a's tag
    await ready.offerMany(runs('a', 400));
    for (const taken of inHand) await ready.settle({ ...taken, realMs: 1 }); // refunds of 10 s in all
    const served = await serve(200);
    expect(served['a']).toBeLessThanOrEqual(110);
  });

  test('long runs and short runs share the time, not the number', async () => {
    await ready.offerMany([...runs('long', 300), ...runs('short', 3_000)]);
    const served = await serve(1_100, (tenant) => (tenant === 'long' ? 200 : 20));
    expect(served['long']).toBeGreaterThanOrEqual(95);
    expect(served['long']).toBeLessThanOrEqual(105);
  });

  test('a run that goes on is charged while it goes on', async () => {
    await ready.offerMany([...runs('a', 100), ...runs('b', 100)]);
    const taken = await ready.take();
    const other = taken?.tenant === 'a' ? 'b' : 'a';
    await ready.renew([{ tenant: String(taken?.tenant), run: String(taken?.run), moreMs: 980, limits: '' }]);
    expect(await serve(45)).toEqual({ [other]: 45 });
  });

  test('a refused claim costs nothing and teaches nothing', async () => {
    await ready.offerMany(runs('a', 4));
    await serve(1, () => 500);
    const refused = await ready.take();
    await ready.settle({ ...(refused as Taken), realMs: 0 });
    expect((await ready.take())?.chargedMs).toBeCloseTo(500, 0);
  });

  test('a hundred tenants with one run each are all served before anyone is served twice', async () => {
    await ready.offerMany(runs('noisy', 500));
    await serve(10);
    await ready.offerMany(Array.from({ length: 100 }, (_, i) => runs(`t${i}`, 1)).flat());
    const served = await serve(110);
    expect(Object.keys(served).filter((tenant) => tenant !== 'noisy')).toHaveLength(100);
  });
});

describe('order within a tenant', () => {
  test('lower order first, whatever the order of the offers', async () => {
    const offers = runs('a', 20);
    await ready.offerMany([...offers].reverse());
    expect((await takeAll()).map(({ run }) => run)).toEqual(offers.map(({ run }) => run));
  });

  test('orderOf: higher priority first, then time; exact in a double', () => {
    const createdMs = Date.UTC(2026, 10, 24);
    const far = Date.UTC(2108, 0, 1);
    expect(orderOf(1, createdMs + 1e9)).toBeLessThan(orderOf(0, createdMs));
    expect(orderOf(0, createdMs)).toBeLessThan(orderOf(0, createdMs + 1));
    expect(orderOf(0, far)).toBeLessThan(orderOf(-1, 0));
    expect(orderOf(-1_000, far + 1) - orderOf(-1_000, far)).toBe(1);
    expect(orderOf(1_000, createdMs + 1) - orderOf(1_000, createdMs)).toBe(1);
    expect(orderOf(5_000, createdMs)).toBe(orderOf(1_000, createdMs));
    for (const order of [orderOf(-1_000, far), orderOf(1_000, 0)]) expect(Number.isSafeInteger(order)).toBe(true);
  });

  test('Redis keeps neighbouring orders of the extreme priorities apart', async () => {
    const at = Date.UTC(2026, 10, 24);
    const offers = [1_000, 0, -1_000].flatMap((priority) => [0, 1].map((later) => ({ tenant: 'a', run: `p${priority}+${later}`, order: orderOf(priority, at + later) })));
    await ready.offerMany([...offers].reverse());
    expect((await takeAll()).map(({ run }) => run)).toEqual(offers.map(({ run }) => run));
  });
});

describe('caps', () => {
  test('a full tenant is parked, a settle makes it ready', async () => {
    await ready.offerMany(runs('a', 10, { cap: 4 }));
    const inHand = await takeAll();
    expect(inHand).toHaveLength(4);
    expect(await ready.depth()).toEqual({ held: 6, tenants: 1 });
    await ready.settle({ ...(inHand[0] as Taken), realMs: 5 });
    expect(await takeAll()).toHaveLength(1);
  });

  test('settle and take in one call goes on with the same tenant', async () => {
    await ready.offerMany(runs('a', 10, { cap: 1 }));
    expect(Object.values(await serve(20))).toEqual([10]);
  });

  test('a refused claim with keepSlot leaves the holder its slot', async () => {
    await ready.offerMany(runs('a', 3, { cap: 1 }));
    const taken = (await ready.take()) as Taken;
    await ready.settle({ ...taken, realMs: 0, keepSlot: true });
    expect(await ready.take()).toBeUndefined();
    await ready.settle({ ...taken, chargedMs: 0, realMs: 0 });
    expect(await ready.take()).toBeDefined();
  });

  test('a full tenant costs the others nothing', async () => {
    await ready.offerMany([...runs('a', 10, { cap: 1 }), ...runs('b', 10)]);
    const taken = await takeAll();
    expect(taken.filter(({ tenant }) => tenant === 'a')).toHaveLength(1);
    expect(taken.filter(({ tenant }) => tenant === 'b')).toHaveLength(10);
  });

  test('slots Postgres knows of are held, and run out by themselves', async () => {
    await ready.holdSlots('a', [{ run: 'elsewhere', leftMs: 150, limits: '' }]);
    await ready.offerMany(runs('a', 2, { cap: 1 }));
    expect(await ready.take()).toBeUndefined();
    const taken = await untilTaken();
    expect(taken.tenant).toBe('a');
  });

  test('a renewed slot does not run out', async () => {
    await ready.offerMany(runs('a', 2, { cap: 1 }));
    await ready.holdSlots('a', [{ run: 'elsewhere', leftMs: 50, limits: '' }]);
    await ready.renew([{ tenant: 'a', run: 'elsewhere', moreMs: 0, limits: '' }]);
    await new Promise((resolve) => { setTimeout(resolve, 80); });
    await ready.ring();
    expect(await ready.take()).toBeUndefined();
  });

  test('renewing a run that holds no slot takes none', async () => {
    await ready.offerMany(runs('a', 3, { cap: 2 }));
    await ready.renew([{ tenant: 'a', run: 'gone', moreMs: 5, limits: '' }]);
    expect(await takeAll()).toHaveLength(2);
  });

  test('holding slots of a ready tenant parks it; a higher cap makes it ready', async () => {
    const offers = runs('a', 2, { cap: 2 });
    await ready.offerMany(offers);
    await ready.holdSlots('a', [{ run: 'x', leftMs: LEASE_MS, limits: '' }, { run: 'y', leftMs: LEASE_MS, limits: '' }]);
    expect(await ready.take()).toBeUndefined();
    await ready.offerMany(offers.map((offer) => ({ ...offer, cap: 3 })));
    expect(await takeAll()).toHaveLength(1);
    await ready.offerMany(runs('a', 1)); // no cap any more
    expect(await takeAll()).toHaveLength(2);
  });

  test('a cap of 0 holds everything until it is raised', async () => {
    const offers = runs('a', 2, { cap: 0 });
    await ready.offerMany(offers);
    await ready.ring();
    expect(await ready.take()).toBeUndefined();
    await ready.offerMany(offers.map((offer) => ({ ...offer, cap: 5 })));
    expect(await takeAll()).toHaveLength(2);
  });
});

async function untilTaken(): Promise<Taken> {
  for (;;) {
    const taken = await ready.take();
    if (taken) return taken;
  }
}

describe('loss', () => {
  test('after FLUSHALL it is not known, and a rebuild holds every run in order, with slots', async () => {
    const offers = runs('a', 50, { cap: 2 });
    expect(await ready.isKnown()).toBe(false);
    expect(await ready.rebuild(async () => { await ready.offerMany(offers); })).toBe(true);
    expect(await ready.isKnown()).toBe(true);
    const running = (await ready.take()) as Taken;
    await server.client.flushall();
    expect(await ready.isKnown()).toBe(false);
    expect(await ready.depth()).toEqual({ held: 0, tenants: 0 });
    const rebuilt = await ready.rebuild(async () => {
      await ready.holdSlots('a', [{ run: running.run, leftMs: LEASE_MS, limits: '' }]);
      expect(await ready.offerMany(offers.slice(1))).toBe(49);
    });
    expect(rebuilt).toBe(true);
    expect((await takeAll()).map(({ run }) => run)).toEqual([offers[1]?.run]);
    await ready.settle({ ...running, realMs: 30 });
    expect((await takeAll()).map(({ run }) => run)).toEqual([offers[2]?.run]);
  });

  test('a wipe in the middle of a rebuild is not taken for a rebuild', async () => {
    const rebuilt = await ready.rebuild(async () => {
      await ready.offerMany(runs('a', 1));
      await server.client.flushall();
    });
    expect(rebuilt).toBe(false);
    expect(await ready.isKnown()).toBe(false);
  });

  test('of two rebuilds the later one counts', async () => {
    let later: boolean | undefined;
    expect(await ready.rebuild(async () => { later = await ready.rebuild(async () => undefined); })).toBe(false);
    expect(later).toBe(true);
    expect(await ready.isKnown()).toBe(true);
  });

  test('scripts survive a Redis that has forgotten them', async () => {
    await ready.offerMany(runs('a', 1));
    await server.client.script('FLUSH');
    expect(await ready.take()).toBeDefined();
  });

  test('a tenant that stands nowhere is healed by the next offer', async () => {
    await ready.offerMany(runs('a', 1));
    await fast.del(`{t${installation}}:ready:agents:ready`);
    await ready.offerMany(runs('a', 1));
    expect(await takeAll()).toHaveLength(2);
  });
});

describe('keys', () => {
  test('all keys of a pool, BullMQ\'s too, lie in one cluster slot', async () => {
    const slotOf = createRequire(import.meta.url)('cluster-key-slot') as (key: string) => number;
    await ready.offerMany([...runs('a', 3, { cap: 1 }), ...runs('odd {tenant}:ready', 2), ...runs('b', 3, { limits: '1 key:{odd}:key' })]);
    await ready.take();
    await ready.take();
    await ready.rebuild(async () => undefined);
    await ready.take();
    await wakeUps.offerLater({ tenant: 'a', run: 'later' }, 60_000);
    const found = await server.client.keys(`{t${installation}}:*`);
    expect(found.length).toBeGreaterThan(10);
    expect(new Set(found.map(slotOf)).size).toBe(1);
    expect(await server.client.keys(`*t${installation}}*`)).toHaveLength(found.length);
  });

  test('an idle tenant is forgotten: what it leaves has an end', async () => {
    await ready.offerMany([...runs('a', 2, { cap: 5 }), ...runs('b', 2)]);
    const taken = await takeAll();
    for (const one of taken) await ready.settle({ ...one, realMs: 10 });
    const prefix = `{t${installation}}:ready:agents:`;
    const left = await server.client.keys(`${prefix}[qst]:*`);
    expect(left.sort()).toEqual([`${prefix}t:a`, `${prefix}t:b`]);
    for (const key of left) {
      const leftMs = await server.client.pttl(key);
      expect(leftMs).toBeGreaterThan(IDLE_TENANT_MS - 60_000);
      expect(leftMs).toBeLessThanOrEqual(IDLE_TENANT_MS);
    }
    await ready.offerMany(runs('a', 1));
    expect(await server.client.pttl(`${prefix}t:a`)).toBe(-1);
  });

  test('wipe leaves nothing of the pool', async () => {
    await ready.offerMany(runs('a', 5));
    await ready.wipe();
    expect(await server.client.keys(`{t${installation}}:ready:*`)).toEqual([]);
    expect(await ready.take()).toBeUndefined();
  });

  test('the numbers the scripts share with tunables are the same', () => {
    const head = readFileSync(new URL('../src/queue/lua/head.lua', import.meta.url), 'utf8');
    expect(head).toContain(`idleTenantMs = ${IDLE_TENANT_MS} `);
    expect(head).toContain(`asideMs = ${SWEEP_MS} `);
  });
});

test('a Redis that does not answer rejects within seconds and is used again afterwards', async () => {
  await ready.offerMany(runs('a', 2));
  server.freeze();
  try {
    await expect(ready.take()).rejects.toThrow();
  } finally {
    server.thaw();
  }
  await expect(untilTaken()).resolves.toMatchObject({ tenant: 'a' });
});
