// The fleet's one view of the provider's limits, per API key and model: what the provider last said it has left, less what the
// fleet has let through since, kept in Redis. A call that does not fit is not sent: it throws `rate_limited` with the time until
// it will, and its run parks. A refusal with `retry-after` closes the model for the fleet for that long. Where there is plenty a
// process goes by its own copy and tells Redis afterwards; where it is tight Redis is asked. While Redis is away calls go on:
// the provider's own refusals are then what limits them.
import type { Redis } from 'ioredis';
import { monoMs } from '../clock.ts';
import { MainstayError } from '../domain/errors.ts';
import type { Usage } from '../domain/model.ts';
import { LIMIT_KINDS, waitForMs, type LimitKind, type ProviderLimits } from '../domain/provider-limits.ts';
import type { RedisKeys } from '../redis.ts';
import { script } from './redis-script.ts';

export interface GovernorOptions {
  readonly redis: Redis;
  readonly keys: RedisKeys;
  /** Names the API key without being it. */
  readonly account: string;
}

/** A view of nobody's is forgotten after this: longer than the minute in which a provider's buckets fill. */
const VIEW_TTL_MS = 180_000;
/** A process trusts its own copy for so long, */
const TRUST_MS = 1_000;
/** and while so much of the limit is left: enough that a fleet of tens does not run into the wall within that time. */
const PLENTY = 0.3;
/** Redis is not asked again for this long after it failed to answer. */
const REDIS_REST_MS = 1_000;
/** Weight of the newest call in what is expected of the next. */
const NEWEST = 0.2;

type Need = Readonly<Record<LimitKind, number>>;

const LUA_NOW = "local time = redis.call('TIME')\n  local now = time[1] * 1000 + math.floor(time[2] / 1000)";
// One hash per key and model: for each kind its limit, what is left, when that was said and when all is there again; `closed`:
// until when nothing is taken; all by Redis' clock.
// May a call that needs so much go? ARGV: need of requests, input, output; 1 to count it whatever is left; life in ms.
// Output: ms to wait (0 = it is counted), then per kind limit, left and ms until all is there, -1 where nothing is known.
const admitScript = script(`
  ${LUA_NOW}
  local kinds = {'requests', 'input', 'output'}
  local fields, wait, view = {}, 0, {}
  for i, kind in ipairs(kinds) do
    local f = redis.call('HMGET', KEYS[1], kind .. ':limit', kind .. ':left', kind .. ':at', kind .. ':full')
    local limit, left, at, full = tonumber(f[1]), tonumber(f[2]), tonumber(f[3]), tonumber(f[4])
    if limit then
      if now >= full then left = limit elseif full > at then left = left + (limit - left) * (now - at) / (full - at) end
      fields[i] = {limit, left, full}
      local short = math.min(tonumber(ARGV[i]), limit) - left
      if short > 0 and limit > left then wait = math.max(wait, math.ceil((full - now) * short / (limit - left))) end
    end
  end
  local closed = tonumber(redis.call('HGET', KEYS[1], 'closed'))
  if closed and closed > now then wait = math.max(wait, closed - now) end
  if wait == 0 or ARGV[4] == '1' then
    for i, kind in ipairs(kinds) do
      local f = fields[i]
      if f then
        f[2] = math.max(0, f[2] - ARGV[i])
        if f[3] <= now then f[3] = now + 60000 * ARGV[i] / math.max(1, f[1]) end
        redis.call('HSET', KEYS[1], kind .. ':left', f[2], kind .. ':at', now, kind .. ':full', math.ceil(f[3]))
      end
    end
  end
  for i = 1, 3 do
    local f = fields[i]
    view[i] = f and {f[1], math.floor(f[2]), math.max(0, math.ceil(f[3] - now))} or {-1, 0, 0}
  end
  return {wait, view[1], view[2], view[3]}`);

// What the provider said. ARGV: per kind limit, left and ms until all is there (-1 = not said); ms closed or 0; life in ms.
const heardScript = script(`
  ${LUA_NOW}
  for i, kind in ipairs({'requests', 'input', 'output'}) do
    local limit = tonumber(ARGV[3 * i - 2])
    if limit >= 0 then redis.call('HSET', KEYS[1], kind .. ':limit', limit, kind .. ':left', ARGV[3 * i - 1], kind .. ':at', now, kind .. ':full', now + ARGV[3 * i]) end
  end
  local closedMs = tonumber(ARGV[10])
  if closedMs > 0 then redis.call('HSET', KEYS[1], 'closed', math.max(now + closedMs, tonumber(redis.call('HGET', KEYS[1], 'closed')) or 0)) end
  redis.call('PEXPIRE', KEYS[1], math.max(tonumber(ARGV[11]), closedMs + 1000, redis.call('PTTL', KEYS[1])))
  return 1`);

interface View { limits: ProviderLimits; saidMs: number; closedUntilMs: number; expected: { input: number; output: number } }

export class Governor {
  readonly #options: GovernorOptions;
  readonly #views = new Map<string, View>();
  #redisRestsUntilMs = 0;

  constructor(options: GovernorOptions) { this.#options = options; }

  /** Runs `work` if the provider has room for it. `most`: what the call may use at most; what it is likely to use is learnt. Rejects
   *  with `rate_limited` and the time to wait, or with the work's own error. `heard` takes what the provider says. */
  async run<T extends { readonly usage: Usage }>(model: string, most: { readonly inputTokens: number; readonly outputTokens: number }, work: (heard: (limits: ProviderLimits) => void) => Promise<T>): Promise<T> {
    const view = this.#viewOf(model);
    const need: Need = { requests: 1, input: Math.ceil(most.inputTokens * view.expected.input), output: Math.ceil(most.outputTokens * view.expected.output) };
    const waitMs = await this.#admit(model, view, need);
    if (waitMs > 0) throw new MainstayError('rate_limited', `The provider has no room for this call of ${model} for another ${Math.ceil(waitMs / 1_000)} s.`, { retryAfterMs: waitMs });
    const turn = await work((limits) => this.#heard(model, view, limits));
    const learn = (was: number, used: number, of: number): number => was + NEWEST * (Math.min(1, used / Math.max(1, of)) - was);
    view.expected = {
      input: learn(view.expected.input, turn.usage.inputTokens + turn.usage.cacheWrite5mTokens + turn.usage.cacheWrite1hTokens, most.inputTokens),
      output: learn(view.expected.output, turn.usage.outputTokens, most.outputTokens),
    };
    return turn;
  }

  #viewOf(model: string): View {
    let view = this.#views.get(model);
    // a third of the most is what a first call is taken for: prompts are guessed twice too long, answers rarely fill their limit
    if (!view) this.#views.set(model, view = { limits: { kinds: {} }, saidMs: -Infinity, closedUntilMs: 0, expected: { input: 0.5, output: 0.3 } });
    return view;
  }

  async #admit(model: string, view: View, need: Need): Promise<number> {
    const nowMs = monoMs();
    if (nowMs < view.closedUntilMs) return view.closedUntilMs - nowMs;
    if (nowMs < this.#redisRestsUntilMs) return 0;
    if (nowMs - view.saidMs < TRUST_MS && hasPlenty(view, need)) {
      void this.#ask(model, view, need, true).catch(() => undefined); // the fleet is told; that it was not costs a guess, not the call
      return 0;
    }
    return this.#ask(model, view, need, false).catch(() => 0);
  }

  async #ask(model: string, view: View, need: Need, anyway: boolean): Promise<number> {
    try {
      const [waitMs, ...said] = (await admitScript(this.#options.redis, this.#key(model), [need.requests, need.input, need.output, anyway ? 1 : 0, VIEW_TTL_MS])) as [number, ...[number, number, number][]];
      view.limits = { kinds: Object.fromEntries(LIMIT_KINDS.flatMap((kind, at) => { const [limit, left, resetMs] = said[at] as [number, number, number]; return limit < 0 ? [] : [[kind, { limit, left, resetMs }]]; })) };
      view.saidMs = monoMs();
      return waitMs;
    } catch (error) {
      this.#redisRestsUntilMs = monoMs() + REDIS_REST_MS;
      throw error;
    }
  }

  #heard(model: string, view: View, limits: ProviderLimits): void {
    view.limits = limits;
    view.saidMs = monoMs();
    const { closedMs = 0, kinds } = limits;
    if (closedMs > 0) view.closedUntilMs = Math.max(view.closedUntilMs, monoMs() + closedMs);
    if (monoMs() < this.#redisRestsUntilMs || (closedMs === 0 && Object.keys(kinds).length === 0)) return;
    const said = LIMIT_KINDS.flatMap((kind) => { const one = kinds[kind]; return one ? [one.limit, Math.floor(one.left), Math.ceil(one.resetMs)] : [-1, 0, 0]; });
    heardScript(this.#options.redis, this.#key(model), [...said, Math.ceil(closedMs), VIEW_TTL_MS]).catch(() => { this.#redisRestsUntilMs = monoMs() + REDIS_REST_MS; });
  }

  #key(model: string): string { return this.#options.keys.provider(this.#options.account, model); }
}

/** Nothing is known to be short: also what no provider has said anything of. */
function hasPlenty({ limits, saidMs }: View, need: Need): boolean {
  return LIMIT_KINDS.every((kind) => {
    const one = limits.kinds[kind];
    return one === undefined || (one.left - need[kind] >= PLENTY * one.limit && waitForMs(one, need[kind], monoMs() - saidMs) === 0);
  });
}
