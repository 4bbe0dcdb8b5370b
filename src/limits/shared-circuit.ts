// The part of a breaker that the fleet shares: one Redis hash per name, judged by Redis' clock. It is open until a moment,
// then lets one caller at a time through as the probe, and is gone when a probe succeeds. Each failed probe doubles the
// time, up to a cap. Losing the key closes the breaker; the next failures open it again.
import type { Redis } from 'ioredis';
import { script } from './redis-script.ts';

/** First time a breaker stays open; doubles with every failed probe. */
export const OPEN_MS = 10_000;
export const OPEN_CAP_MS = 120_000;
/** A probe that has not answered by then is given up for another. Most model turns end within it. */
export const PROBE_MS = 60_000;
/** The number of failed probes is forgotten this long after the breaker could have closed. */
const MEMORY_MS = 600_000;

const NOW = "local time = redis.call('TIME')\n  local now = time[1] * 1000 + math.floor(time[2] / 1000)";

// May I call? ARGV: token, probe life in ms, ms after which to look again while another's probe is out. Output: {'closed', 0}, {'open', ms to wait, code of the callee's own or ''} or {'probe', 0}.
const admitScript = script(`
  ${NOW}
  local state = redis.call('HMGET', KEYS[1], 'openUntil', 'probeUntil', 'why')
  local openUntil = tonumber(state[1])
  if not openUntil then return {'closed', 0} end
  if now < openUntil then return {'open', openUntil - now, state[3] or ''} end
  local probeUntil = tonumber(state[2]) or 0
  if now < probeUntil then return {'open', math.min(probeUntil - now, tonumber(ARGV[3])), ''} end
  redis.call('HSET', KEYS[1], 'probe', ARGV[1], 'probeUntil', now + ARGV[2])
  return {'probe', 0}`);

// Open it. ARGV: first time in ms, cap in ms, memory in ms, probe's token or '', forced time in ms or 0, the code that forced it.
// Output: ms until it may be tried again. A probe that was given up changes nothing.
const tripScript = script(`
  ${NOW}
  local state = redis.call('HMGET', KEYS[1], 'openUntil', 'probe', 'trips')
  local openUntil = tonumber(state[1]) or 0
  local forced = tonumber(ARGV[5])
  if ARGV[4] ~= '' and state[2] ~= ARGV[4] then return math.max(openUntil - now, 1) end
  if forced == 0 and openUntil > now then return openUntil - now end
  local trips = tonumber(state[3]) or 0
  local openMs = math.min(ARGV[1] * 2 ^ trips, tonumber(ARGV[2]))
  if forced > 0 then openMs = math.max(forced, openUntil - now) end
  openMs = math.floor(openMs)
  redis.call('HSET', KEYS[1], 'openUntil', now + openMs, 'trips', math.min(trips + 1, 20))
  redis.call('HDEL', KEYS[1], 'probe', 'probeUntil')
  if forced > 0 then redis.call('HSET', KEYS[1], 'why', ARGV[6]) else redis.call('HDEL', KEYS[1], 'why') end
  redis.call('PEXPIRE', KEYS[1], openMs + ARGV[3])
  return openMs`);

// The probe is over. ARGV: token, 'closed' when the callee answered, else 'unclear'. Output: 1 when the token was the probe's.
const probedScript = script(`
  if redis.call('HGET', KEYS[1], 'probe') ~= ARGV[1] then return 0 end
  if ARGV[2] == 'closed' then redis.call('DEL', KEYS[1]) else redis.call('HDEL', KEYS[1], 'probe', 'probeUntil') end
  return 1`);

export type Admission = { readonly state: 'closed' | 'probe' } | { readonly state: 'open'; readonly waitMs: number; /** The code by which the callee itself refuses everybody; empty = calls fail. */ readonly why: string };

export interface SharedTimes { readonly openMs: number; readonly openCapMs: number; readonly probeMs: number }

/** Every call rejects when Redis is out of reach. */
export class SharedCircuit {
  readonly #redis: Redis;
  readonly #key: string;
  readonly #times: SharedTimes;

  constructor(redis: Redis, key: string, times: SharedTimes) {
    this.#redis = redis;
    this.#key = key;
    this.#times = times;
  }

  /** `token`: names this caller, should it become the probe. */
  async admit(token: string): Promise<Admission> {
    const [state, waitMs, why = ''] = (await admitScript(this.#redis, this.#key, [token, this.#times.probeMs, this.#times.openMs])) as ['closed' | 'probe' | 'open', number, string?];
    return state === 'open' ? { state, waitMs, why } : { state };
  }

  /** Opens it, because calls fail, because the probe failed (`token`) or for a time the callee named. Milliseconds to wait. */
  async trip(why: { token?: string; forcedMs?: number; code?: string } = {}): Promise<number> {
    const { openMs, openCapMs } = this.#times;
    return (await tripScript(this.#redis, this.#key, [openMs, openCapMs, MEMORY_MS, why.token ?? '', Math.ceil(why.forcedMs ?? 0), why.code ?? ''])) as number;
  }

  /** `closed`: the callee works again. `unclear`: the probe said nothing about it, so the next caller may be one. */
  async probed(token: string, outcome: 'closed' | 'unclear'): Promise<void> {
    await probedScript(this.#redis, this.#key, [token, outcome]);
  }
}
