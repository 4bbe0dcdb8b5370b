// `mainstay explain`, `doctor` and `rebuild queue`: why a run does not move, what is wrong with the fleet, and the ready queue
// filled again. `explain` asks the API; the other two work on the stores themselves, as whoever holds their addresses may.
// `doctor` ends with 1 when something is wrong. None prints a secret.
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { styleText } from 'node:util';
import { Option, type Command } from 'commander';
import { readConfig, type Config } from '../config.ts';
import { MainstayError, messageOf } from '../domain/errors.ts';
import { DOCTOR_WAIT_MS } from '../domain/tunables.ts';
import type { Check } from '../domain/fleet-checks.ts';
import { makeLog, type Log } from '../log.ts';
import type { PoolQueue } from '../run/offer-run.ts';
import type { Rebuilt } from '../run/rebuild-queue.ts';
import type { Migration } from '../store/engine/doctor.ts';
import { isConnectionError, openEnginePool, type EnginePool } from '../store/engine/pool.ts';
import { apiClient, withApiOptions, type ApiOptions } from './connection.ts';
import { inline, note, printJson, printLine, printPairs, shortTime } from './output.ts';

interface Words { readonly json?: boolean }
const POOLS = ['agent', 'memory'] as const;

export function addExplainCommand(program: Command): void {
  withApiOptions(program.command('explain')).description('why a run does not move, and the command that moves it').argument('<run>', 'run_…')
    .action(async (id: string, options: ApiOptions) => {
      const answer = await apiClient(options).runs.explain(id);
      if (options.json) return printJson(answer);
      printPairs([['run', answer.run], ['status', answer.status], ['because', answer.because], ['', answer.sentence], ['since', shortTime(answer.since)], ['details', inline(answer.details)], ['command', answer.command]]);
    });
}

export function addOperateCommands(program: Command): void {
  program.command('doctor').description('what is wrong with the stores and the fleet, and what to do; exit code 1 when something is')
    .option('--json', 'print JSON').action(doctor);
  program.command('rebuild').description('fill again what Redis holds').command('queue').description('drop the ready queue and fill it from Postgres; safe while workers run')
    .addOption(new Option('--pool <pool>', 'of this pool only').choices(POOLS)).option('--json', 'print JSON').action(rebuild);
}

async function doctor({ json }: Words): Promise<void> {
  const config = configuration();
  const { examine } = await import('../run/doctor.ts');
  const checks = await withStores(config, POOLS, async (stores) => examine({ config, ...stores, migrations: migrationsOf() }));
  const isHealthy = checks.every(({ state }) => state !== 'wrong');
  if (json) printJson({ healthy: isHealthy, checks }); else checks.forEach(show);
  if (!isHealthy) process.exitCode = 1;
}

const COLOURS = { ok: 'green', wrong: 'red', unknown: 'yellow' } as const;

function show({ check, state, found, advice }: Check): void {
  printLine(`${state.padEnd(7)}  ${check.padEnd(13)}  ${found}`);
  if (advice !== null) note(styleText(COLOURS[state], `${check}: ${advice}`, { stream: process.stderr }));
}

async function rebuild({ pool, json }: Words & { readonly pool?: (typeof POOLS)[number] }): Promise<void> {
  const { rebuildQueue } = await import('../run/rebuild-queue.ts');
  const rebuilt: Rebuilt[] = [];
  await withStores(configuration(), pool === undefined ? POOLS : [pool], async ({ engine, queues }) => {
    for (const [name, queue] of queues) rebuilt.push(await rebuildQueue(engine, name, queue));
  }).catch((error: unknown) => {
    if (isConnectionError(error)) throw new MainstayError('unavailable', `Postgres does not answer: ${messageOf(error) || String((error as { code?: unknown }).code)}`, { cause: error });
    if (isRedisAway(error)) throw new MainstayError('unavailable', `Redis does not answer: ${messageOf(error)}`, { cause: error });
    throw error;
  });
  if (json) return printJson({ data: rebuilt });
  for (const { pool: name, heldBefore, offered, slots, isKnown } of rebuilt) {
    printLine(`${name}: held ${heldBefore} before, holds ${offered} due runs of Postgres now${slots > 0 ? `, and knows of ${slots} running` : ''}`);
    if (!isKnown) note(`${name}: another rebuild came between; maintenance completes it within a second`);
  }
}

const isRedisAway = (error: unknown): boolean => /isn't writeable|Command timed out|Connection is closed|max retries|ECONNREFUSED|did not answer/i.test(messageOf(error));

/** A configuration that is wrong is told in plain lines, before anything is opened. */
function configuration(): Config {
  try { return readConfig(); } catch (error) { throw new MainstayError('bad_request', messageOf(error)); }
}

interface Stores {
  readonly owner: EnginePool;
  readonly engine: EnginePool;
  readonly engineLogin: EnginePool | undefined;
  readonly appLogin: EnginePool | undefined;
  readonly redis: Awaited<ReturnType<typeof openQueues>>['redis'];
  readonly queues: ReadonlyMap<string, PoolQueue>;
}

/** Opens the stores for `work` and closes them after it, whether or not they answer. */
async function withStores<T>(config: Config, pools: readonly string[], work: (stores: Stores) => Promise<T>): Promise<T> {
  const log = makeLog('silent', 'cli');
  const open = (url: string, asRole: boolean): EnginePool => openEnginePool(url, asRole, 1, log);
  const { DATABASE_URL: url, DATABASE_ENGINE_URL: engineUrl, DATABASE_APP_URL: appUrl } = config;
  const login = (own: string | undefined): EnginePool | undefined => (own === undefined ? undefined : open(own, false));
  const stores = { owner: open(url, false), engine: open(engineUrl ?? url, engineUrl === undefined), engineLogin: login(engineUrl), appLogin: login(appUrl) };
  const { redis, queues, close } = await openQueues(config, pools, log);
  try {
    return await work({ ...stores, redis, queues });
  } finally {
    await close();
    for (const pool of Object.values(stores)) await pool?.end();
  }
}

async function openQueues(config: Config, pools: readonly string[], log: Log) {
  const [{ openRedis, redisKeys, redisReady }, { ReadyQueue }, { WakeUps }] = await Promise.all([import('../redis.ts'), import('../queue/ready-queue.ts'), import('../queue/wake-ups.ts')]);
  const [redis, keys] = [openRedis(config.REDIS_URL, 'fast', log, { commandTimeout: DOCTOR_WAIT_MS }), redisKeys(config.REDIS_PREFIX)];
  await redisReady(redis, 2_000).catch(() => undefined); // its first call says so
  const queues = new Map(pools.map((pool): [string, PoolQueue] => {
    const wakeUps = new WakeUps({ redis, keys, pool, log });
    return [pool, { wakeUps, ready: new ReadyQueue({ redis, wakeUps, keys, pool }) }];
  }));
  return { redis, queues, close: async () => { for (const { wakeUps } of queues.values()) await wakeUps.close(); redis.disconnect(); } };
}

/** The migrations of this checkout or image; undefined where they are not part of it. From source and from dist/ they are at another height. */
function migrationsOf(): Migration[] | undefined {
  const folder = ['../../prisma/migrations/', '../../../prisma/migrations/'].map((path) => new URL(path, import.meta.url)).find((url) => existsSync(url));
  if (!folder) return undefined;
  return readdirSync(folder).sort().map((name) => ({ name, file: new URL(`${name}/migration.sql`, folder) })).filter(({ file }) => existsSync(file))
    .map(({ name, file }) => ({ name, checksum: createHash('sha256').update(readFileSync(file)).digest('hex') }));
}
