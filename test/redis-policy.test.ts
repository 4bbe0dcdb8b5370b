// Redis under another eviction policy than `noeviction` drops locks and queues without a word: processes refuse to start on it,
// and a change while they run is told. A Redis that does not tell, or is away, stops nobody.
import { expect, test } from '@jest/globals';
import { pino } from 'pino';
import { readConfig } from '../src/config.ts';
import { makeLog } from '../src/log.ts';
import { makeMetrics } from '../src/metrics.ts';
import { redisFacts, watchRedisPolicy } from '../src/queue/redis-policy.ts';
import { openRedis, redisReady } from '../src/redis.ts';
import { openGround } from '../workers/assemble.ts';
import { until } from './support/meet.ts';
import { startOwnRedis } from './support/own-redis.ts';
import { spawnCli } from './support/spawn-cli.ts';
import { atFileEnd, useStack } from './support/stack.ts';

const stack = await useStack();
const own = await startOwnRedis();
atFileEnd(() => own.stop());
const silent = makeLog('silent', 'test');
const client = async (url: string) => {
  const redis = openRedis(url, 'fast', silent);
  atFileEnd(() => { redis.disconnect(); return Promise.resolve(); });
  await redisReady(redis, 5_000).catch(() => undefined);
  return redis;
};
const gauge = async (metrics: ReturnType<typeof makeMetrics>): Promise<number | undefined> => (await metrics.redisPolicyOk.get()).values[0]?.value;

test('a process refuses to start on a Redis that may evict', async () => {
  await own.client.config('SET', 'maxmemory-policy', 'allkeys-lru');
  await expect(openGround(readConfig({ ...stack.env, REDIS_URL: own.url, LOG_LEVEL: 'silent' }), 'test')).rejects.toThrow('its maxmemory-policy is allkeys-lru');
  const said = await spawnCli(['api'], { env: { ...stack.env, REDIS_URL: own.url, PORT: '0' } });
  expect(said).toMatchObject({ code: 1, out: expect.stringContaining('CONFIG SET maxmemory-policy noeviction') });
  await own.client.config('SET', 'maxmemory-policy', 'noeviction');
});

test('a change at run time is told by the gauge and the log, and told again when it is undone', async () => {
  const lines: string[] = [];
  const metrics = makeMetrics('test');
  const watch = await watchRedisPolicy(await client(own.url), metrics, pino({ level: 'info' }, { write: (line: string) => { lines.push(line); } }), 20);
  expect(await gauge(metrics)).toBe(1);
  await own.client.config('SET', 'maxmemory-policy', 'volatile-lru');
  await until('the alarm', async () => (await gauge(metrics)) === 0);
  expect(lines.filter((line) => line.includes('"level":50')).join()).toContain('"policy":"volatile-lru"');
  await own.client.config('SET', 'maxmemory-policy', 'noeviction');
  await until('the all-clear', async () => (await gauge(metrics)) === 1);
  watch.stop();
});

test('a Redis that tells nothing of itself is taken as it is', async () => {
  await own.client.call('ACL', 'SETUSER', 'plain', 'on', '>hush', '~*', '&*', '+@all', '-info', '-config');
  const redis = await client(own.url.replace('redis://', 'redis://plain:hush@'));
  expect(await redisFacts(redis)).toMatchObject({ policy: 'unknown', version: 'unknown', isAof: undefined });
  const metrics = makeMetrics('test');
  (await watchRedisPolicy(redis, metrics, silent)).stop();
  expect(await gauge(metrics)).toBe(-1);
});

test('one whose INFO is denied is asked for its configuration', async () => {
  await own.client.call('ACL', 'SETUSER', 'half', 'on', '>hush', '~*', '&*', '+@all', '-info');
  expect(await redisFacts(await client(own.url.replace('redis://', 'redis://half:hush@')))).toMatchObject({ policy: 'noeviction' });
});

test('one that is away stops nobody', async () => {
  const redis = openRedis('redis://127.0.0.1:1', 'fast', silent);
  atFileEnd(() => { redis.disconnect(); return Promise.resolve(); });
  const metrics = makeMetrics('test');
  (await watchRedisPolicy(redis, metrics, silent)).stop();
  expect(await gauge(metrics)).toBe(-1);
});
