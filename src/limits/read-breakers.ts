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

export interface OpenBreaker { readonly name: string; /** `spend_limit`, or `failures`. */ readonly why: string; readonly waitMs: number }

/** All breakers that are not closed, by name. */
export async function openBreakers(redis: Redis, keys: RedisKeys): Promise<OpenBreaker[]> {
  const prefix = keys.breaker('');
  const found: OpenBreaker[] = [];
  for (let cursor = '0'; ;) {
    const [next, some] = await redis.scan(cursor, 'MATCH', `${prefix}*`, 'COUNT', 1_000);
    for (const key of some) {
      const name = decodeURIComponent(key.slice(prefix.length));
      const [waitMs, why] = await Promise.all([breakerWaitMs(redis, keys, name), redis.hget(key, 'why')]);
      if (waitMs > 0) found.push({ name, why: why ?? 'failures', waitMs });
    }
    if ((cursor = next) === '0') return found.sort((a, b) => (a.name < b.name ? -1 : 1));
  }
}

/** Closes one for the fleet, at once. False = it was not open. */
export const closeBreaker = async (redis: Redis, keys: RedisKeys, name: string): Promise<boolean> => (await redis.del(keys.breaker(name))) === 1;
