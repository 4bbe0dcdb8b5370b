// Redis clients by purpose, and every key in one place. Nothing in Redis is the truth: losing all of it costs seconds.
// The hash tag keeps on one Cluster shard the keys that a script needs together.
import { Redis } from 'ioredis';
import { monoMs } from './clock.ts';
import { REDIS_BLOCKED_SILENCE_MS, REDIS_SILENCE_MS } from './domain/tunables.ts';
import type { Log } from './log.ts';

/** `fast` fails within a second (API, caches, locks); `blocking` waits for ever (BullMQ workers, subscriptions). */
export type RedisPurpose = 'fast' | 'blocking';

export function openRedis(url: string, purpose: RedisPurpose, log: Log, extra: { commandTimeout?: number } = {}): Redis {
  const redis = new Redis(url, {
    ...(purpose === 'fast'
      ? { maxRetriesPerRequest: 1, enableOfflineQueue: false, commandTimeout: extra.commandTimeout ?? 1_000, autoResendUnfulfilledCommands: false, socketTimeout: REDIS_SILENCE_MS }
      : { maxRetriesPerRequest: null, socketTimeout: REDIS_BLOCKED_SILENCE_MS }),
    connectTimeout: 3_000,
    keepAlive: 10_000,
    retryStrategy: (tries: number) => Math.min(100 * 2 ** Math.min(tries, 5), 2_000),
  });
  let lastSaidMs = -1_000;
  redis.on('error', (error) => { // at most one line a second: a dead server must not fill the disk
    const nowMs = monoMs();
    if (nowMs - lastSaidMs < 1_000) return;
    lastSaidMs = nowMs;
    log.warn({ purpose, error: error.message }, 'redis error');
  });
  return redis;
}

/** Waits until a `fast` client can take commands; rejects after `timeoutMs`. */
export async function redisReady(redis: Redis, timeoutMs = 10_000): Promise<void> {
  if (redis.status === 'ready') return;
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => { redis.off('ready', ready); reject(new Error(`redis did not answer within ${timeoutMs} ms`)); }, timeoutMs);
    const ready = (): void => { clearTimeout(timer); resolve(); };
    redis.once('ready', ready);
  });
}

/** A caller's name as one part of a key: no `:` or `{` of theirs can reach into another's keys. */
const part = (name: string): string => encodeURIComponent(name).replaceAll('*', '%2A');

export const redisKeys = (prefix: string) => ({
  /** BullMQ's prefix: a hash tag, so that a queue lies on one shard with its ready queue. */
  bull: `{${prefix}}`,
  /** All keys of the ready queue of a pool start with this. */
  ready: (pool: string): string => `{${prefix}}:ready:${part(pool)}:`,
  session: (tenant: string, user: string, session: string): string => `${prefix}:session:${part(tenant)}:${part(user)}:${part(session)}`,
  lock: (tenant: string, resource: string): string => `${prefix}:lock:${part(tenant)}:${part(resource)}`,
  rate: (tenant: string, user: string): string => `${prefix}:rate:${part(tenant)}:${part(user)}`,
  /** What a tenant, or with `user` one of its users, has used of a quota. */
  quota: (tenant: string, user: string | null, what: string): string => `${prefix}:quota:${part(tenant)}:${user === null ? '' : `user:${part(user)}:`}${what}`,
  ratePrefix: `${prefix}:rate`,
  /** Calls of a tool; `owner`: nothing for the fleet, or tenant, or tenant and user. */
  toolRate: (tool: string, owner: readonly string[]): string => [`${prefix}:rate-tool`, tool, ...owner].map((name, at) => (at === 0 ? name : part(name))).join(':'),
  job: (run: string): string => `${prefix}:job:${run}`,
  /** Text of a turn while it streams. */
  text: (run: string): string => `${prefix}:text:${run}`,
  /** The provider's limits of one API key (named by a digest) and model. */
  provider: (account: string, model: string): string => `${prefix}:provider:${part(account)}:${part(model)}`,
  breaker: (name: string): string => `${prefix}:breaker:${part(name)}`,
  /** Results of reads for a user, or for runs of no user. */
  toolCache: (tenant: string, user: string | undefined): string => `${prefix}:tool:${part(tenant)}:${user === undefined ? '' : `user:${part(user)}`}`,
  /** What recall found for a session, or for runs of none. */
  recall: (tenant: string, user: string | undefined, session: string | undefined): string => `${prefix}:recall:${part(tenant)}:${user === undefined ? '' : `user:${part(user)}`}:${session === undefined ? '' : part(session)}`,
  embedding: (model: string, digest: string): string => `${prefix}:embedding:${part(model)}:${digest}`,
  /** Pub/sub channel on which runs are told of a cancel. */
  cancelChannel: `${prefix}:cancel`,
});
export type RedisKeys = ReturnType<typeof redisKeys>;
