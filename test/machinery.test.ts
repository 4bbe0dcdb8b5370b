// The harness and the local servers keep their own promises: a database per test file, and servers that survive a
// kill -9 of whoever started them, or of themselves, without losing data and without touching anybody else's process.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from '@jest/globals';
import { Redis } from 'ioredis';
import { prepareEmbedder } from '../src/dev/servers/embedder-files.ts';
import { checkoutDir, migrate, migrations, withClient } from '../src/dev/servers/migrate.ts';
import { freePort, freePortNear } from '../src/dev/servers/ports.ts';
import { canBeEntered } from '../src/dev/servers/postgres-binaries.ts';
import { startPostgres } from '../src/dev/servers/postgres.ts';
import { endProcess, isSame, markOf, type ProcessMark } from '../src/dev/servers/processes.ts';
import { startRedis } from '../src/dev/servers/redis.ts';
import { defaultStateDir, readStack, startStack } from '../src/dev/servers/stack.ts';
import { freshDatabase, useStack } from './support/stack.ts';

const stack = await useStack();
const scratch = mkdtempSync(join(tmpdir(), 'mainstay-machinery-'));
chmodSync(scratch, 0o755);
const ends: (() => Promise<void>)[] = [];
afterAll(async () => {
  for (const end of ends) await end();
  rmSync(scratch, { recursive: true, force: true });
});

interface Started { url: string; address: string; mark: ProcessMark; starter: ProcessMark }

/** A server started by another process, as `npm start` would be. */
async function startedElsewhere(kind: string, dir: string, ...more: string[]): Promise<Started> {
  const child = spawn(process.execPath, [join(checkoutDir, 'test/support/run-server.ts'), kind, dir, ...more], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await once(child.stdout, 'data') as [Buffer];
  const server = { ...JSON.parse(line.toString()) as Omit<Started, 'starter'>, starter: markOf(child.pid ?? 0) };
  ends.push(() => endProcess(server.starter, 'SIGKILL', 1_000), () => endProcess(server.mark, 'SIGKILL', 1_000));
  return server;
}

async function inRedis<T>(url: string, work: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url);
  try { return await work(redis); } finally { redis.disconnect(); }
}

describe('a test file', () => {
  test('has a migrated database of its own, apart from the next one', async () => {
    const other = await freshDatabase();
    const names = await withClient(stack.databaseUrl, async (client) => (await client.query('SELECT migration_name FROM _prisma_migrations')).rows);
    expect(names).toHaveLength(migrations().length);
    await withClient(stack.databaseUrl, (client) => client.query('CREATE TABLE mine ()'));
    expect(await withClient(other, async (client) => (await client.query(`SELECT to_regclass('mine') AS found`)).rows)).toEqual([{ found: null }]);
  });

  test('is told when its database was migrated otherwise than the files say', async () => {
    const url = await freshDatabase();
    expect(await migrate(url)).toBe(false);
    await withClient(url, (client) => client.query(`UPDATE _prisma_migrations SET checksum = 'other'`));
    await expect(migrate(url)).rejects.toThrow(/was changed after it was applied/);
  });

  test('reaches Redis, with noeviction', async () => {
    expect(await inRedis(stack.redisUrl, async (redis) => JSON.stringify(await redis.config('GET', 'maxmemory-policy')))).toContain('noeviction');
  });
});

describe('redis', () => {
  const dir = join(scratch, 'redis');

  test('is adopted after a kill -9 of its starter, and comes back with its data after a kill -9 of itself', async () => {
    const first = await startedElsewhere('redis', dir);
    await inRedis(first.url, (redis) => redis.set('kept', 'yes'));
    await endProcess(first.starter, 'SIGKILL', 1_000);
    const adopted = await startRedis(dir, false);
    expect(adopted).toMatchObject({ adopted: true, url: first.url, mark: first.mark });

    await endProcess(adopted.mark, 'SIGKILL', 1_000);
    const again = await startRedis(dir, false);
    ends.push(() => again.stop());
    expect(again).toMatchObject({ adopted: false, url: first.url });
    expect(await inRedis(again.url, (redis) => redis.get('kept'))).toBe('yes');
  });

  test('refuses a caller without the password', async () => {
    const server = await startRedis(join(scratch, 'locked'), true);
    ends.push(() => server.stop());
    await expect(inRedis(server.url.replace(/:[0-9a-f]+@/, ':wrong@'), (redis) => { redis.on('error', () => undefined); return redis.ping(); })).rejects.toThrow(/WRONGPASS|NOAUTH/);
  });
});

describe('postgres', () => {
  const dir = join(scratch, 'postgres');

  test('is adopted after a kill -9 of its starter, and recovers after a kill -9 of itself', async () => {
    const first = await startedElsewhere('postgres', dir);
    await withClient(first.url, (client) => client.query('CREATE TABLE kept AS SELECT 7 AS n'));
    await endProcess(first.starter, 'SIGKILL', 1_000);
    const adopted = await startPostgres(dir, false, () => undefined);
    expect(adopted).toMatchObject({ adopted: true, url: first.url, mark: first.mark });

    await endProcess(adopted.mark, 'SIGKILL', 1_000);
    const again = await startPostgres(dir, false, () => undefined);
    expect(again).toMatchObject({ adopted: false, url: first.url });
    expect(await withClient(again.url, async (client) => (await client.query('SELECT n FROM kept')).rows)).toEqual([{ n: 7 }]);

    // a postmaster.pid whose pid is another program's now: that one is left alone
    await again.stop();
    const stranger = spawn('sleep', ['60'], { stdio: 'ignore' });
    const mark = markOf(stranger.pid ?? 0);
    writeFileSync(join(again.dataDir, 'postmaster.pid'), [stranger.pid, again.dataDir, 1, 5432, '', '127.0.0.1', '', 'ready', ''].join('\n'));
    const last = await startPostgres(dir, false, () => undefined);
    ends.push(() => last.stop(), async () => rmSync(last.dataDir, { recursive: true, force: true }));
    expect(isSame(mark)).toBe(true);
    stranger.kill();
  });
});

test('milvus lite ends with its starter', async () => {
  const python = join(defaultStateDir, 'venv/bin/python');
  if (!existsSync(python)) throw new Error('the set-up of this run should have made the Python environment');
  const server = await startedElsewhere('milvus', join(scratch, 'milvus'), python);
  expect(isSame(server.mark)).toBe(true);
  await endProcess(server.starter, 'SIGKILL', 1_000);
  await expect(endOf(server.mark)).resolves.toBe('ended');
});

/** Resolves when the process is gone; the test's own time limit is the other way out. */
const endOf = async (mark: ProcessMark): Promise<string> => {
  while (isSame(mark)) await new Promise((resolve) => setImmediate(resolve));
  return 'ended';
};

describe('a stack', () => {
  test('takes given addresses, writes them down, and refuses a second start on the same folder', async () => {
    const dir = join(scratch, 'state');
    const options = { stateDir: dir, say: () => undefined, given: { DATABASE_URL: await freshDatabase(), REDIS_URL: stack.redisUrl, MILVUS_ADDRESS: stack.milvusAddress } };
    const first = await startStack(options);
    expect(first).toMatchObject({ kind: 'given', redisUrl: stack.redisUrl });
    expect(readStack(dir)).toMatchObject({ redisUrl: stack.redisUrl });
    await expect(startStack(options)).rejects.toThrow(/are run by process \d+ already/);
    await first.stop();
    await first.stop();
    expect(readStack(dir)).toBeUndefined();
    await (await startStack(options)).stop();
  });

  test('goes on without the embedding model, and says why', async () => {
    const outcome = await prepareEmbedder(join(scratch, 'no-model'), () => Promise.reject(new Error('no network')), () => undefined);
    expect(outcome).toEqual({ reason: expect.stringContaining('no network') });
  });

  test('does not trust a model that was changed', async () => {
    const dir = join(scratch, 'model');
    mkdirSync(dir);
    const tampered = { 'model.onnx': '8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6', 'tokenizer.json': 'x' };
    for (const [file, text] of Object.entries({ 'model.onnx': 'other', 'tokenizer.json': '{}', 'manifest.json': JSON.stringify({ id: 'x', sha256: tampered }) })) {
      writeFileSync(join(dir, file), text);
    }
    expect(await prepareEmbedder(dir, () => Promise.reject(new Error('fetched again')), () => undefined)).toEqual({ reason: expect.stringContaining('fetched again') });
  });
});

test('a port that is taken is replaced, a free one is kept', async () => {
  const port = await freePort();
  expect(await freePortNear(port)).toBe(port);
  const holder = createServer().listen(port, '127.0.0.1');
  await once(holder, 'listening');
  expect(await freePortNear(port)).not.toBe(port);
  holder.close();
});

test('a folder below one that only its owner may enter is known as such', () => {
  const closed = mkdtempSync(join(scratch, 'closed-'));
  expect(canBeEntered(scratch)).toBe(true);
  expect(canBeEntered(closed)).toBe(false); // mkdtemp makes it 0700
});
