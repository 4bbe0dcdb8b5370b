// All servers of one checkout: Redis, PostgreSQL, Milvus Lite and the embedding model, started together, data under one
// state folder. One start at a time per folder; servers left by a killed start are adopted. A given address replaces a
// local server. What is found (addresses with passwords) is written to stack.json for the command line, owner-only.
import { chmodSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { monoMs } from '../../clock.ts';
import { messageOf } from '../../domain/errors.ts';
import { prepareEmbedder } from './embedder-files.ts';
import { checkoutDir, migrate } from './migrate.ts';
import { startMilvusLite } from './milvus-lite.ts';
import { startPostgres } from './postgres.ts';
import { endWithMe, isSame, markOf, readJson, writeJson, type ProcessMark } from './processes.ts';
import { preparePython } from './python.ts';
import { startRedis } from './redis.ts';

export interface StackOptions {
  /** Folder of data, logs and addresses; made when missing. */
  stateDir: string;
  /** One line for the person who waits. */
  say: (line: string) => void;
  /** Folder of what is fetched once (Python environment, model); default `.mainstay` of the checkout. */
  fetchedDir?: string;
  /** Throw-away servers: no durability, ended with this process even when it is killed. */
  ephemeral?: boolean;
  /** Servers someone else runs; each replaces a local one. */
  given?: { DATABASE_URL?: string | undefined; REDIS_URL?: string | undefined; MILVUS_ADDRESS?: string | undefined };
  /** What the given servers are; default `given`. */
  givenKind?: 'given' | 'containers';
}

export interface StackAddresses {
  databaseUrl: string;
  redisUrl: string;
  milvusAddress: string;
  milvusDenseIndex: 'FLAT' | 'HNSW';
  /** Folder of the built-in model; undefined: use the lexical embedder and say `embedderReason`. */
  embedderDir: string | undefined;
  embedderReason?: string;
  kind: 'local' | 'containers' | 'given';
}

export interface Stack extends StackAddresses {
  stateDir: string;
  /** Seconds each part took, by name. */
  phases: Record<string, number>;
  /** Ends what was started or adopted here, in reverse; given servers are left alone. Safe to call twice. */
  stop(): Promise<void>;
}

export const defaultStateDir = join(checkoutDir, '.mainstay');

export async function startStack(options: StackOptions): Promise<Stack> {
  const stateDir = resolve(options.stateDir);
  mkdirSync(stateDir, { recursive: true });
  if (process.getuid?.() === 0) chmodSync(stateDir, 0o755); // user postgres passes through to its data
  const unlock = lockState(stateDir);
  const stops: (() => Promise<void>)[] = [];
  const stop = once(async () => {
    await Promise.all(stops.map((one) => one().catch((error: unknown) => options.say(`a server did not stop: ${messageOf(error)}`))));
    rmSync(join(stateDir, 'stack.json'), { force: true });
    unlock();
  });
  try {
    const phases: Record<string, number> = {};
    const addresses = await startParts(stateDir, options, phases, stops);
    writeJson(join(stateDir, 'stack.json'), { ...addresses, mark: markOf(process.pid) });
    return { ...addresses, stateDir, phases, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Addresses of the stack that runs on this folder now; undefined when none does. */
export function readStack(stateDir: string = defaultStateDir): StackAddresses | undefined {
  const found = readJson(join(resolve(stateDir), 'stack.json')) as (StackAddresses & { mark: ProcessMark }) | undefined;
  return found && isSame(found.mark) ? found : undefined;
}

async function startParts(stateDir: string, options: StackOptions, phases: Record<string, number>, stops: (() => Promise<void>)[]): Promise<StackAddresses> {
  const { say, given = {}, ephemeral = false } = options;
  const fetchedDir = resolve(options.fetchedDir ?? defaultStateDir);
  const timed = timer(phases);
  const marks: ProcessMark[] = [];
  const started = <S extends { stop(): Promise<void>; mark: ProcessMark }>(server: S): S => { stops.push(() => server.stop()); marks.push(server.mark); return server; };
  const python = lazily(() => timed('python', () => preparePython(join(fetchedDir, 'venv'), say)));

  const [redisUrl, databaseUrl, milvusAddress, embedder] = await allOrFirstError([
    given.REDIS_URL ?? timed('redis', async () => started(await startRedis(join(stateDir, 'redis'), ephemeral)).url),
    (async () => {
      const url = given.DATABASE_URL ?? await timed('postgres', async () => inDatabase('mainstay', started(await startPostgres(join(stateDir, 'postgres'), ephemeral, say)).url));
      await timed('migrations', () => migrate(url));
      return url;
    })(),
    given.MILVUS_ADDRESS ?? (async () => {
      const { python: interpreter, milvus } = await python();
      await timed('milvus fetched', milvus);
      return timed('milvus', async () => started(await startMilvusLite(join(stateDir, 'milvus'), interpreter)).address);
    })(),
    timed('embedder', () => prepareEmbedder(join(fetchedDir, 'embedder'), async () => (await python()).python, say)),
  ]);
  if (ephemeral && marks.length > 0) {
    const calm = endWithMe(marks);
    stops.push(() => Promise.resolve(calm()));
  }
  const replaced = [given.REDIS_URL, given.DATABASE_URL, given.MILVUS_ADDRESS].some((url) => url !== undefined);
  return {
    databaseUrl, redisUrl, milvusAddress,
    milvusDenseIndex: given.MILVUS_ADDRESS === undefined ? 'FLAT' : 'HNSW',
    ...('dir' in embedder ? { embedderDir: embedder.dir } : { embedderDir: undefined, embedderReason: embedder.reason }),
    kind: replaced ? options.givenKind ?? 'given' : 'local',
  };
}

/** The url with another database. */
export function inDatabase(name: string, databaseUrl: string): string {
  const url = new URL(databaseUrl);
  url.pathname = `/${name}`;
  return url.href;
}

/** One start per folder: a second one would adopt, and later stop, the servers of the first. */
function lockState(stateDir: string): () => void {
  const file = join(stateDir, 'stack.lock');
  for (;;) {
    try { writeFileSync(file, JSON.stringify(markOf(process.pid)), { flag: 'wx', mode: 0o600 }); break; }
    catch (error) { if ((error as { code?: string }).code !== 'EEXIST') throw error; }
    const holder = readJson(file) as ProcessMark | undefined;
    if (holder && isSame(holder)) throw new Error(`the servers in ${stateDir} are run by process ${holder.pid} already: stop that one first (Ctrl-C, or kill ${holder.pid})`);
    rmSync(file, { force: true });
  }
  return () => rmSync(file, { force: true });
}

/** Waits for all, then throws the first error: what did start is known to `stops` by then. */
async function allOrFirstError<T extends readonly unknown[]>(parts: readonly [...T]): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  const settled: PromiseSettledResult<unknown>[] = await Promise.allSettled(parts);
  const failed = settled.flatMap((part) => (part.status === 'rejected' ? [messageOf(part.reason)] : []));
  if (failed.length > 0) throw new Error([...new Set(failed)].join('\n'));
  return Promise.all(parts);
}

const timer = (phases: Record<string, number>) => async <T>(name: string, work: () => Promise<T>): Promise<T> => {
  const startMs = monoMs();
  try { return await work(); } finally { phases[name] = Math.round(monoMs() - startMs) / 1_000; }
};

function lazily<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined;
  return () => (made ??= make());
}

const once = (work: () => Promise<void>): (() => Promise<void>) => lazily(work);
