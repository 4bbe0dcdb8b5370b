// Governors of several processes over one Redis of this file's own, which it freezes.
import { afterAll, beforeAll, beforeEach, expect, test } from '@jest/globals';
import type { Redis } from 'ioredis';
import { MainstayError } from '../src/domain/errors.ts';
import { NO_USAGE, type Usage } from '../src/domain/model.ts';
import { waitForMs, type ProviderLimits } from '../src/domain/provider-limits.ts';
import { Governor } from '../src/limits/governor.ts';
import { openLimitsRedis } from '../src/limits/redis-script.ts';
import { makeLog } from '../src/log.ts';
import { limitsOf } from '../src/model/rate-headers.ts';
import { redisKeys, redisReady } from '../src/redis.ts';
import { startOwnRedis, type OwnRedis } from './support/own-redis.ts';

const keys = redisKeys('governor-test');
let own: OwnRedis;
let redis: Redis;
beforeAll(async () => {
  own = await startOwnRedis();
  redis = openLimitsRedis(own.url, makeLog('silent', 'test'));
  await redisReady(redis);
});
beforeEach(() => own.client.flushall());
afterAll(async () => { redis.disconnect(); await own.stop(); });

const member = (account = 'key'): Governor => new Governor({ redis, keys, account });
const limited = (kinds: Partial<Record<'requests' | 'input' | 'output', [limit: number, left: number]>>, closedMs?: number): ProviderLimits =>
  ({ kinds: Object.fromEntries(Object.entries(kinds).map(([kind, [limit, left]]) => [kind, { limit, left, resetMs: 60_000 }])), closedMs });
const used = (change: Partial<Usage>): { usage: Usage } => ({ usage: { ...NO_USAGE, ...change } });
/** Milliseconds to wait; 0 = it was sent. */
const ask = (governor: Governor, most = { inputTokens: 100, outputTokens: 100 }, said?: ProviderLimits, usage: Partial<Usage> = { inputTokens: 50, outputTokens: 30 }): Promise<number> =>
  governor.run('m', most, (heard) => { if (said) heard(said); return Promise.resolve(used(usage)); }).then(() => 0, (error: unknown) => {
    if (!(error instanceof MainstayError) || error.code !== 'rate_limited') throw error;
    return error.retryAfterMs ?? NaN;
  });
/** Redis has what was said: commands of a connection are answered in order. */
const told = (): Promise<unknown> => redis.ping();

test('what one process hears limits all: a call that does not fit is not sent, and told when it will', async () => {
  const [one, two] = [member(), member()];
  expect(await ask(one, undefined, limited({ input: [1_000, 100], requests: [50, 40], output: [1_000, 900] }))).toBe(0);
  await told();
  for (const governor of [one, two]) {
    const waitMs = await ask(governor, { inputTokens: 1_100, outputTokens: 100 }); // half of it is expected: 550, of which 450 are short
    expect(waitMs).toBeGreaterThan(25_000);
    expect(waitMs).toBeLessThanOrEqual(30_500);
  }
  expect(await ask(two, { inputTokens: 20, outputTokens: 20 })).toBe(0);
  expect(await ask(member('another key'), { inputTokens: 1_100, outputTokens: 100 })).toBe(0);
});

test('calls that are let through count at once, so that many at a time do not pass a limit of requests', async () => {
  await ask(member(), undefined, limited({ requests: [50, 3] }));
  await told();
  const fleet = [member(), member(), member()];
  const answers = await Promise.all(Array.from({ length: 9 }, (_, at) => ask(fleet[at % 3] as Governor)));
  expect(answers.filter((waitMs) => waitMs === 0)).toHaveLength(3);
});

test('a refusal with retry-after closes the model for the fleet for that long', async () => {
  const [one, two] = [member(), member()];
  await ask(one, undefined, limited({}, 3_600_000));
  await told();
  for (const governor of [one, two]) expect(await ask(governor)).toBeGreaterThan(3_590_000);
});

test('what a cache answers does not count: the need is learnt from calls before', async () => {
  const governor = member();
  for (let call = 0; call < 20; call++) await ask(governor, { inputTokens: 10_000, outputTokens: 100 }, undefined, { cacheReadTokens: 9_900, inputTokens: 100, outputTokens: 10 });
  await ask(governor, { inputTokens: 10_000, outputTokens: 100 }, limited({ input: [20_000, 1_000] }), { cacheReadTokens: 9_900, inputTokens: 100, outputTokens: 10 });
  await told();
  expect(await ask(governor, { inputTokens: 10_000, outputTokens: 100 })).toBe(0); // some 150 are expected
  expect(await ask(member(), { inputTokens: 10_000, outputTokens: 100 })).toBeGreaterThan(0); // who has learnt nothing expects 5,000
});

test('a bucket fills up until its reset, and a call larger than the limit goes when it is full', () => {
  expect(waitForMs({ limit: 1_000, left: 0, resetMs: 60_000 }, 500, 0)).toBe(30_000);
  expect(waitForMs({ limit: 1_000, left: 0, resetMs: 60_000 }, 500, 29_000)).toBe(1_000);
  expect(waitForMs({ limit: 1_000, left: 0, resetMs: 60_000 }, 5_000, 0)).toBe(60_000);
  expect(waitForMs({ limit: 1_000, left: 1_000, resetMs: 0 }, 5_000, 0)).toBe(0);
});

test('while Redis is away calls go on without waiting for it, but for what the process has heard itself', async () => {
  const governor = member();
  own.freeze();
  try {
    const startedMs = performance.now();
    for (let call = 0; call < 20; call++) expect(await ask(governor)).toBe(0);
    expect(performance.now() - startedMs).toBeLessThan(1_000);
    await ask(governor, undefined, limited({}, 60_000));
    expect(await ask(governor)).toBeGreaterThan(59_000);
  } finally {
    own.thaw();
  }
});

test('the headers of the provider are read as they are; what is missing or odd is not known', () => {
  const now = Date.parse('2026-11-25T12:00:00Z');
  const headers = (of: Record<string, string>): Headers => new Headers(Object.fromEntries(Object.entries(of).map(([name, value]) => [`anthropic-ratelimit-${name}`, value])));
  expect(limitsOf(headers({ 'requests-limit': '50', 'requests-remaining': '0', 'requests-reset': '2026-11-25T12:00:30Z', 'input-tokens-limit': '1000', 'input-tokens-remaining': '900', 'input-tokens-reset': '2026-11-25T11:59:00Z', 'output-tokens-limit': 'many' }), now, 7)).toEqual({
    kinds: { requests: { limit: 50, left: 0, resetMs: 30_000 }, input: { limit: 1_000, left: 900, resetMs: 0 } }, closedMs: 7,
  });
  expect(limitsOf(headers({ 'tokens-limit': '10', 'tokens-remaining': '5', 'tokens-reset': '2026-11-25T12:00:01Z' }), now).kinds).toEqual({ input: { limit: 10, left: 5, resetMs: 1_000 } });
  expect(limitsOf(new Headers(), now).kinds).toEqual({});
});
