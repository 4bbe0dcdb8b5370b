// The application's door to Postgres: without a tenant nothing is seen, another tenant's row can be neither read nor written,
// a user's scope sees that user, a scope of no user sees what belongs to nobody; and Prisma's models are the migrated tables.
import { readFileSync } from 'node:fs';
import { afterAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { asMainstayError } from '../src/api/problems.ts';
import { newId } from '../src/ids.ts';
import { makeLog } from '../src/log.ts';
import { openAppStore, type Scope } from '../src/store/app-store.ts';
import { audit, listAudit } from '../src/store/audit.ts';
import { createKey, createTenant, findKey, listKeys, revokeKey, touchKey } from '../src/store/engine/api-keys.ts';
import { inTransaction, isConnectionError, openEnginePool } from '../src/store/engine/pool.ts';
import { submitRuns, type NewRun } from '../src/store/engine/submit.ts';
import { getPermission, putPermission } from '../src/store/permissions.ts';
import { feed, getRun, listRuns } from '../src/store/read-runs.ts';
import { getSession, listMessages, listSessions } from '../src/store/read-sessions.ts';
import { keyIdOf, keyMatches } from '../src/domain/api-key.ts';
import { readMuch } from '../src/store/statements.ts';
import { useStack } from './support/stack.ts';

const stack = await useStack();
const log = makeLog('silent', 'test');
const store = openAppStore({ url: stack.databaseUrl, asRole: true, log });
const engine = openEnginePool(stack.databaseUrl, true, 3, log);
const owner = new pg.Pool({ connectionString: stack.databaseUrl, max: 2 });
afterAll(async () => { await store.close(); await engine.end(); await owner.end(); });

const newRun = (tenant: string, user: string | null, session: string | null): NewRun => ({
  tenant, id: newId(), agent: 'a', version: 1, pool: 'agent', visible: true, user, session, parent: null, parentStepSeq: null, parentPath: null, expiresInMs: null, start: 'one', priority: 0, concurrencyKey: null, concurrencyLimit: null, idempotencyKey: null, requestHash: '00'.repeat(32),
  metadata: '{}', input: '{"word":"canary"}', model: null, budgetMicroUsd: null, lane: null, deadlineAt: null, startAt: null, delayMs: 0, debounceKey: null, debounceMaxMs: null,
});
const runs = { ada: newRun('acme', 'ada', 's'), bob: newRun('acme', 'bob', 's'), nobody: newRun('acme', null, null), other: newRun('globex', 'ada', 's') };
await submitRuns(engine, Object.values(runs));
const said = (tenant: string, user: string, run: NewRun): Promise<unknown> =>
  engine.query(`INSERT INTO messages (tenant_id, user_id, session_id, run_id, role, content) VALUES ($1, $2, 's', $3, 'user', 'canary')`, [tenant, user, run.id]);
await said('acme', 'ada', runs.ada);
await said('globex', 'ada', runs.other);

const idsSeen = (scope: Scope): Promise<string[]> => store.withTenant(scope, async (tx) => (await listRuns(tx, { limit: 100 })).map(({ id }) => id));
const ids = (...some: NewRun[]): string[] => some.map(({ id }) => id).sort().reverse();

const TABLES = ['api_keys', 'permissions', 'agent_runs', 'run_steps', 'step_records', 'run_events', 'tool_calls', 'model_calls', 'batch_items', 'budgets', 'quotas', 'sessions', 'messages', 'memories', 'memory_lineage', 'memory_epochs', 'memory_vectors', 'summary_vectors',
  'memory_candidates', 'run_summaries', 'retrieval_traces', 'audit_events', 'step_waits', 'signals', 'approvals', 'schedules', 'schedule_occurrences', 'agent_limits', 'erasures', 'memory_feedback', 'run_feedback', 'memory_policies', 'documents', 'document_chunks', 'chunk_vectors'];

describe('whose rows are seen', () => {
  test('every table with a tenant has forced row-level security', async () => {
    const { rows } = await owner.query<{ name: string; forced: boolean }>(
      `SELECT c.relname AS name, c.relrowsecurity AND c.relforcerowsecurity AS forced FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id'
       WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace ORDER BY 1`);
    expect(rows.map(({ name }) => name)).toEqual([...TABLES].sort());
    expect(rows.filter(({ forced }) => !forced)).toEqual([]);
  });

  test.each(TABLES)('%s: the application without a tenant sees no row', async (table) => {
    const client = await owner.connect();
    try {
      await client.query('BEGIN');
      await client.query('SET LOCAL ROLE mainstay_app');
      expect((await client.query(`SELECT count(*)::int AS n FROM ${table}`)).rows).toEqual([{ n: 0 }]);
    } finally {
      await client.query('ROLLBACK');
      client.release();
    }
    if (table === 'agent_runs') expect((await engine.query('SELECT count(*)::int AS n FROM agent_runs')).rows).toEqual([{ n: 4 }]);
  });

  test('a tenant sees its own, a user their own, and a scope of no user what belongs to nobody', async () => {
    expect(await idsSeen({ tenant: 'acme' })).toEqual(ids(runs.ada, runs.bob, runs.nobody));
    expect(await idsSeen({ tenant: 'globex' })).toEqual(ids(runs.other));
    expect(await idsSeen({ tenant: 'acme', user: 'ada' })).toEqual(ids(runs.ada));
    expect(await idsSeen({ tenant: 'acme', user: null })).toEqual(ids(runs.nobody));
    expect(await idsSeen({ tenant: 'nobody-here' })).toEqual([]);
  });

  test('nor by id, by feed, by session or by message', async () => {
    const seen = (scope: Scope, run: NewRun): Promise<number[]> => store.withTenant(scope, async (tx) => [
      (await getRun(tx, run.id)) ? 1 : 0, (await feed(tx, run.id, 0, 10)).length, (await getSession(tx, 'ada', 's')) ? 1 : 0, (await listSessions(tx, { limit: 10 })).length, (await listMessages(tx, 'ada', 's', { limit: 10 })).length]);
    expect(await seen({ tenant: 'acme', user: 'ada' }, runs.ada)).toEqual([1, 1, 1, 1, 1]);
    expect(await seen({ tenant: 'acme', user: 'bob' }, runs.ada)).toEqual([0, 0, 0, 1, 0]);
    expect(await seen({ tenant: 'acme', user: null }, runs.ada)).toEqual([0, 0, 0, 0, 0]);
    expect(await seen({ tenant: 'globex', user: 'ada' }, runs.ada)).toEqual([0, 0, 1, 1, 1]); // its own session of the same name
  });

  test('the setting does not outlive its transaction', async () => {
    const one = openAppStore({ url: stack.databaseUrl, asRole: true, log, max: 1 });
    try {
      expect(await one.withTenant({ tenant: 'acme', user: 'ada' }, (tx) => listRuns(tx, { limit: 10 }))).toHaveLength(1);
      await expect(one.withTenant({ tenant: 'acme', user: 'ada' }, () => Promise.reject(new Error('on purpose')))).rejects.toThrow('on purpose');
      expect(await one.withTenant({ tenant: 'globex' }, (tx) => listRuns(tx, { limit: 10 }))).toHaveLength(1);
    } finally {
      await one.close();
    }
  });

  test('an empty tenant or user is refused: it would mean all', async () => {
    for (const scope of [{ tenant: '' }, { tenant: 'acme', user: '' }, { tenant: 'acme', user: '\u001f' }]) await expect(idsSeen(scope)).rejects.toThrow('a scope needs');
  });

  test('a row of another tenant that came back all the same does not leave', async () => {
    await expect(store.withTenant({ tenant: 'acme', user: 'ada' }, (tx) => Promise.resolve(tx.own([{ tenantId: 'globex' }])))).rejects.toThrow('outside of the scope');
    await expect(store.withTenant({ tenant: 'acme', user: 'ada' }, (tx) => Promise.resolve(tx.own([{ tenantId: 'acme', userId: 'bob' }])))).rejects.toThrow('outside of the scope');
  });
});

describe('statements written by hand', () => {
  const seen = `SELECT count(*)::int AS n FROM agent_runs`;
  const countOf = (scope: Scope): Promise<number> => store.withStatements(scope, async ({ db }) => (await db.$queryRawUnsafe<{ n: number }[]>(seen))[0]?.n ?? -1);

  test('see what their scope may see, and a scope without a name is refused', async () => {
    expect([await countOf({ tenant: 'acme' }), await countOf({ tenant: 'acme', user: 'ada' }), await countOf({ tenant: 'acme', user: null }), await countOf({ tenant: 'nobody' })]).toEqual([3, 1, 1, 0]);
    for (const scope of [{ tenant: '' }, { tenant: 'acme', user: '' }]) await expect(countOf(scope)).rejects.toThrow('a scope needs');
  });

  test('are planned once and by index, and neither that nor the scope outlives their transaction, whatever its end', async () => {
    const one = openAppStore({ url: stack.databaseUrl, asRole: true, log, max: 1 });
    const settings = `SELECT current_setting('plan_cache_mode') AS mode, current_setting('enable_seqscan') AS seqscan, coalesce(current_setting('app.tenant_id', true), '') AS tenant`;
    try {
      expect(await one.withStatements({ tenant: 'acme' }, ({ db }) => db.$queryRawUnsafe(settings))).toEqual([{ mode: 'force_generic_plan', seqscan: 'off', tenant: 'acme' }]);
      expect(await one.withTenant({ tenant: 'globex' }, ({ db }) => db.$queryRawUnsafe(settings))).toEqual([{ mode: 'auto', seqscan: 'on', tenant: 'globex' }]);
      expect(await one.withStatements({ tenant: 'acme' }, async ({ db }) => { await readMuch(db); return db.$queryRawUnsafe(settings); })).toEqual([{ mode: 'auto', seqscan: 'on', tenant: 'acme' }]);
      await expect(one.withStatements({ tenant: 'acme' }, () => Promise.reject(new Error('on purpose')))).rejects.toThrow('on purpose');
      expect(await one.withTenant({ tenant: 'globex' }, ({ db }) => db.$queryRawUnsafe(settings))).toEqual([{ mode: 'auto', seqscan: 'on', tenant: 'globex' }]);
    } finally {
      await one.close();
    }
  });

  test('are kept together or not at all, also where a failed one is passed over', async () => {
    const add = `INSERT INTO audit_events (tenant_id, actor, action, object_type, object_id, allowed) VALUES ($1, 'test', 'by hand', 'o', $2, true)`;
    const kept = async (): Promise<unknown[]> => (await owner.query(`SELECT object_id AS id FROM audit_events WHERE action = 'by hand' ORDER BY 1`)).rows;
    expect(await store.withStatements({ tenant: 'initech' }, ({ db }) => Promise.all([db.$executeRawUnsafe(add, 'initech', '1'), db.$executeRawUnsafe(add, 'initech', '2')]))).toEqual([1, 1]);
    await expect(store.withStatements({ tenant: 'initech' }, ({ db }) => Promise.all([db.$executeRawUnsafe(add, 'initech', '3'), db.$executeRawUnsafe(add, 'globex', '4')]))).rejects.toThrow(/row-level security/);
    await expect(store.withStatements({ tenant: 'initech' }, async ({ db }) => { await db.$executeRawUnsafe(add, 'initech', '5'); await db.$executeRawUnsafe(add, 'globex', '6').catch(() => undefined); })).rejects.toThrow('had failed');
    expect(await kept()).toEqual([{ id: '1' }, { id: '2' }]);
  });

  test('whose end is sent behind them are kept or not as ever, and none comes later', async () => {
    const add = `INSERT INTO audit_events (tenant_id, actor, action, object_type, object_id, allowed) VALUES ($1, 'test', 'with its end', 'o', $2, true)`;
    const adding = (...tenants: string[]): Promise<number[]> => store.withStatements({ tenant: 'initech' }, ({ db, sendEnd }) => {
      const added = Promise.all(tenants.map((tenant, at) => db.$executeRawUnsafe(add, tenant, String(at))));
      sendEnd();
      return added;
    });
    expect(await adding('initech', 'initech')).toEqual([1, 1]);
    await expect(adding('initech', 'globex')).rejects.toThrow(/row-level security/);
    await expect(store.withStatements({ tenant: 'initech' }, ({ db, sendEnd }) => { sendEnd(); return db.$executeRawUnsafe(add, 'initech', '9'); })).rejects.toThrow('behind the end');
    expect((await owner.query(`SELECT object_id AS id FROM audit_events WHERE action = 'with its end' ORDER BY 1`)).rows).toEqual([{ id: '0' }, { id: '1' }]);
    expect(await countOf({ tenant: 'acme', user: 'ada' })).toBe(1);
  });

  test('end with an outage where their connection is lost, and the next ones have another', async () => {
    const lost = store.withStatements({ tenant: 'initech' }, async ({ db }) => {
      const [mine] = await db.$queryRawUnsafe<{ pid: number }[]>('SELECT pg_backend_pid() AS pid');
      await owner.query('SELECT pg_terminate_backend($1)', [mine?.pid]);
      await db.$queryRawUnsafe('SELECT pg_sleep(5)::text');
    });
    await expect(lost).rejects.toMatchObject({ code: 'unavailable' });
    expect(await countOf({ tenant: 'acme', user: 'ada' })).toBe(1);
  });

  test('a connection that was found lost before the next statement is an outage too', async () => {
    const client = await engine.connect();
    const noticed = new Promise<void>((resolve) => { client.on('error', () => { resolve(); }); });
    const { rows: [mine] } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
    await owner.query('SELECT pg_terminate_backend($1)', [mine?.pid]);
    await noticed;
    const error: unknown = await client.query('SELECT 1').catch((reason: unknown) => reason);
    client.release(true);
    expect([isConnectionError(error), String(error)]).toEqual([true, expect.stringContaining('not queryable')]);
  });
});

describe('what may be written', () => {
  test('a row of another tenant is refused', async () => {
    const line = { actor: 'test', action: 'a', objectType: 'o', objectId: 'i', allowed: true };
    await store.withTenant({ tenant: 'acme' }, (tx) => audit(tx, line));
    await expect(store.withTenant({ tenant: 'acme' }, (tx) => audit({ ...tx, scope: { tenant: 'globex' } }, line))).rejects.toThrow(/row-level security/);
    expect(await store.withTenant({ tenant: 'globex' }, (tx) => listAudit(tx, { limit: 10 }))).toEqual([]);
    expect(await store.withTenant({ tenant: 'acme' }, (tx) => listAudit(tx, { limit: 10 }))).toHaveLength(1);
  });

  test('permissions are replaced, their epoch rises, and another user is refused', async () => {
    const grant = { roles: ['analyst'], datasets: ['sales'], scopes: ['tickets:write'] };
    const first = await store.withTenant({ tenant: 'acme' }, (tx) => putPermission(tx, 'ada', grant));
    const second = await store.withTenant({ tenant: 'acme' }, (tx) => putPermission(tx, 'ada', { ...grant, datasets: [] }));
    expect([first.epoch, second.epoch]).toEqual([1, 2]);
    expect(await store.withTenant({ tenant: 'acme', user: 'ada' }, (tx) => getPermission(tx, 'ada'))).toMatchObject({ datasets: [], epoch: 2 });
    expect(await store.withTenant({ tenant: 'globex' }, (tx) => getPermission(tx, 'ada'))).toBeUndefined();
    await expect(store.withTenant({ tenant: 'acme', user: 'bob' }, (tx) => putPermission(tx, 'ada', grant))).rejects.toThrow(/row-level security/);
  });

  test('the application may not delete, nor change an audit row', async () => {
    const statements = ['DELETE FROM agent_runs', 'DELETE FROM audit_events', `UPDATE audit_events SET actor = 'x'`, `UPDATE agent_runs SET status = 'completed'`, `INSERT INTO tenants (id) VALUES ('x')`];
    for (const statement of statements) await expect(store.withTenant({ tenant: 'acme' }, (tx) => tx.db.$executeRawUnsafe(statement))).rejects.toThrow(/permission denied/);
  });
});

describe('API keys', () => {
  test('a key is found, compared, noted, listed without its digest, and revoked', async () => {
    await createTenant(engine, 'acme');
    await createTenant(engine, 'acme');
    const { id, key } = await createKey(engine, { tenant: 'acme', user: 'ada', name: 'local', scopes: ['runs:read'], expiresAt: undefined }, 'cli');
    expect(keyIdOf(key)).toBe(id);
    const found = await findKey(engine, id);
    expect(found).toMatchObject({ tenant: 'acme', user: 'ada', live: true, stale: true, scopes: ['runs:read'] });
    expect(keyMatches(key, found!.hash)).toBe(true);
    expect(keyMatches(`${key.slice(0, -9)}${key.at(-9) === '0' ? '1' : '0'}${key.slice(-8)}`, found!.hash)).toBe(false);
    await touchKey(engine, id);
    expect((await findKey(engine, id))?.stale).toBe(false);
    const listed = await listKeys(engine, 'acme', undefined);
    expect(listed).toHaveLength(1);
    expect(JSON.stringify(listed)).not.toContain(found!.hash.toString('hex'));
    expect(await revokeKey(engine, { tenant: 'globex', id, user: undefined }, 'test')).toBe(false);
    expect(await revokeKey(engine, { tenant: 'acme', id, user: 'bob' }, 'test')).toBe(false);
    expect(await revokeKey(engine, { tenant: 'acme', id, user: undefined }, 'test')).toBe(true);
    expect((await findKey(engine, id))?.live).toBe(false);
    expect((await engine.query(`SELECT count(*)::int AS n FROM audit_events WHERE object_id = $1`, [id])).rows).toEqual([{ n: 2 }]);
  });

  test('an expired key is not live', async () => {
    const { id } = await createKey(engine, { tenant: 'acme', user: undefined, name: 'old', scopes: ['runs:read'], expiresAt: new Date(0) }, 'cli');
    expect((await findKey(engine, id))?.live).toBe(false);
  });
});

test("Prisma's models and the migrated tables have the same columns, both ways", async () => {
  const schema = readFileSync(new URL('../prisma/schema.prisma', import.meta.url), 'utf8');
  const models = [...schema.matchAll(/^model \w+ \{\n([\s\S]*?)^\}/gm)].flatMap(([, body = '']) => {
    const table = /@@map\("(\w+)"\)/.exec(body)?.[1];
    return body.split('\n').flatMap((line) => { // a list of Prisma's has no null of its own: an empty one is read where there is none
      const field = /^ {2}(\w+)\s+(\w+)(\[\])?(\?)?/.exec(line);
      return field ? [`${table}.${/@map\("(\w+)"\)/.exec(line)?.[1] ?? field[1]} ${field[3] ? 'list' : field[4] ? 'null' : 'not null'}`] : [];
    });
  });
  const { rows } = await owner.query<{ name: string }>(
    `SELECT table_name || '.' || column_name || CASE WHEN data_type = 'ARRAY' THEN ' list' WHEN is_nullable = 'YES' THEN ' null' ELSE ' not null' END AS name FROM information_schema.columns
     WHERE table_schema = current_schema() AND table_name NOT IN ('_prisma_migrations', 'run_history') ORDER BY 1`);
  expect(models.length).toBeGreaterThan(150);
  expect(models.sort()).toEqual(rows.map(({ name }) => name).sort());
});

test('a statement the server gave up behind a lock is an outage to the caller, through every door, and no fault of ours', async () => {
  await expect(store.withTenant({ tenant: 'acme' }, async ({ db }) => { await db.$executeRawUnsafe(`SET LOCAL statement_timeout = 20`); await db.$queryRawUnsafe(`SELECT pg_sleep(5)::text`); })).rejects.toMatchObject({ code: 'unavailable' });
  await expect(store.withStatements({ tenant: 'acme' }, async ({ db }) => { await db.$executeRawUnsafe(`SET LOCAL statement_timeout = 20`); await db.$queryRawUnsafe(`SELECT pg_sleep(5)::text`); })).rejects.toMatchObject({ code: 'unavailable' });
  const timedOut: unknown = await inTransaction(engine, async (client) => { await client.query(`SET LOCAL lock_timeout = 20`); await client.query(`SET LOCAL statement_timeout = 20`); await client.query('SELECT pg_sleep(5)'); }).catch((error: unknown) => error);
  expect(asMainstayError(timedOut)).toMatchObject({ code: 'unavailable', retryAfterMs: 2_000 });
});
