// `mainstay doctor` on a fleet that is well finds nothing and ends with 0; each thing broken once is found, alone, with what to
// do; a store that is away leaves the other checks standing; and no secret is printed.
import { randomUUID } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { readConfig } from '../../src/config.ts';
import { migrate, migrations, withClient } from '../../src/dev/servers/migrate.ts';
import { startPostgres } from '../../src/dev/servers/postgres.ts';
import { DOCTOR_WAIT_MS } from '../../src/domain/tunables.ts';
import type { Check } from '../../src/domain/fleet-checks.ts';
import type { VectorRow } from '../../src/domain/vector-index.ts';
import { newId } from '../../src/ids.ts';
import { makeLog } from '../../src/log.ts';
import { openRedis, redisReady } from '../../src/redis.ts';
import { examine, type DoctorDeps } from '../../src/run/doctor.ts';
import { rebuildQueue } from '../../src/run/rebuild-queue.ts';
import { openEnginePool } from '../../src/store/engine/pool.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { plantMemories } from '../support/memories.ts';
import { startOwnRedis } from '../support/own-redis.ts';
import { spawnCli } from '../support/spawn-cli.ts';
import { atFileEnd, useStack } from '../support/stack.ts';
import { stuckMachines } from '../support/stuck-machines.ts';
import { openTestIndex } from '../support/test-index.ts';

const stack = await useStack();
const folder = mkdtempSync(join(tmpdir(), 'mainstay-doctor-'));
// servers as production has them: what is written stays written
const postgres = await startPostgres(folder, false, () => undefined);
atFileEnd(async () => { await postgres.stop(); rmSync(folder, { recursive: true, force: true }); });
const database = postgres.url.replace(/\/postgres$/, '/mainstay');
await migrate(database);
const redis = await startOwnRedis();
atFileEnd(() => redis.stop());
await redis.client.config('SET', 'appendonly', 'yes');
const env = { ...stack.env, DATABASE_URL: database, REDIS_URL: redis.url, ANTHROPIC_API_KEY: 'sk-ant-hush' };
const fleet = await startMemoryFleet({ ...stack, env }, stuckMachines, { change: { LEASE_MS: '60000' } }); // no lease of its workers ends on a slow machine
const index = await openTestIndex({ ...stack, env });
const rows = (text: string, values: readonly unknown[] = []): Promise<object[]> => fleet.rows(text, values);
const log = makeLog('silent', 'test');

/** Opens what the command opens, with these keys changed. */
async function checks(change: Record<string, string | undefined> = {}, over: Partial<DoctorDeps> = {}): Promise<Check[]> {
  const config = readConfig({ ...env, ...change });
  const open = (url: string | undefined, asRole = false) => (url === undefined ? undefined : openEnginePool(url, asRole, 1, log));
  const pools = { owner: open(config.DATABASE_URL)!, engine: open(config.DATABASE_ENGINE_URL ?? config.DATABASE_URL, config.DATABASE_ENGINE_URL === undefined)!, engineLogin: open(config.DATABASE_ENGINE_URL), appLogin: open(config.DATABASE_APP_URL) };
  const client = openRedis(config.REDIS_URL, 'fast', log, { commandTimeout: DOCTOR_WAIT_MS });
  await redisReady(client, 500).catch(() => undefined);
  try {
    return await examine({ config, ...pools, redis: client, queues: fleet.base.queues, migrations: migrations(), ...over });
  } finally {
    client.disconnect();
    for (const pool of Object.values(pools)) await pool?.end();
  }
}

/** What is wrong, by name. */
const wrong = (found: readonly Check[]): Record<string, string> => Object.fromEntries(found.filter(({ state }) => state === 'wrong').map(({ check, found: what, advice }) => { expect(advice).toBeTruthy(); return [check, what]; }));

test('a fleet that is well: nothing found, exit code 0, no secret', async () => {
  expect(wrong(await checks())).toEqual({ 'ready-queue': expect.stringContaining('never filled') }); // no maintenance yet
  for (const [pool, queue] of fleet.base.queues) await rebuildQueue(fleet.base.engine.pool, pool, queue);
  const said = await spawnCli(['doctor'], { env });
  expect(said).toMatchObject({ code: 0, err: '' });
  expect(said.out.trim().split('\n').every((line) => line.startsWith('ok '))).toBe(true);
  expect(said.out).toMatch(/migrations +all \d+ applied/);
  const json = await spawnCli(['doctor', '--json'], { env });
  const { healthy, checks: all } = JSON.parse(json.out) as { healthy: boolean; checks: Check[] };
  expect([json.code, healthy, all.length]).toEqual([0, true, 28]);
  expect(said.out + json.out).not.toMatch(/hush|postgres(ql)?:\/\/|redis:\/\//);
});

interface Broken { readonly what: string; readonly check: string; readonly found: RegExp; readonly breaks: () => Promise<unknown>; readonly mends: () => Promise<unknown> }

const configSet = (key: string, value: string) => () => redis.client.config('SET', key, value);
const sql = (text: string) => () => rows(text);
/** A run of `stuck` that nobody is about to move, changed. */
async function run(change: string): Promise<string> {
  const { id } = await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'stuck', input: { why: 'timer' }, delayMs: 3_600_000 });
  await rows(`UPDATE agent_runs SET ${change} WHERE id = $1`, [id]);
  return id;
}
const noRuns = sql(`DELETE FROM agent_runs`);
const broken = (check: string, found: RegExp, breaks: () => Promise<unknown>, mends: () => Promise<unknown> = noRuns, what = check): Broken => ({ what, check, found, breaks, mends });
const aRun = (check: string, found: RegExp, change: string): Broken => broken(check, found, () => run(change));

const aSummary = (generation: string, ago: string) => sql(`INSERT INTO run_summaries (tenant_id, run_id, agent, summary, text, indexed_generation, created_at) VALUES ('acme', gen_random_uuid(), 'stuck', '{}', 'text', ${generation}, now() - interval '${ago.replace(/an? /, '1 ')}')`);
const noSummaries = sql(`DELETE FROM run_summaries`);
async function aMemory(change: string): Promise<string> {
  const [id = ''] = await plantMemories(rows, 'acme', [{ statement: 'The office is in Porto.' }]);
  await rows(`UPDATE memories SET ${change} WHERE id = $1`, [id]);
  return id;
}
const ghost: VectorRow = { id: newId(), tenant: 'acme', user: null, agent: null, scope: 'workspace', type: 'fact', version: 1, text: 'x', vector: (await fleet.memory.embedder.embed(['x'], 'document'))[0]! };
const noMemories = async (): Promise<void> => { await rows(`DELETE FROM memories`); await index.delete('memories', 'acme', (await index.ids('memories', 'acme')).map(({ id }) => id)); };
const aBatch = (sentAgo: string, dueAgo: string) => sql(`INSERT INTO model_batches (id, model, items, state, provider_id, sent_at, look_at) VALUES (gen_random_uuid(), 'm', 1, 'open', 'msgbatch_1', now() - interval '${sentAgo}', now() - interval '${dueAgo}')`);
const noBatches = sql(`DELETE FROM model_batches`);

const dead = randomUUID();
const last = migrations().at(-1)!;
const BROKEN: readonly Broken[] = [
  broken('redis-policy', /volatile-lru/, configSet('maxmemory-policy', 'volatile-lru'), configSet('maxmemory-policy', 'noeviction')),
  broken('redis-aof', /off/, configSet('appendonly', 'no'), configSet('appendonly', 'yes')),
  broken('redis-memory', /MiB of .* used/, async () => { const used = Number(/used_memory:(\d+)/.exec(await redis.client.info('memory'))?.[1]); await redis.client.config('SET', 'maxmemory', String(Math.ceil(used * 1.08))); }, configSet('maxmemory', '0')),
  broken('ready-queue', /agent/, () => redis.client.del(`${fleet.base.keys.ready('agent')}generation`), () => rebuildQueue(fleet.base.engine.pool, 'agent', fleet.base.queues.get('agent')!)),
  broken('durability', /synchronous_commit off/, sql(`ALTER DATABASE mainstay SET synchronous_commit = off`), sql(`ALTER DATABASE mainstay RESET synchronous_commit`)),
  broken('clock', /3(600|599)\d{3} ms ahead/, async () => {
    await rows(`CREATE SCHEMA fake; CREATE FUNCTION fake.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT pg_catalog.clock_timestamp() + interval ''1 hour'''`);
    await rows(`ALTER DATABASE mainstay SET search_path = fake, pg_catalog, public`);
  }, async () => { await rows(`ALTER DATABASE mainstay RESET search_path`); await rows(`DROP SCHEMA fake CASCADE`); }),
  broken('migrations', new RegExp(`not applied: ${last.name}`), sql(`UPDATE _prisma_migrations SET rolled_back_at = now() WHERE migration_name = '${last.name}'`), sql(`UPDATE _prisma_migrations SET rolled_back_at = NULL`), 'one migration is missing'),
  broken('migrations', new RegExp(`changed after it was applied: ${last.name}`), sql(`UPDATE _prisma_migrations SET checksum = 'x' WHERE migration_name = '${last.name}'`), sql(`UPDATE _prisma_migrations SET checksum = '${last.checksum}' WHERE migration_name = '${last.name}'`), 'one was changed'),
  broken('migrations', /begun and not finished/, sql(`UPDATE _prisma_migrations SET finished_at = NULL WHERE migration_name = '${last.name}'`), sql(`UPDATE _prisma_migrations SET finished_at = now() WHERE finished_at IS NULL`), 'one failed'),
  broken('dead-workers', /agent-77 \(1\)/, async () => {
    await rows(`INSERT INTO workers (id, incarnation, name, pool, machines, lease_until) VALUES (nextval('worker_seq'), $1, 'agent-77', 'agent', '{}', now() - interval '1 minute')`, [dead]);
    await run(`version = 99, status = 'running', claimed_by = '${dead}', started_at = now()`);
  }),
  broken('due-runs', /agent 1, the oldest for 12\d s/, async () => {
    await rows(`INSERT INTO workers (id, incarnation, name, pool, machines, lease_until) VALUES (nextval('worker_seq'), gen_random_uuid(), 'ghost', 'agent', '{ghost@1}', now() + interval '1 hour')`);
    await run(`agent = 'ghost', wake_at = now() - interval '2 minutes'`);
  }, async () => { await rows(`DELETE FROM workers WHERE name = 'ghost'`); await noRuns(); }),
  aRun('versions', /stuck@99 \(1\)/, `version = 99, wake_at = now()`),
  aRun('outcomes', /1 runs wait for a person/, `status = 'waiting', wait_reason = 'outcome', wake_at = NULL`),
  aRun('restored', /1 runs wait/, `status = 'waiting', wait_reason = 'restored', wake_at = NULL`),
  aRun('poison', /1 runs ended their worker/, `status = 'failed', error_code = 'poison', finished_at = now()`),
  aRun('suspects', /1 unfinished runs/, `crashes = 1`),
  aRun('expiry', /1 runs should have ended/, `expires_at = now() - interval '1 minute'`),
  aRun('memory', /1 finished runs are not remembered, the oldest for 12\d\d s/, `status = 'completed', finished_at = now() - interval '20 minutes', memory_state = 'due'`),
  broken('remembering', /1 finished runs whose/, async () => {
    const owed = await run(`status = 'completed', finished_at = now(), memory_state = 'due'`);
    await run(`status = 'failed', error_code = 'model_rejected', finished_at = now(), idempotency_key = 'remember:${owed}:1'`);
  }),
  broken('inboxes', /1 runs wait for something that has/, async () => {
    const id = await run(`status = 'waiting', wait_reason = 'signal', wake_at = NULL`);
    await rows(`INSERT INTO step_waits (tenant_id, run_id, step_seq, path, kind, name, args_hash) VALUES ('acme', $1, 1, '1', 'signal', 'go', '\\x00')`, [id]);
    await rows(`INSERT INTO signals (tenant_id, run_id, id, name, sent_by, created_at) VALUES ('acme', $1, $1, 'go', 'test', now() - interval '1 minute')`, [id]);
  }),
  broken('index', /owed to the vector index: conversation_summaries 1, the oldest for 36\d\d s/, aSummary('NULL', 'an hour'), noSummaries),
  broken('index', /memories 1, the oldest for 36\d\d s/, async () => { await aMemory(`valid_from = now() - interval '1 day', valid_to = now() - interval '1 hour', last_seen_at = now() - interval '1 day', created_at = now() - interval '1 day'`); }, noMemories, 'a closed memory whose vector should be gone'),
  broken('index-drift', /memories: of 1 rows 1 without their vector, of 0 vectors 0/, () => aMemory(`indexed_generation = '${index.generation}'`), noMemories, 'a vector that is lost'),
  broken('index-drift', /memories: of 1 rows 1 without their vector, of 1 vectors 0/, async () => { await index.upsert('memories', [{ ...ghost, id: await aMemory(`version = 2, indexed_generation = '${index.generation}'`) }]); }, noMemories, 'a vector of an older version'),
  broken('index-drift', /memories: of 0 rows 0 without their vector, of 1 vectors 1 of no live row/, () => index.upsert('memories', [ghost]), noMemories, 'a vector of no row'),
  broken('index-drift', /memories: of 0 rows 0 .* of 1 vectors 1 of no live row/, async () => { await index.upsert('memories', [{ ...ghost, id: await aMemory(`valid_to = now(), indexed_generation = '${index.generation}'`) }]); }, noMemories, 'a vector of a closed row'),
  broken('index-drift', /conversation_summaries: .* 1 rows in the collections of another embedder/, aSummary(`'g0123456789ab'`, 'a second'), noSummaries, 'a row of another embedder'),
  broken('batches', /1 calls wait to be sent \(the oldest for 36\d\d s\)/, sql(`INSERT INTO batch_items (id, tenant_id, run_id, step_seq, path, attempt, model, bytes, request, created_at) VALUES (gen_random_uuid(), 'acme', gen_random_uuid(), 1, '0', 1, 'm', 1, '{}', now() - interval '1 hour')`), sql(`DELETE FROM batch_items`), 'calls that no batch takes'),
  broken('batches', /1 batches are under way .*1 of them not looked at/, aBatch('10 minutes', '5 minutes'), noBatches, 'a batch nobody looks at'),
  broken('batches', /1 batches are under way \(the oldest for 1080\d\d s\)$/, aBatch('30 hours', '-5 minutes'), noBatches, 'a batch that never ends'),
];

test.each(BROKEN)('$what', async ({ check, found, breaks, mends }) => {
  await breaks();
  try {
    expect(wrong(await checks())).toEqual({ [check]: expect.stringMatching(found) });
  } finally {
    await mends(); // what it leaves is found by the next
  }
});

test('what the configuration names: stores that are away, other collections, no key, a pool without workers', async () => {
  const away = await checks({ REDIS_URL: 'redis://:hush@127.0.0.1:1' });
  expect(wrong(away)).toEqual({ redis: expect.stringContaining('does not answer') });
  expect(away.filter(({ state }) => state === 'unknown').map(({ check }) => check)).toEqual(['redis-policy', 'redis-aof', 'redis-memory', 'ready-queue']);
  expect(wrong(await checks({ MILVUS_ADDRESS: '127.0.0.1:1' }))).toEqual({ milvus: expect.stringContaining('does not answer') });
  expect(wrong(await checks({ MILVUS_PREFIX: 'nobodys' }))).toEqual({ collections: expect.stringContaining('memories, conversation_summaries') });
  expect(wrong(await checks({ ANTHROPIC_API_KEY: undefined }))).toEqual({ 'model-key': expect.stringContaining('not set') });
  expect(wrong(await checks({}, { queues: new Map([...fleet.base.queues, ['gpu', fleet.base.queues.get('agent')!]]) }))).toEqual({ workers: expect.stringContaining('gpu 0') });
  const gone = await checks({ DATABASE_URL: 'postgresql://postgres:hush@127.0.0.1:1/x' });
  expect(wrong(gone)).toEqual({ postgres: expect.stringContaining('ECONNREFUSED') });
  expect(gone.filter(({ state }) => state === 'ok').map(({ check }) => check)).toContain('milvus');
  expect(JSON.stringify([away, gone])).not.toContain('hush');
});

test('a database nobody migrated, and logins that may too little or too much', async () => {
  const empty = postgres.url.replace(/\/postgres$/, '/empty');
  await withClient(postgres.url, async (client) => {
    await client.query('CREATE DATABASE empty');
    for (const name of ['plain', 'app_login', 'engine_login']) await client.query(`CREATE ROLE ${name} LOGIN PASSWORD 'hush'`);
    await client.query('GRANT mainstay_app TO app_login; GRANT mainstay_engine TO engine_login');
  });
  const as = (name: string): string => database.replace(/\/\/postgres:[^@]*@/, `//${name}:hush@`);
  expect(wrong(await checks({ DATABASE_URL: empty }))).toMatchObject({ migrations: 'this database was never migrated' });
  expect(wrong(await checks({ DATABASE_ENGINE_URL: as('engine_login'), DATABASE_APP_URL: as('app_login') }))).toEqual({});
  expect(wrong(await checks({ DATABASE_ENGINE_URL: as('plain') }))).toEqual({ logins: 'plain is no member of mainstay_engine' });
  expect(wrong(await checks({ DATABASE_APP_URL: as('plain') }))).toEqual({ logins: 'plain is no member of mainstay_app' });
  expect(wrong(await checks({ DATABASE_APP_URL: database }))).toEqual({ logins: 'postgres is not bound by row-level security' });
});

test('something wrong ends the command with 1 and names the way out; a configuration that is none ends it before', async () => {
  await redis.client.config('SET', 'maxmemory-policy', 'allkeys-lru');
  const said = await spawnCli(['doctor'], { env });
  expect(said).toMatchObject({ code: 1, out: expect.stringMatching(/^wrong +redis-policy +maxmemory-policy is allkeys-lru$/m), err: expect.stringContaining('CONFIG SET maxmemory-policy noeviction') });
  await redis.client.config('SET', 'maxmemory-policy', 'noeviction');
  expect(await spawnCli(['doctor'], { env: { DATABASE_URL: database } })).toMatchObject({ code: 1, out: '', err: expect.stringContaining('MILVUS_ADDRESS') });
  expect(await spawnCli(['doctor', 'everything'], { env })).toMatchObject({ code: 2, out: '' });
});
