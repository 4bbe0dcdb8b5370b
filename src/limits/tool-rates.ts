// How often a tool may be called, counted in Redis for the whole fleet in fixed windows. A call that finds its window full is told
// when to come again; the more were refused before it, the later, so that a long queue does not come back all at once. While Redis
// is gone each worker counts for itself: a limit may then be passed as often as there are workers, but never vanishes.
import type { Redis } from 'ioredis';
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import { MAX_RATE_WAIT_MS } from '../domain/tunables.ts';
import type { ToolRate } from '../domain/tool.ts';
import type { RedisKeys } from '../redis.ts';

export interface RatedCall {
  readonly tool: string;
  readonly tenant: string;
  readonly user: string | undefined;
  readonly rate: ToolRate;
}

export class ToolRates {
  readonly #redis: Redis;
  readonly #keys: RedisKeys;
  /** By their numbers: tools of equal rates share one, under keys of their own. */
  readonly #limiters = new Map<string, RateLimiterRedis>();

  /** `redis`: a client with a short command timeout (openLimitsRedis), for the answer is part of every call. */
  constructor(redis: Redis, keys: RedisKeys) {
    this.#redis = redis;
    this.#keys = keys;
  }

  /** Counts one call. 0 = it may be made; otherwise milliseconds until it is worth asking again. */
  async take({ tool, tenant, user, rate }: RatedCall): Promise<number> {
    const owner = rate.per === 'fleet' ? [] : rate.per === 'tenant' ? [tenant] : [tenant, user ?? ''];
    try {
      await this.#limiter(rate).consume(this.#keys.toolRate(tool, owner));
      return 0;
    } catch (refused) {
      if (!(refused instanceof RateLimiterRes)) throw refused; // not Redis, which is insured: a fault of ours
      const windowsFull = Math.ceil((refused.consumedPoints - rate.calls) / rate.calls) - 1; // of those who were refused before it
      return Math.min(Math.max(1, refused.msBeforeNext) + windowsFull * rate.perS * 1_000, MAX_RATE_WAIT_MS);
    }
  }

  #limiter({ calls, perS }: ToolRate): RateLimiterRedis {
    const numbers = `${calls}/${perS}`;
    let limiter = this.#limiters.get(numbers);
    if (!limiter) {
      const window = { points: calls, duration: perS, keyPrefix: '' }; // the key is whole already
      limiter = new RateLimiterRedis({ ...window, storeClient: this.#redis, rejectIfRedisNotReady: true, insuranceLimiter: new RateLimiterMemory(window) });
      this.#limiters.set(numbers, limiter);
    }
    return limiter;
  }
}
