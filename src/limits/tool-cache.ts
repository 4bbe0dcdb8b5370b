// Results of reads that may be given again: one Redis hash a user, so that an erasure finds all of it under one key. The field names
// tool, version, arguments and the epoch of the user's permissions, so that a changed permission is another field. Losing it, or
// being without Redis, costs a call.
import type { Redis } from 'ioredis';
import { wallMs } from '../clock.ts';
import { holdsSecret } from '../domain/secrets.ts';
import { TOOL_CACHE_BYTES, TOOL_CACHE_ENTRIES } from '../domain/tunables.ts';
import type { Json } from '../domain/json.ts';
import type { RedisKeys } from '../redis.ts';
import { inTime } from './redis-script.ts';

export interface CachedRead {
  readonly tenant: string;
  readonly user: string | undefined;
  readonly tool: string;
  readonly version: number;
  /** hex SHA-256 */
  readonly argsHash: string;
  readonly epoch: number;
}

const fieldOf = ({ tool, version, argsHash, epoch }: CachedRead): string => `${tool}@${version}/${argsHash}/${epoch}`;

export class ToolCache {
  readonly #redis: Redis;
  readonly #keys: RedisKeys;

  /** `redis`: a client with a short command timeout (openLimitsRedis). */
  constructor(redis: Redis, keys: RedisKeys) {
    this.#redis = redis;
    this.#keys = keys;
  }

  /** Undefined: not there, over, or Redis does not answer. */
  async get(read: CachedRead): Promise<{ readonly result: Json } | undefined> {
    try {
      const text = await inTime(this.#redis.hget(this.#keyOf(read), fieldOf(read)));
      if (text === null) return undefined;
      const { untilMs, result } = JSON.parse(text) as { untilMs: number; result: Json };
      return untilMs > wallMs() ? { result } : undefined;
    } catch {
      return undefined;
    }
  }

  /** Never rejects. What is too large, or holds what looks like a secret, is not kept; a user's full cache begins anew. */
  async put(read: CachedRead, result: Json, forMs: number): Promise<void> {
    const text = JSON.stringify({ untilMs: wallMs() + forMs, result });
    if (Buffer.byteLength(text) > TOOL_CACHE_BYTES || holdsSecret(text)) return;
    const key = this.#keyOf(read);
    try {
      if ((await inTime(this.#redis.hlen(key))) >= TOOL_CACHE_ENTRIES) await inTime(this.#redis.unlink(key));
      const leftMs = await inTime(this.#redis.pttl(key));
      await inTime(this.#redis.multi().hset(key, fieldOf(read), text).pexpire(key, Math.max(leftMs, forMs)).exec());
    } catch { /* the next call is made */ }
  }

  #keyOf({ tenant, user }: CachedRead): string { return this.#keys.toolCache(tenant, user); }
}
