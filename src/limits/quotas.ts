// Counts what tenants and users ask for against their quotas: in Redis for the whole installation, in windows that begin with the
// first use; while Redis is away each process counts for itself. A tenant without quotas costs one look into Postgres in a few
// seconds. Requests and submissions are refused where they are over; tokens are counted after the call that used them, and the
// next one waits.
import type { Redis } from 'ioredis';
import { RateLimiterMemory, RateLimiterRedis } from 'rate-limiter-flexible';
import { monoMs } from '../clock.ts';
import { QUOTA_SECONDS, type Quota, type QuotaKind } from '../domain/quota.ts';
import { QUOTA_CACHE_MS } from '../domain/tunables.ts';
import type { RedisKeys } from '../redis.ts';
import { consume, type RateAnswer } from './rates.ts';

export interface QuotaAnswer extends RateAnswer {
  /** `tenant-hour`, `user-day`, …: its name in the `RateLimit` headers. */
  readonly name: string;
  readonly windowS: number;
}

export class Quotas {
  readonly #redis: Redis;
  readonly #keys: RedisKeys;
  readonly #read: (tenant: string) => Promise<Quota[]>;
  readonly #known = new Map<string, { readonly quotas: readonly Quota[]; readonly untilMs: number }>();
  readonly #limiters = new Map<string, RateLimiterRedis>();

  /** `redis`: a client with a short command timeout. `read`: the quotas of a tenant, as they are stored. */
  constructor(redis: Redis, keys: RedisKeys, read: (tenant: string) => Promise<Quota[]>) {
    this.#redis = redis;
    this.#keys = keys;
    this.#read = read;
  }

  /** Counts `n` against each quota of this kind; a user that is not named shares one count with others that are not. */
  async use(kind: QuotaKind, tenant: string, user: string | undefined, n = 1): Promise<QuotaAnswer[]> {
    const quotas = await this.#of(tenant, kind);
    return Promise.all(quotas.map(async (quota) => ({ ...named(quota), ...(await consume(this.#limiter(quota), this.#key(quota, tenant, user), n)) })));
  }

  /** Milliseconds until there is something left of every quota of this kind; 0 = there is. */
  async waitMs(kind: QuotaKind, tenant: string, user: string | undefined): Promise<number> {
    const quotas = await this.#of(tenant, kind);
    const waits = await Promise.all(quotas.map(async (quota) => {
      const used = await this.#limiter(quota).get(this.#key(quota, tenant, user)).catch(() => null);
      return used !== null && used.consumedPoints >= quota.most ? used.msBeforeNext : 0;
    }));
    return Math.max(0, ...waits);
  }

  /** Counts what was used already, also past the quota. */
  async used(kind: QuotaKind, tenant: string, user: string | undefined, n: number): Promise<void> {
    for (const quota of await this.#of(tenant, kind)) await this.#limiter(quota).penalty(this.#key(quota, tenant, user), n).catch(() => undefined);
  }

  /** Called when they have been changed in this process; others learn it within seconds. */
  forget(tenant: string): void { this.#known.delete(tenant); }

  async #of(tenant: string, kind: QuotaKind): Promise<readonly Quota[]> {
    let known = this.#known.get(tenant);
    if (!known || known.untilMs < monoMs()) this.#known.set(tenant, known = { quotas: await this.#read(tenant), untilMs: monoMs() + QUOTA_CACHE_MS });
    return known.quotas.filter((quota) => quota.kind === kind);
  }

  #limiter({ most, per }: Quota): RateLimiterRedis {
    const name = `${most}/${per}`;
    let limiter = this.#limiters.get(name);
    if (!limiter) {
      const window = { points: most, duration: QUOTA_SECONDS[per], keyPrefix: '' };
      this.#limiters.set(name, limiter = new RateLimiterRedis({ ...window, storeClient: this.#redis, rejectIfRedisNotReady: true, insuranceLimiter: new RateLimiterMemory(window) }));
    }
    return limiter;
  }

  #key({ subject, kind, per }: Quota, tenant: string, user: string | undefined): string { return this.#keys.quota(tenant, subject === 'user' ? user ?? '' : null, `${kind}:${per}`); }
}

const named = ({ subject, per }: Quota): { name: string; windowS: number } => ({ name: `${subject}-${per}`, windowS: QUOTA_SECONDS[per] });
