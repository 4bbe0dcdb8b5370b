// Servers of the bench's own on free ports, data in a folder that is removed afterwards: Redis with its append-only file synced
// every second, PostgreSQL durable as it comes (fsync, synchronous_commit and full_page_writes on: looked at, not assumed).
// All peers of a run share them in turn, each with an empty database. They are ended by pid, also when the bench is killed.
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { createDatabase, migrate, withClient } from '../src/dev/servers/migrate.ts';
import { startPostgres } from '../src/dev/servers/postgres.ts';
import { endWithMe } from '../src/dev/servers/processes.ts';
import { startRedis } from '../src/dev/servers/redis.ts';
import type { Servers } from './peer.ts';

const TEMPLATE = 'bench_template';
const DURABLE = ['fsync', 'synchronous_commit', 'full_page_writes'];

export type OwnServers = Servers & { readonly settings: Readonly<Record<string, string>>; stop(): Promise<void> };

export async function startServers(say: (line: string) => void): Promise<OwnServers> {
  const dir = mkdtempSync(join(tmpdir(), 'mainstay-bench-'));
  chmodSync(dir, 0o755); // PostgreSQL's user must be able to enter
  const redis = await startRedis(join(dir, 'redis'), false);
  const postgres = await startPostgres(join(dir, 'postgres'), false, say);
  const calm = endWithMe([redis.mark, postgres.mark]);
  const settings = await withClient(postgres.url, async (client) => {
    const { rows } = await client.query<{ name: string; setting: string }>('SELECT name, setting FROM pg_settings WHERE name = ANY ($1)', [[...DURABLE, 'server_version', 'shared_buffers', 'max_connections']]);
    return Object.fromEntries(rows.map(({ name, setting }) => [name, setting]));
  });
  const off = DURABLE.filter((name) => settings[name] !== 'on');
  if (off.length > 0) throw new Error(`PostgreSQL is not durable: ${off.join(', ')}`);
  await migrate(urlOf(postgres.url, TEMPLATE));
  let databases = 0;
  return {
    dir, settings, redisUrl: redis.url, redisPid: redis.mark.pid, postgresPid: postgres.mark.pid,
    async freshDatabase({ migrated = false, synchronousCommit = true } = {}) {
      const name = `bench_${++databases}`;
      await dropOld(postgres.url);
      await createDatabase(urlOf(postgres.url, name), migrated ? TEMPLATE : 'template0');
      await withClient(postgres.url, async (client) => {
        if (!synchronousCommit) await client.query(`ALTER DATABASE ${name} SET synchronous_commit = off`);
        await client.query('CHECKPOINT'); // so that nobody pays for the one before
      });
      return urlOf(postgres.url, name);
    },
    async freshRedis() {
      const client = new Redis(redis.url);
      await client.flushall();
      client.disconnect();
    },
    async stop() {
      await Promise.all([redis.stop(), postgres.stop()]);
      calm();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

const urlOf = (server: string, database: string): string => Object.assign(new URL(server), { pathname: `/${database}` }).href;

async function dropOld(server: string): Promise<void> {
  await withClient(server, async (client) => {
    const { rows } = await client.query<{ name: string }>(`SELECT datname AS name FROM pg_database WHERE datname LIKE 'bench\\_%' AND datname <> $1`, [TEMPLATE]);
    for (const { name } of rows) await client.query(`DROP DATABASE ${name} WITH (FORCE)`);
  });
}

/** Bytes of a database on disk, everything written out. */
export const databaseBytes = (url: string): Promise<number> => withClient(url, async (client) => {
  await client.query('CHECKPOINT');
  return (await client.query<{ bytes: number }>('SELECT pg_database_size(current_database())::float8 AS bytes')).rows[0]?.bytes ?? NaN;
});

export async function redisBytes(url: string): Promise<number> {
  const client = new Redis(url);
  const found = /used_memory:(\d+)/.exec(await client.info('memory'));
  client.disconnect();
  return Number(found?.[1] ?? NaN);
}
