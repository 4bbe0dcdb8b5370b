// What recall found for a session: one Redis hash a session, so that an erasure finds it under one key. An entry counts only under the
// epoch it was found under, so that nothing is answered that a write has overtaken. It holds what the caller puts there, which are ids
// and numbers; losing it, or being without Redis, costs a search.
import type { Redis } from 'ioredis';
import type { Json } from '../domain/json.ts';
import { RECALL_CACHE_BYTES, RECALL_CACHE_ENTRIES, RECALL_CACHE_MS } from '../domain/tunables.ts';
import type { RedisKeys } from '../redis.ts';
import { inTime } from './redis-script.ts';

export interface RecallPlace {
  readonly tenant: string;
  readonly user: string | undefined;
  readonly session: string | undefined;
  /** Digest of all that decides what is found, but for the memories themselves. */
  readonly what: string;
  /** Of the memories that may be found. */
  readonly epoch: string;
}

export class RecallCache {
  readonly #redis: Redis;
  readonly #keys: RedisKeys;

  constructor(redis: Redis, keys: RedisKeys) {
    this.#redis = redis;
    this.#keys = keys;
  }

  /** Undefined: not there, of another epoch, unreadable, or Redis does not answer in time. */
  async get({ tenant, user, session, what, epoch }: RecallPlace): Promise<Json | undefined> {
    try {
      const text = await inTime(this.#redis.hget(this.#keys.recall(tenant, user, session), what));
      if (text === null) return undefined;
      const kept = JSON.parse(text) as { epoch?: unknown; found?: Json };
      return kept.epoch === epoch ? kept.found : undefined;
    } catch {
      return undefined;
    }
  }

  /** Never rejects. What is too large is not kept; a session's full cache begins anew. */
  async put({ tenant, user, session, what, epoch }: RecallPlace, found: Json): Promise<void> {
    const text = JSON.stringify({ epoch, found });
    if (Buffer.byteLength(text) > RECALL_CACHE_BYTES) return;
    const key = this.#keys.recall(tenant, user, session);
    try {
      if ((await inTime(this.#redis.hlen(key))) >= RECALL_CACHE_ENTRIES) await inTime(this.#redis.unlink(key));
      await inTime(this.#redis.multi().hset(key, what, text).pexpire(key, RECALL_CACHE_MS).exec());
    } catch { /* the next recall searches */ }
  }
}
