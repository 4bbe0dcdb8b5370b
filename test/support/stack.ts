// What a test file asks for: `const stack = useStack()` gives it a database of its own, cloned from the migrated
// template, and prefixes of its own in Redis and Milvus. Afterwards the database is dropped and a connection somebody
// left open is an error; where a test failed the database is kept and named.
import { randomBytes } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { monoMs, pause } from '../../src/clock.ts';
import { createDatabase, withClient } from '../../src/dev/servers/migrate.ts';
import { inDatabase, type Stack } from '../../src/dev/servers/stack.ts';

export interface TestStack {
  /** A migrated, empty database of this file; the login is a superuser that may SET ROLE. */
  databaseUrl: string;
  redisUrl: string;
  /** REDIS_PREFIX of this file. Prefixes separate; nobody may flush the server. */
  redisPrefix: string;
  milvusAddress: string;
  milvusPrefix: string;
  milvusDenseIndex: 'FLAT' | 'HNSW';
  /** undefined: only the lexical embedder can be had here. */
  embedderDir: string | undefined;
  /** All of the above as configuration, for readConfig or a process this test starts. */
  env: Record<string, string>;
}

type Cleanup = (failed: boolean) => Promise<void>;
const world = globalThis as { mainstayCleanups?: Cleanup[] };
/** Runs after the last hook of the file, latest first. */
export const atFileEnd = (work: Cleanup): void => { (world.mainstayCleanups ??= []).unshift(work); };

const given = (): Stack => {
  const text = process.env['MAINSTAY_TEST_STACK'];
  if (!text) throw new Error('no servers: jest runs with the configuration of this checkout (npm test)');
  return JSON.parse(text) as Stack;
};

/** Call once at the top of a test file: `const stack = await useStack();` */
export async function useStack(): Promise<TestStack> {
  const { redisUrl, milvusAddress, milvusDenseIndex, embedderDir } = given();
  const name = uniqueName();
  const stack = { databaseUrl: await freshDatabase(), redisUrl, redisPrefix: `t-${name.replace('_', '-')}`, milvusAddress, milvusPrefix: `t_${name}`, milvusDenseIndex, embedderDir };
  return {
    ...stack,
    env: {
      DATABASE_URL: stack.databaseUrl, REDIS_URL: redisUrl, REDIS_PREFIX: stack.redisPrefix,
      MILVUS_ADDRESS: milvusAddress, MILVUS_PREFIX: stack.milvusPrefix, MILVUS_DENSE_INDEX: milvusDenseIndex,
      ...(embedderDir === undefined ? { EMBEDDER: 'lexical' } : { EMBEDDER: 'builtin', EMBEDDER_MODEL_DIR: embedderDir }),
    },
  };
}

/** One more migrated, empty database. Dropped at the end of the file, kept when a test of it failed. */
export async function freshDatabase(): Promise<string> {
  const { databaseUrl, stateDir } = given();
  const name = `t_${uniqueName()}`;
  const url = inDatabase(name, databaseUrl);
  await createDatabase(url, new URL(databaseUrl).pathname.slice(1));
  const beside = inDatabase('postgres', databaseUrl); // a connection to the template would stop others from cloning it
  atFileEnd(async (failed) => {
    if (failed) return appendFileSync(join(stateDir, 'kept'), `  database ${name}\n`);
    const left = await leftOpen(beside, name);
    await withClient(beside, (client) => client.query(`DROP DATABASE IF EXISTS ${pg.escapeIdentifier(name)} WITH (FORCE)`));
    if (left.length > 0) throw new Error(`this test file left connections to its database open: ${left.join(' | ')}`);
  });
  return url;
}

/** What the connections still open after half a second did last. */
async function leftOpen(beside: string, name: string): Promise<string[]> {
  const ask = (): Promise<string[]> => withClient(beside, async (client) => {
    const { rows } = await client.query<{ query: string }>(`SELECT left(query, 80) AS query FROM pg_stat_activity WHERE datname = $1 AND backend_type = 'client backend'`, [name]);
    return rows.map(({ query }) => query);
  });
  let open = await ask();
  for (const endMs = monoMs() + 500; open.length > 0 && monoMs() < endMs; open = await ask()) await pause(20);
  return open;
}

const uniqueName = (): string => `${process.pid.toString(36)}_${randomBytes(4).toString('hex')}`;
