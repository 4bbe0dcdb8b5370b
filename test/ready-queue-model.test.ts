// The ready queue against a pure model of its rules: random calls from fixed seeds go to both, and after each call the answers,
// the depth and the places of runs must be the same, with the invariants of fair queueing. A failure prints its seed, the first
// one also the fewest calls that still fail: to look for those of every seed would take a quarter of an hour.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type { Redis } from 'ioredis';
import { monoMs, pause } from '../src/clock.ts';
import { LEASE_MS } from '../src/domain/tunables.ts';
import { makeLog } from '../src/log.ts';
import { ReadyQueue, type Offer, type Settle, type Taken } from '../src/queue/ready-queue.ts';
import { WakeUps } from '../src/queue/wake-ups.ts';
import { openRedis, redisKeys, redisReady } from '../src/redis.ts';
import { pick, seeded } from './faults/seed.ts';
import { ReadyQueueModel } from './support/ready-queue-model.ts';
import { useStack } from './support/stack.ts';

const SEEDS = Array.from({ length: 40 }, (_, at) => at + 1);
const CALLS = 150;
const TENANTS = ['a', 'b', 'c', 'd', 'e'] as const;
const RUNS_EACH = 25;

const stack = await useStack();
const log = makeLog('silent', 'test');
let redis: Redis;
let installation = 0;
beforeAll(async () => {
  redis = openRedis(stack.redisUrl, 'fast', log);
  await redisReady(redis);
});
afterAll(() => { redis.disconnect(); });

/** A call as data. `at` names the at-th run in hand, whatever that is when the call comes, so that calls can be dropped. */
type Call =
  | { do: 'offer'; offers: Offer[] }
  | { do: 'take'; takes: number; settles: { at: number; realMs: number; keepSlot: boolean }[] }
  | { do: 'renew'; at: number; moreMs: number }
  | { do: 'hold'; tenant: string; runs: string[]; slot: 'lasting' | 'brief' }
  | { do: 'remove'; tenant: string; run: string }
  | { do: 'ring' }
  | { do: 'wipe' };

function randomCalls(seed: number): Call[] {
  const random = seeded(seed);
  const whole = (below: number): number => Math.floor(random() * below);
  const usual = TENANTS.map((tenant) => ({ tenant, weight: pick([1, 1, 3, 0.5, 7], random), cap: pick([undefined, undefined, 1, 2, 4], random), usualMs: pick([5, 50, 500], random) }));
  const runOf = (tenant: string): string => `${tenant}-${whole(RUNS_EACH)}`;
  const offer = (): Offer => {
    const { tenant, weight, cap } = pick(usual, random);
    const other = random() < 0.05 ? { weight: pick([1, 3], random), cap: pick([undefined, 1, 3], random) } : {};
    return { tenant, run: runOf(tenant), order: whole(50), weight, cap, ...other };
  };
  const settle = () => ({ at: whole(100), realMs: random() < 0.15 ? 0 : 1 + whole(pick([20, 200, 2_000], random)), keepSlot: random() < 0.1 });
  const call = (): Call => {
    const { tenant } = pick(usual, random);
    const chance = random();
    if (chance < 0.3) return { do: 'offer', offers: Array.from({ length: 1 + whole(6) }, offer) };
    if (chance < 0.75) return { do: 'take', takes: whole(4), settles: Array.from({ length: whole(4) }, settle) };
    if (chance < 0.82) return { do: 'renew', at: whole(100), moreMs: whole(300) };
    if (chance < 0.9) return { do: 'hold', tenant, runs: Array.from({ length: 1 + whole(2) }, () => runOf(tenant)), slot: pick(['lasting', 'brief', 'brief'], random) };
    if (chance < 0.95) return { do: 'remove', tenant, run: runOf(tenant) };
    return chance < 0.99 ? { do: 'ring' } : { do: 'wipe' };
  };
  return Array.from({ length: CALLS }, call);
}

/** Plays the calls on both sides; the first difference as text, undefined = none. */
async function difference(calls: readonly Call[]): Promise<string | undefined> {
  const keys = redisKeys(`${stack.redisPrefix}-m${++installation}`);
  const wakeUps = new WakeUps({ redis, keys, pool: 'agents', log });
  const played = { ready: new ReadyQueue({ redis, wakeUps, keys, pool: 'agents' }), model: new ReadyQueueModel(), inHand: [] as Taken[] };
  let virtual = 0;
  try {
    for (const [at, call] of calls.entries()) {
      const [real, right] = await play(played, call);
      const places = TENANTS.map((tenant) => [tenant, `${tenant}-${at % RUNS_EACH}`] as const);
      const seen = { answer: real, depth: await played.ready.depth(), places: await Promise.all(places.map((one) => played.ready.placeOf(...one))) };
      const wanted = { answer: right, depth: played.model.depth, places: places.map((one) => played.model.placeOf(...one)) };
      if (JSON.stringify(seen) !== JSON.stringify(wanted)) return `call ${at} ${JSON.stringify(call)}:\n  Redis ${JSON.stringify(seen)}\n  model ${JSON.stringify(wanted)}`;
      const now = Number(await redis.hget(`${keys.ready('agents')}pool`, 'v'));
      if (now < virtual && call.do !== 'wipe') return `call ${at}: virtual time fell from ${virtual} to ${now}`;
      virtual = now;
      if (played.model.broken.length > 0) return `call ${at}: ${played.model.broken.join(', ')}`;
    }
    return undefined;
  } finally {
    await played.ready.wipe();
    await wakeUps.close();
  }
}

type Played = { readonly ready: ReadyQueue; readonly model: ReadyQueueModel; inHand: Taken[] };

async function play(played: Played, call: Call): Promise<[real: unknown, right: unknown]> {
  const { ready, model, inHand } = played;
  switch (call.do) {
    case 'offer': return [await ready.offerMany(call.offers), model.offer(call.offers)];
    case 'take': return take(played, call);
    case 'renew': {
      const one = inHand[call.at % inHand.length];
      if (!one) return [0, 0];
      const running = [{ ...one, moreMs: call.moreMs }];
      inHand[inHand.indexOf(one)] = { ...one, chargedMs: one.chargedMs + call.moreMs };
      return [await ready.renew(running), model.renew(running)];
    }
    case 'hold': {
      await ready.holdSlots(call.tenant, call.runs.map((run) => ({ run, leftMs: call.slot === 'brief' ? 1 : LEASE_MS, limits: '' })));
      model.hold(call.tenant, call.runs, call.slot);
      if (call.slot === 'brief') await nextMillisecond();
      model.passTime();
      return [0, 0];
    }
    case 'remove': return [await ready.remove(call.tenant, call.run), model.remove(call.tenant, call.run)];
    case 'ring': return [await ready.ring(), model.ring()];
    case 'wipe': return rebuild(played);
  }
}

/** All in one call of the script: settles first, then the takes, as a busy worker's places ask. */
async function take({ ready, model, inHand }: Played, { takes, settles }: Call & { do: 'take' }): Promise<[real: unknown, right: unknown]> {
  const settled = settles.flatMap(({ at, realMs, keepSlot }): Settle[] => inHand.splice(at % inHand.length, 1).map((one) => ({ ...one, realMs, keepSlot })));
  if (takes === 0 && settled.length === 0) return [0, 0];
  const wants = Array.from({ length: Math.max(takes, settled.length) }, (_, at) => (at < takes ? ready.take(settled[at]) : ready.settle(settled[at] as Settle).then(() => undefined)));
  const real = (await Promise.all(wants)).filter((one) => one !== undefined);
  const right = model.take(takes, settled);
  inHand.push(...right);
  return [real, right];
}

/** Redis is lost, and filled again from what Postgres knows: running runs, then all that is ready. */
async function rebuild({ ready, model, inHand }: Played): Promise<[real: unknown, right: unknown]> {
  const held = model.held;
  await ready.wipe();
  model.wipe();
  const known = await ready.isKnown();
  const rebuilt = await ready.rebuild(async () => {
    for (const { tenant, run } of inHand) {
      await ready.holdSlots(tenant, [{ run, leftMs: LEASE_MS, limits: '' }]);
      model.hold(tenant, [run], 'lasting');
    }
    await ready.offerMany(held);
  });
  model.offer(held);
  return [{ known, rebuilt, after: await ready.isKnown() }, { known: false, rebuilt: true, after: true }];
}

/** Until Redis' own clock has passed what a slot of one millisecond had left. */
async function nextMillisecond(): Promise<void> {
  const clockMs = async (): Promise<number> => { const [s, us] = await redis.time(); return Number(s) * 1_000 + Math.floor(Number(us) / 1_000); };
  for (const fromMs = await clockMs(); (await clockMs()) < fromMs + 1;) await pause(1);
}

/** Drops calls one by one as long as it still fails without them. */
async function fewest(calls: Call[]): Promise<Call[]> {
  const endMs = monoMs() + 20_000;
  for (let at = calls.length - 1; at >= 0 && monoMs() < endMs; at--) {
    const without = calls.toSpliced(at, 1);
    if ((await difference(without)) !== undefined) calls = without;
  }
  return calls;
}

let isShrunk = false;
test.each(SEEDS)('seed %i: Redis and the model agree after every call', async (seed) => {
  const calls = randomCalls(seed);
  const first = await difference(calls);
  if (first === undefined) return;
  if (isShrunk) expect(`seed ${seed}: ${first}`).toBe('the same');
  isShrunk = true;
  const few = await fewest(calls);
  const told = few.map((call) => JSON.stringify(call)).join('\n');
  expect(`seed ${seed}, ${few.length} calls are enough:\n${told}\n${String(await difference(few))}`).toBe('the same');
}, 60_000);

test('the seeds visit what they are meant to visit', () => {
  const all = SEEDS.flatMap(randomCalls);
  for (const what of ['offer', 'take', 'renew', 'hold', 'remove', 'ring', 'wipe']) expect(all.filter((call) => call.do === what).length).toBeGreaterThan(20);
});
