// `mainstay doctor`: looks at everything the fleet stands on and at the fleet itself, and says what is wrong and what to do. It
// changes nothing, makes nothing that is missing, and goes on where a store does not answer: what hangs on that store is then
// `unknown`. It never prints an address with its password, a key or anything of a tenant.
import type { Redis } from 'ioredis';
import type { Config } from '../config.ts';
import { messageOf } from '../domain/errors.ts';
import { FLEET_CHECKS, fleetChecks, ok, unknown, wrong, type Check } from '../domain/fleet-checks.ts';
import { DOCTOR_REDIS_FULL, DOCTOR_SAMPLE, DOCTOR_SKEW_MS, DOCTOR_WAIT_MS } from '../domain/tunables.ts';
import { VECTOR_COLLECTIONS, type IndexLook } from '../domain/vector-index.ts';
import { lookAtMilvus } from '../memory/milvus-look.ts';
import { sampleDrift, type SampledDrift } from '../memory/sample-index.ts';
import { redisFacts, type RedisFacts } from '../queue/redis-policy.ts';
import { appliedMigrations, fleetFacts, loginFacts, serverFacts, type Migration, type ServerFacts } from '../store/engine/doctor.ts';
import type { EnginePool } from '../store/engine/pool.ts';
import type { PoolQueue } from './offer-run.ts';

export interface DoctorDeps {
  readonly config: Config;
  /** As the owner of the schema, without a role. */
  readonly owner: EnginePool;
  /** As processes open it. */
  readonly engine: EnginePool;
  /** Logins of their own; undefined = the owner takes the role on. */
  readonly engineLogin: EnginePool | undefined;
  readonly appLogin: EnginePool | undefined;
  readonly redis: Redis;
  readonly queues: ReadonlyMap<string, PoolQueue>;
  /** Of this build; undefined where they are not part of it. */
  readonly migrations: readonly Migration[] | undefined;
}

/** Every check once, in a fixed order. Never rejects. */
export async function examine(deps: DoctorDeps): Promise<Check[]> {
  const parts = await Promise.all([postgres(deps), redis(deps), milvus(deps), fleet(deps)]);
  return [...parts.flat(), modelKey(deps.config)];
}

/** What an error says; a refused connection to two addresses says nothing but its code. */
const reason = (error: unknown): string => (messageOf(error) || ((error as { code?: string }).code ?? 'no reason given')).slice(0, 300);

/** One check; where it cannot be made, it is not known. */
async function look(name: string, work: () => Promise<Check>): Promise<Check> {
  try { return await work(); } catch (error) { return unknown(name, reason(error)); }
}

async function postgres(deps: DoctorDeps): Promise<Check[]> {
  let server: ServerFacts;
  try {
    server = await serverFacts(deps.owner);
  } catch (error) {
    return [wrong('postgres', `Postgres does not answer: ${reason(error)}`, 'Start it, or correct DATABASE_URL; nothing can be accepted or claimed without it.'),
      ...['durability', 'clock', 'migrations', 'logins'].map((name) => unknown(name, 'Postgres does not answer'))];
  }
  return [ok('postgres', `PostgreSQL ${server.version}`), durability(server), clock(server), await look('migrations', () => migrations(deps)), await look('logins', () => logins(deps))];
}

function durability({ fsync, synchronousCommit, fullPageWrites }: ServerFacts): Check {
  const found = `fsync ${fsync}, synchronous_commit ${synchronousCommit}, full_page_writes ${fullPageWrites}`;
  if (fsync === 'on' && synchronousCommit !== 'off' && fullPageWrites === 'on') return ok('durability', found);
  return wrong('durability', found, 'A crash of Postgres may lose accepted runs or repeat a fence: set all three to `on`.');
}

function clock({ skewMs }: ServerFacts): Check {
  const found = `the database's clock is ${Math.abs(Math.round(skewMs))} ms ${skewMs < 0 ? 'behind' : 'ahead of'} this machine's`;
  return Math.abs(skewMs) <= DOCTOR_SKEW_MS ? ok('clock', found) : wrong('clock', found, 'Let both be set by NTP. Leases go by the database alone, but log lines and `startAt` mean something else than people read.');
}

async function migrations({ owner, migrations: wanted }: DoctorDeps): Promise<Check> {
  const advice = 'Run `npx prisma migrate deploy` with DATABASE_URL, as the migrate image does.';
  const applied = await appliedMigrations(owner);
  if (applied === undefined) return wrong('migrations', 'this database was never migrated', advice);
  const failed = applied.filter(({ isFinished }) => !isFinished).map(({ name }) => name);
  if (failed.length > 0) return wrong('migrations', `begun and not finished: ${failed.join(', ')}`, 'Look at what it left, then `npx prisma migrate resolve` and deploy again.');
  if (wanted === undefined) return unknown('migrations', `${applied.length} applied; this build does not hold the list to compare with`);
  const missing = wanted.filter(({ name }) => !applied.some((one) => one.name === name)).map(({ name }) => name);
  if (missing.length > 0) return wrong('migrations', `not applied: ${missing.join(', ')}`, advice);
  const changed = wanted.filter(({ name, checksum }) => applied.some((one) => one.name === name && one.checksum !== checksum)).map(({ name }) => name);
  if (changed.length > 0) return wrong('migrations', `changed after it was applied: ${changed.join(', ')}`, 'Restore the file as it was applied; a change is a new migration.');
  const newer = applied.length - wanted.length;
  return ok('migrations', `all ${wanted.length} applied${newer > 0 ? `, and ${newer} of a newer build` : ''}`);
}

async function logins({ owner, engineLogin, appLogin }: DoctorDeps): Promise<Check> {
  const [engine, app] = [await loginFacts(engineLogin ?? owner), await loginFacts(appLogin ?? owner)];
  const found = `engine ${engine.login}, app ${app.login}`;
  if (!engine.isEngine) return wrong('logins', `${engine.login} is no member of mainstay_engine`, `GRANT mainstay_engine TO "${engine.login}";`);
  if (!app.isApp) return wrong('logins', `${app.login} is no member of mainstay_app`, `GRANT mainstay_app TO "${app.login}";`);
  if (appLogin !== undefined && (app.sees || app.isEngine)) return wrong('logins', `${app.login} is not bound by row-level security`, 'Give DATABASE_APP_URL a login that is neither superuser, BYPASSRLS nor a member of mainstay_engine.');
  return ok('logins', `${found}${appLogin === undefined ? ' (by the owner: give both logins of their own in production)' : ''}`);
}

async function redis({ redis: client, queues }: DoctorDeps): Promise<Check[]> {
  let facts: RedisFacts;
  try {
    facts = await redisFacts(client);
  } catch (error) {
    return [wrong('redis', `Redis does not answer: ${reason(error)}`, 'Start it, or correct REDIS_URL. Runs go on meanwhile, claimed from Postgres once a second.'),
      ...['redis-policy', 'redis-aof', 'redis-memory', 'ready-queue'].map((name) => unknown(name, 'Redis does not answer'))];
  }
  return [ok('redis', `Redis ${facts.version}`), policy(facts), aof(facts), memory(facts), await look('ready-queue', () => readyQueues(queues))];
}

function policy({ policy: set }: RedisFacts): Check {
  if (set === 'unknown') return unknown('redis-policy', 'this server does not tell its eviction policy; it must be noeviction');
  return set === 'noeviction' ? ok('redis-policy', set) : wrong('redis-policy', `maxmemory-policy is ${set}`, '`CONFIG SET maxmemory-policy noeviction`, and in its configuration: evicted locks and queues are lost without a word.');
}

function aof({ isAof }: RedisFacts): Check {
  if (isAof === undefined) return unknown('redis-aof', 'this server does not tell');
  return isAof ? ok('redis-aof', 'the append-only file is on') : wrong('redis-aof', 'the append-only file is off', '`CONFIG SET appendonly yes`, and in its configuration: a restart then costs a second of hints instead of all of them.');
}

function memory({ usedBytes, limitBytes }: RedisFacts): Check {
  const mib = (bytes: number): string => `${(bytes / 1_048_576).toFixed(1)} MiB`;
  if (limitBytes === 0) return ok('redis-memory', `${mib(usedBytes)} used, no limit of its own`);
  const found = `${mib(usedBytes)} of ${mib(limitBytes)} used`;
  return usedBytes < limitBytes * DOCTOR_REDIS_FULL ? ok('redis-memory', found) : wrong('redis-memory', found, 'Raise maxmemory: a full Redis refuses writes, and runs are then claimed from Postgres once a second.');
}

async function readyQueues(queues: ReadonlyMap<string, PoolQueue>): Promise<Check> {
  const states = await Promise.all([...queues].map(async ([pool, { ready }]) => ({ pool, isKnown: await ready.isKnown(), ...(await ready.depth()) })));
  const found = states.map(({ pool, held, tenants }) => `${pool} holds ${held} of ${tenants} tenants`).join(', ');
  const lost = states.filter(({ isKnown }) => !isKnown).map(({ pool }) => pool);
  if (lost.length === 0) return ok('ready-queue', found);
  return wrong('ready-queue', `${found}; never filled since Redis was empty: ${lost.join(', ')}`, 'A maintenance worker fills it within a second: `mainstay worker --pool maintenance`; or `mainstay rebuild queue`.');
}

async function milvus({ config, engine }: DoctorDeps): Promise<Check[]> {
  let there: IndexLook;
  try {
    there = await lookAtMilvus({ address: config.MILVUS_ADDRESS, token: config.MILVUS_TOKEN, tls: config.MILVUS_TLS, prefix: config.MILVUS_PREFIX }, DOCTOR_WAIT_MS);
  } catch (error) {
    return [wrong('milvus', `Milvus does not answer: ${reason(error)}`, 'Start it, or correct MILVUS_ADDRESS. Recall goes on from Postgres, marked degraded.'), ...['collections', 'index-drift'].map((name) => unknown(name, 'Milvus does not answer'))];
  }
  try {
    const missing = VECTOR_COLLECTIONS.filter((name) => there.generations[name] === 0);
    return [ok('milvus', `Milvus ${there.version}`), missing.length === 0 ? ok('collections', `generations: ${VECTOR_COLLECTIONS.map((name) => `${name} ${there.generations[name]}`).join(', ')}`)
      : wrong('collections', `missing under the prefix ${config.MILVUS_PREFIX}: ${missing.join(', ')}`, 'A memory or maintenance worker makes them at its start. Were they there before, all rows must be indexed again: `mainstay reindex`.'),
    await look('index-drift', async () => drift(await sampleDrift(engine, there, DOCTOR_SAMPLE)))];
  } finally {
    await there.close();
  }
}

function drift(found: readonly SampledDrift[]): Check {
  if (found.length === 0) return unknown('index-drift', 'there is no collection to compare');
  const said = found.map(({ collection, rows, missing, vectors, ghosts, elsewhere }) =>
    `${collection}: of ${rows} rows ${missing} without their vector, of ${vectors} vectors ${ghosts} of no live row${elsewhere === 0 ? '' : `, ${elsewhere} rows in the collections of another embedder`}`).join('; ');
  if (found.every(({ missing, ghosts, elsewhere }) => missing + ghosts + elsewhere === 0)) return ok('index-drift', said);
  return wrong('index-drift', said, '`mainstay reindex --repair` puts it right in place; `mainstay reindex` builds the index anew, also where the embedder has changed. Recall shows nothing wrong meanwhile, but may miss something.');
}

async function fleet({ engine, queues }: DoctorDeps): Promise<Check[]> {
  try {
    return fleetChecks(await fleetFacts(engine), [...queues.keys()]);
  } catch (error) {
    return FLEET_CHECKS.map((name) => unknown(name, `the fleet's rows cannot be read: ${reason(error)}`));
  }
}

function modelKey({ ANTHROPIC_API_KEY: key, ANTHROPIC_BASE_URL: address }: Config): Check {
  if (key !== undefined) return ok('model-key', 'ANTHROPIC_API_KEY is set');
  return address === undefined ? wrong('model-key', 'ANTHROPIC_API_KEY is not set here', 'Set it for the workers (and here), or every model call is refused.') : ok('model-key', 'no key, but ANTHROPIC_BASE_URL names another server');
}
