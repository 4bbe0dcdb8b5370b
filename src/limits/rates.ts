// Rate limits at the edge: requests of an API key, submissions of a user. Counted in Redis for the whole installation, in
// fixed windows of a minute; while Redis is gone each process counts for itself in memory, so a limit may then be passed as
// often as there are processes, but never vanishes. Budgets and fair shares are elsewhere: this only sheds load.
import type { Redis } from 'ioredis';
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import type { RedisKeys } from '../redis.ts';

/** `resetS`: whole seconds until the window ends, for the `RateLimit` headers and `Retry-After`. */
export interface RateAnswer {
  readonly allowed: boolean;
  readonly limit: number;
  readonly remaining: number;
  readonly resetS: number;
}

const WINDOW_S = 60;

export class Rates {
  readonly #keys: RedisKeys;
  readonly #requests: RateLimiterRedis;
  readonly #submissions: RateLimiterRedis;

  /** `redis`: a client with a short command timeout (openLimitsRedis), for the answer is part of every request. */
  constructor(redis: Redis, keys: RedisKeys, limits: { readonly requestsPerMinute: number; readonly submissionsPerMinute: number }) {
    this.#keys = keys;
    this.#requests = limiter(redis, limits.requestsPerMinute);
    this.#submissions = limiter(redis, limits.submissionsPerMinute);
  }

  /** Counts one request of an API key (its id, never the key). */
  request(keyId: string): Promise<RateAnswer> {
    return consume(this.#requests, `${this.#keys.ratePrefix}-key:${encodeURIComponent(keyId)}`);
  }

  /** Counts `n` submissions of a user of a tenant, or none where they are too many; runs without a user share one count. */
  submission(tenant: string, user: string | undefined, n = 1): Promise<RateAnswer> {
    return consume(this.#submissions, this.#keys.rate(tenant, user ?? ''), n);
  }
}

/** The key is whole already: no prefix of the library's. */
function limiter(redis: Redis, points: number): RateLimiterRedis {
  const window = { points, duration: WINDOW_S, keyPrefix: '' };
  return new RateLimiterRedis({ ...window, storeClient: redis, rejectIfRedisNotReady: true, insuranceLimiter: new RateLimiterMemory(window) });
}

/** Counts `n`, or nothing where they are too many. */
export async function consume(limiter: RateLimiterRedis, key: string, n = 1): Promise<RateAnswer> {
  const answer = (allowed: boolean, { consumedPoints, msBeforeNext }: RateLimiterRes): RateAnswer =>
    ({ allowed, limit: limiter.points, remaining: Math.max(0, limiter.points - consumedPoints), resetS: Math.max(1, Math.ceil(msBeforeNext / 1_000)) });
  try {
    return answer(true, await limiter.consume(key, n));
  } catch (refused) {
    if (!(refused instanceof RateLimiterRes)) throw refused; // not Redis, which is insured: a fault of ours
    return answer(false, n === 1 ? refused : await limiter.reward(key, n)); // a bulk that is refused leaves room for what is smaller
  }
}
