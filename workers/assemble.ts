// Builds the parts of a process from its configuration. Nothing here decides anything; each root picks what it needs and
// starts it. Closing goes in reverse and never hangs: what cannot be closed is left to the end of the process.
import { createHash } from 'node:crypto';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Redis } from 'ioredis';
import { openBlobStore } from '../src/artifacts/open.ts';
import type { Config } from '../src/config.ts';
import type { BlobStore } from '../src/domain/blob.ts';
import type { Machine } from '../src/domain/machine.ts';
import { Breakers, type BreakerOptions } from '../src/limits/breakers.ts';
import { Governor } from '../src/limits/governor.ts';
import { JobStates } from '../src/limits/job-state.ts';
import { LiveText } from '../src/limits/live-text.ts';
import { Quotas } from '../src/limits/quotas.ts';
import { quotasOf } from '../src/store/engine/quotas.ts';
import { Locks } from '../src/limits/locks.ts';
import { openLimitsRedis } from '../src/limits/redis-script.ts';
import { ToolCache } from '../src/limits/tool-cache.ts';
import { ToolRates } from '../src/limits/tool-rates.ts';
import { SessionStates } from '../src/limits/session-state.ts';
import { makeLog, type Log } from '../src/log.ts';
import { makeMetrics, type Metrics } from '../src/metrics.ts';
import { makeAnthropicBatches } from '../src/model/anthropic-batches.ts';
import { makeAnthropicModel } from '../src/model/anthropic.ts';
import type { Model } from '../src/domain/model.ts';
import { watchRedisPolicy, type PolicyWatch } from '../src/queue/redis-policy.ts';
import { ReadyQueue } from '../src/queue/ready-queue.ts';
import { WakeUps } from '../src/queue/wake-ups.ts';
import { openRedis, redisKeys, redisReady, type RedisKeys } from '../src/redis.ts';
import { BatchLane, type BatchLaneDeps } from '../src/run/batch-lane.ts';
import type { ExecuteDeps } from '../src/run/execute-run.ts';
import { BudgetKeeper } from '../src/run/keep-budgets.ts';
import { Dispatcher, type PoolQueue } from '../src/run/offer-run.ts';
import type { Recaller } from '../src/run/recaller.ts';
import { Registry } from '../src/run/registry.ts';
import { makeSubmitRun, type SubmitRun } from '../src/run/submit-run.ts';
import { Engine } from '../src/store/engine/engine.ts';
import { openEnginePool, type EnginePool } from '../src/store/engine/pool.ts';

export const POOLS = ['agent', 'memory'] as const;
/** A process starts without Redis after this: it is only the hints. */
const REDIS_WAIT_MS = 2_000;

/** What a process stands on before it knows any machine. */
export interface Ground {
  readonly config: Config;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly keys: RedisKeys;
  readonly redis: Redis;
  readonly redisPolicy: PolicyWatch;
  /** The engine's login. */
  readonly pool: EnginePool;
  /** Values too large for their row. */
  readonly blobs: BlobStore;
}

/** What every process has. */
export interface Base extends Ground {
  readonly engine: Engine;
  readonly registry: Registry;
  readonly queues: ReadonlyMap<string, PoolQueue>;
  readonly dispatcher: Dispatcher;
  readonly submit: SubmitRun;
  readonly budgets: BudgetKeeper;
  close(): Promise<void>;
}

/** Loads the agents of this installation. */
export async function loadMachines(config: Config): Promise<readonly Machine[]> {
  const loaded = (await import(pathToFileURL(resolve(config.AGENTS_MODULE)).href)) as { machines?: readonly Machine[] };
  const { machines } = loaded;
  if (!machines) throw new Error(`AGENTS_MODULE ${config.AGENTS_MODULE} exports no array \`machines\``);
  return machines;
}

export async function openGround(config: Config, processName: string): Promise<Ground> {
  const log = makeLog(config.LOG_LEVEL, processName);
  const redis = openRedis(config.REDIS_URL, 'fast', log);
  await redisReady(redis, REDIS_WAIT_MS).catch((error: unknown) => log.warn({ error: String(error) }, 'redis is away: going on without'));
  const metrics = makeMetrics(processName);
  const redisPolicy = await watchRedisPolicy(redis, metrics, log).catch((error: unknown) => { redis.disconnect(); throw error; });
  const pool = openEnginePool(config.DATABASE_ENGINE_URL ?? config.DATABASE_URL, config.DATABASE_ENGINE_URL === undefined, 8, log);
  return { config, log, metrics, keys: redisKeys(config.REDIS_PREFIX), redis, redisPolicy, pool, blobs: openBlobStore(config) };
}

export function assembleOn(ground: Ground, machines: readonly Machine[]): Base {
  const { config, log, metrics, keys, redis, pool } = ground;
  const engine = new Engine(pool);
  const registry = new Registry(machines);
  const queues = new Map(POOLS.map((name) => {
    const wakeUps = new WakeUps({ redis, keys, pool: name, log });
    return [name, { wakeUps, ready: new ReadyQueue({ redis, wakeUps, keys, pool: name }) }];
  }));
  const dispatcher = new Dispatcher(queues, log);
  const submit = makeSubmitRun({ engine, registry, dispatcher, tell: (told) => redis.publish(keys.cancelChannel, told), metrics, log, defaultModel: config.MODEL });
  return {
    ...ground, engine, registry, queues, dispatcher, submit, budgets: new BudgetKeeper({ engine, dispatcher, log }),
    async close() {
      for (const queue of queues.values()) await queue.wakeUps.close();
      ground.redisPolicy.stop();
      redis.disconnect();
      await pool.end().catch(() => undefined); // the process ends anyway
    },
  };
}

/** For processes whose machines need nothing of the ground. */
export const assembleBase = async (config: Config, processName: string, machines: readonly Machine[]): Promise<Base> => assembleOn(await openGround(config, processName), machines);

export interface Limits { readonly breakers: Breakers; readonly rates: ToolRates; readonly cache: ToolCache; readonly governor: Governor; readonly quotas: Quotas; readonly locks: Locks; readonly sessions: SessionStates; readonly jobs: JobStates; readonly live: LiveText; close(): void }

export function assembleLimits({ config, log, keys, metrics, engine }: Base, change: Partial<BreakerOptions> = {}): Limits {
  const redis = openLimitsRedis(config.REDIS_URL, log);
  const STATES = { closed: 0, half_open: 1, open: 2 } as const;
  const breakers = new Breakers({ redis, keys, log, onState: (name, state) => metrics.breakerState.set({ breaker: metrics.bound('breaker', name) }, STATES[state]), ...change });
  const account = createHash('sha256').update(config.ANTHROPIC_API_KEY ?? 'none').digest('hex').slice(0, 16);
  return {
    breakers, rates: new ToolRates(redis, keys), cache: new ToolCache(redis, keys), governor: new Governor({ redis, keys, account }), quotas: new Quotas(redis, keys, (tenant) => quotasOf(engine.pool, tenant)), locks: new Locks(redis), sessions: new SessionStates(redis, keys, log, config.SESSION_TTL_S), jobs: new JobStates(redis, keys), live: new LiveText(redis, keys),
    close() { breakers.close(); redis.disconnect(); },
  };
}

export function assembleModel({ config, log }: Base): Model {
  return makeAnthropicModel({ apiKey: config.ANTHROPIC_API_KEY ?? 'none', log, ...(config.ANTHROPIC_BASE_URL === undefined ? {} : { baseUrl: config.ANTHROPIC_BASE_URL }) });
}

export const assembleBatchLane = ({ config, pool, budgets, dispatcher, metrics, log }: Base, times: BatchLaneDeps['times'] = {}): BatchLane =>
  new BatchLane({ pool, budgets, dispatcher, metrics, log, times, batches: makeAnthropicBatches({ apiKey: config.ANTHROPIC_API_KEY ?? 'none', baseUrl: config.ANTHROPIC_BASE_URL }) });

/** What a worker needs to execute runs. */
export function assembleExecution(base: Base, limits: Limits, recaller: Recaller, worker: string): ExecuteDeps {
  const { engine, registry, keys, metrics, log, blobs, submit, budgets } = base;
  const { breakers, rates, cache, governor, quotas, locks, sessions, jobs, live } = limits;
  return {
    engine, registry, sessions, jobs, live, locks, keys, metrics, log, endLog: log.child({}, { redact: [] }), worker, recaller, blobs, submit,
    tools: { pool: engine.pool, breakers, rates, locks, keys, metrics, blobs, cache },
    models: { engine, model: assembleModel(base), governor, quotas, breakers, budgets, metrics },
  };
}
