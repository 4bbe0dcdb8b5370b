// Looks at a shared breaker without calling: unlike `admit` it never takes the probe's place. For people who ask why a run
// waits; nothing is decided by it.
import type { Redis } from 'ioredis';
import type { RedisKeys } from '../redis.ts';
import { inTime } from './redis-script.ts';

/** Milliseconds until the breaker `name` may be tried again; 0 = it is closed or may be probed now. Rejects when Redis does not answer. */
export async function breakerWaitMs(redis: Redis, keys: RedisKeys, name: string): Promise<number> {
  const [[openUntil, probeUntil], [seconds, micros]] = await inTime(Promise.all([redis.hmget(keys.breaker(name), 'openUntil', 'probeUntil'), redis.time()]));
  const endMs = Math.max(Number(openUntil ?? 0), Number(probeUntil ?? 0)); // both by Redis' clock
  return Math.max(0, endMs - Number(seconds) * 1_000 - Math.floor(Number(micros) / 1_000));
}

/** Those of these keys that somebody holds. Rejects when Redis does not answer. */
export async function heldLocks(redis: Redis, lockKeys: readonly string[]): Promise<string[]> {
  const values = await inTime(Promise.all(lockKeys.map((key) => redis.exists(key))));
  return lockKeys.filter((_key, at) => values[at] === 1);
}
