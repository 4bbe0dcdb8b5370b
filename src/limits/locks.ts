// Redis locks around resources: they keep runs politely apart and save work, and decide nothing (fences do). A lock is a key
// holding its owner's token; only the token's owner renews or releases it. When Redis is gone nobody gets a lock, and a
// holder stops by its own monotonic clock before its lock can have ended. No call waits longer than 300 ms for Redis.
import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { monoMs } from '../clock.ts';
import { MainstayError } from '../domain/errors.ts';
import { LOCK_TTL_MS } from '../domain/tunables.ts';
import { script } from './redis-script.ts';

// Takes the key for a token, or again for the same one. ARGV: token, ttl in ms. Output: 1 held, 0 another holds it.
const acquireScript = script(`
  local owner = redis.call('GET', KEYS[1])
  if owner and owner ~= ARGV[1] then return 0 end
  redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
  return 1`);

// Lengthens the owner's lock. ARGV: token, ttl in ms. Output: 1 held, 0 lost.
const renewScript = script(`
  if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])`);

// Gives the lock back. ARGV: token. Output: 1 released, 0 it was not the token's.
const releaseScript = script(`
  if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
  return redis.call('DEL', KEYS[1])`);

export type LockEnd = 'released' | 'lost';

export class Locks {
  readonly #redis: Redis;

  constructor(redis: Redis) {
    this.#redis = redis;
  }

  /** One attempt. `key`: redisKeys().lock(…). The same token may take its own lock again. */
  async acquire(key: string, token: string, ttlMs: number): Promise<'held' | 'busy' | 'unavailable'> {
    try {
      return (await acquireScript(this.#redis, key, [token, ttlMs])) === 1 ? 'held' : 'busy';
    } catch {
      void this.release(key, token); // the command may still be carried out
      return 'unavailable';
    }
  }

  async renew(key: string, token: string, ttlMs: number): Promise<'held' | 'lost' | 'unavailable'> {
    try {
      return (await renewScript(this.#redis, key, [token, ttlMs])) === 1 ? 'held' : 'lost';
    } catch {
      return 'unavailable';
    }
  }

  /** True when this call gave the lock back. Never rejects: a lock nobody could release ends with its life. */
  async release(key: string, token: string): Promise<boolean> {
    try {
      return (await releaseScript(this.#redis, key, [token])) === 1;
    } catch {
      return false;
    }
  }

  /** Takes the lock and keeps it renewed until `release`. */
  async hold(key: string, ttlMs = LOCK_TTL_MS): Promise<LockLease | 'busy' | 'unavailable'> {
    const token = randomUUID();
    const sentMs = monoMs();
    const answer = await this.acquire(key, token, ttlMs);
    return answer === 'held' ? new LockLease(this, key, token, ttlMs, sentMs) : answer;
  }

  /** Takes all of these or none, in one order for everybody, so that two runs never hold half each. */
  async holdAll(keys: readonly string[], ttlMs = LOCK_TTL_MS): Promise<LockLease[] | 'busy' | 'unavailable'> {
    const held: LockLease[] = [];
    for (const key of [...new Set(keys)].sort()) {
      const lease = await this.hold(key, ttlMs);
      if (lease instanceof LockLease) held.push(lease);
      else {
        await Promise.all(held.map((taken) => taken.release()));
        return lease;
      }
    }
    return held;
  }
}

/** A held lock. `signal` aborts when it is over, for whichever reason came first. */
export class LockLease {
  readonly key: string;
  readonly #locks: Locks;
  readonly #token: string;
  readonly #ttlMs: number;
  readonly #over = new AbortController();
  readonly #renewal: NodeJS.Timeout;
  #expiry: NodeJS.Timeout;
  #endReason: LockEnd | undefined;

  /** `sentMs`: monotonic time before the lock was asked for; its life is counted from there. */
  constructor(locks: Locks, key: string, token: string, ttlMs: number, sentMs: number) {
    this.key = key;
    this.#locks = locks;
    this.#token = token;
    this.#ttlMs = ttlMs;
    this.#expiry = this.#expireAfter(sentMs);
    this.#renewal = setInterval(() => { void this.#renew(); }, ttlMs / 3); // two renewals may fail
  }

  get signal(): AbortSignal { return this.#over.signal; }
  get endReason(): LockEnd | undefined { return this.#endReason; }

  throwIfLost(): void {
    if (this.#endReason) throw new MainstayError('lock_busy', `The lock is ${this.#endReason}; another run may hold the resource.`);
  }

  /** Ends the lease. Safe to call twice; never rejects. */
  async release(): Promise<void> {
    if (this.#end('released')) await this.#locks.release(this.key, this.#token);
  }

  async #renew(): Promise<void> {
    const sentMs = monoMs();
    const answer = await this.#locks.renew(this.key, this.#token, this.#ttlMs);
    if (this.#endReason) return;
    if (answer === 'lost') this.#end('lost');
    if (answer === 'held') {
      clearTimeout(this.#expiry);
      this.#expiry = this.#expireAfter(sentMs);
    }
  }

  /** A tenth of its life before the key can be gone: the holder stops first. */
  #expireAfter(sentMs: number): NodeJS.Timeout {
    return setTimeout(() => this.#end('lost'), Math.max(0, sentMs + this.#ttlMs * 0.9 - monoMs()));
  }

  #end(reason: LockEnd): boolean {
    if (this.#endReason) return false;
    this.#endReason = reason;
    clearInterval(this.#renewal);
    clearTimeout(this.#expiry);
    this.#over.abort();
    return true;
  }
}
