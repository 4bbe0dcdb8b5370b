// Whether Redis keeps what it is given. Under any eviction policy but `noeviction` a full Redis drops locks, wake-ups and the
// ready queue one by one, without a word: processes refuse to start on it, and a change at run time is said in the log and
// by the gauge `redis_policy_ok` within a minute. A managed Redis that tells nothing of it is taken as it is, and said so.
import type { Redis } from 'ioredis';
import { messageOf } from '../domain/errors.ts';
import { REDIS_POLICY_MS } from '../domain/tunables.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';

export interface RedisFacts {
  readonly version: string;
  /** `unknown`: this server does not tell. */
  readonly policy: string;
  readonly isAof: boolean | undefined;
  readonly usedBytes: number;
  /** 0 = no limit of its own */
  readonly limitBytes: number;
}

const refused = (error: unknown): boolean => /^(NOPERM|ERR)/.test(messageOf(error));

/** What the server tells of itself. Rejects when it does not answer. */
export async function redisFacts(redis: Redis): Promise<RedisFacts> {
  const info = await redis.info().catch((error: unknown) => { if (refused(error)) return ''; throw error; });
  const fields = new Map(info.split(/\r?\n/).map((line): [string, string] => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 1)]));
  const aof = fields.get('aof_enabled');
  return {
    version: fields.get('redis_version') ?? 'unknown', policy: fields.get('maxmemory_policy') ?? (await askedPolicy(redis)), isAof: aof === undefined ? undefined : aof === '1',
    usedBytes: Number(fields.get('used_memory') ?? 0), limitBytes: Number(fields.get('maxmemory') ?? 0),
  };
}

/** Where `INFO` is refused or says nothing, the configuration may be read; a managed Redis mostly denies it. */
async function askedPolicy(redis: Redis): Promise<string> {
  try {
    const reply: unknown = await redis.config('GET', 'maxmemory-policy');
    return Array.isArray(reply) && typeof reply[1] === 'string' ? reply[1] : 'unknown';
  } catch (error) {
    if (refused(error)) return 'unknown';
    throw error;
  }
}

export interface PolicyWatch { stop(): void }

/**
 * Looks at the policy now and again every `everyMs` until `stop`. Rejects where Redis answers and may evict; a Redis that is
 * away, or goes away, is nobody's fault here.
 */
export async function watchRedisPolicy(redis: Redis, metrics: Pick<Metrics, 'redisPolicyOk'>, log: Log, everyMs = REDIS_POLICY_MS): Promise<PolicyWatch> {
  let last: string | undefined;
  metrics.redisPolicyOk.set(-1); // a gauge nobody set says 0, which is the alarm
  const look = async (): Promise<string | undefined> => {
    const policy = await redisFacts(redis).then((facts) => facts.policy, () => undefined);
    if (policy === undefined) return undefined;
    metrics.redisPolicyOk.set(policy === 'noeviction' ? 1 : policy === 'unknown' ? -1 : 0);
    if (policy !== 'noeviction' && policy !== 'unknown') log.error({ policy }, 'Redis may evict keys: set its maxmemory-policy to noeviction');
    else if (policy !== last) log.info({ policy }, policy === 'unknown' ? 'Redis does not tell its eviction policy: it must be noeviction' : 'Redis keeps what it is given');
    last = policy;
    return policy;
  };
  const policy = await look();
  if (policy !== undefined && policy !== 'noeviction' && policy !== 'unknown') throw new Error(`Redis may evict keys: its maxmemory-policy is ${policy}. Set it to noeviction (\`CONFIG SET maxmemory-policy noeviction\`, and in its configuration), then start again.`);
  const timer = setInterval(() => { void look(); }, everyMs);
  timer.unref();
  return { stop: () => clearInterval(timer) };
}
