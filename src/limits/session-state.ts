// The Redis copy of a session's state. It counts only when it is as new as the caller's version and readable, and is written
// only upward, so that a worker that lost its run cannot bring back an older state. Losing it costs a rebuild from Postgres;
// no call here rejects.
import type { Redis } from 'ioredis';
import { parseSession, type SessionState } from '../domain/session.ts';
import { storable } from '../domain/json.ts';
import { SESSION_TTL_S } from '../domain/tunables.ts';
import type { Log } from '../log.ts';
import { messageOf } from '../domain/errors.ts';
import type { RedisKeys } from '../redis.ts';
import { inTime, script } from './redis-script.ts';

// Writes a state that is newer than the one there, or replaces one that is unreadable. ARGV: version, JSON, ttl in s.
// Output: 1 written, 0 what is there is as new or newer.
const putScript = script(`
  local there = redis.call('GET', KEYS[1])
  if there then
    local readable, state = pcall(cjson.decode, there)
    if readable and type(state) == 'table' and type(state.version) == 'number' and state.version >= tonumber(ARGV[1]) then return 0 end
  end
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
  return 1`);

export class SessionStates {
  readonly #redis: Redis;
  readonly #keys: RedisKeys;
  readonly #log: Log;
  readonly #ttlS: number;

  constructor(redis: Redis, keys: RedisKeys, log: Log, ttlS = SESSION_TTL_S) {
    this.#redis = redis;
    this.#keys = keys;
    this.#log = log;
    this.#ttlS = ttlS;
  }

  /** The state, its life renewed; undefined when it is gone, older than `atLeastVersion`, unreadable or out of reach. */
  async get(tenant: string, user: string, session: string, atLeastVersion: number): Promise<SessionState | undefined> {
    try {
      const text = await inTime(this.#redis.getex(this.#keys.session(tenant, user, session), 'EX', this.#ttlS));
      const state = text === null ? undefined : parseSession(text);
      return state && state.version >= atLeastVersion ? state : undefined;
    } catch (error) {
      this.#log.debug({ error: messageOf(error) }, 'session state not read');
      return undefined;
    }
  }

  /** `older`: a state as new or newer is there already. `failed`: Redis is out of reach or the state cannot be stored. */
  async put(tenant: string, user: string, session: string, state: SessionState): Promise<'written' | 'older' | 'failed'> {
    try {
      const text = storable(state, 'session state');
      const written = await putScript(this.#redis, this.#keys.session(tenant, user, session), [state.version, text, this.#ttlS]);
      return written === 1 ? 'written' : 'older';
    } catch (error) {
      this.#log.debug({ error: messageOf(error) }, 'session state not written');
      return 'failed';
    }
  }

  /** Renews the life of a state that is in use. False when there is none. */
  async touch(tenant: string, user: string, session: string): Promise<boolean> {
    try {
      return (await inTime(this.#redis.expire(this.#keys.session(tenant, user, session), this.#ttlS))) === 1;
    } catch {
      return false;
    }
  }
}
