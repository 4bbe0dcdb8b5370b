// The functions through which the application's statements get past row-level security, to the indexes of words: whose memories and passages
// they look at is what the transaction has set and nothing that they are told, and they tell ids and ranks alone.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { newId } from '../src/ids.ts';
import { useStack } from './support/stack.ts';

const stack = await useStack();
const owner = new pg.Pool({ connectionString: stack.databaseUrl, max: 1 });
const app = new pg.Pool({ connectionString: stack.databaseUrl, max: 1, options: '-c role=mainstay_app' });
afterAll(async () => { await Promise.all([owner.end(), app.end()]); });
const ids: Record<string, string> = {};

const addPassage = async (id: string, tenant: string, user: string | null, agent: string | null, closed: boolean): Promise<void> => {
  await owner.query(`INSERT INTO documents (tenant_id, id, title, hash, user_id, agent, bytes, chunks, added_by, closed_at) VALUES ($1, $2::uuid, 'Doors', sha256($2::text::bytea), $3, $4, 1, 1, 'key:x', CASE WHEN $5::boolean THEN now() END)`, [tenant, id, user, agent, closed]);
  await owner.query(`INSERT INTO document_chunks (tenant_id, id, document_id, ordinal, user_id, agent, start_at, end_at, text, hash, closed_at) VALUES ($1, $2, $2, 0, $3, $4, 0, 1, 'The door is red.', '\\x00', CASE WHEN $5::boolean THEN now() END)`, [tenant, id, user, agent, closed]);
};

beforeAll(async () => {
  const add = async (name: string, tenant: string, scope: string, user: string | null, agent: string | null, closed = false): Promise<void> => {
    const id = newId();
    await owner.query(`INSERT INTO memories (tenant_id, id, scope, user_id, agent, type, subject, attribute, value, statement, hash, source_role, confidence, evidence, run_id, gate_version, valid_from, valid_to)
      VALUES ($1, $2::uuid, $3::memory_scope, $4, $5, 'fact', 'door', 'colour', 'red', 'The door is red.', sha256($2::text::bytea), 'user', 0.8, '[{"event_id":"e1","quote":"q"}]', $2::uuid, 1, CASE WHEN $6::boolean THEN '2020-01-01' ELSE now() END, CASE WHEN $6::boolean THEN timestamptz '2021-01-01' END)`, [tenant, id, scope, user, agent, closed]);
    ids[id] = name;
    await addPassage(id, tenant, user, agent, closed);
  };
  for (const tenant of ['acme', 'rival']) {
    await add(`${tenant} ada`, tenant, 'user', 'ada', null);
    await add(`${tenant} bob`, tenant, 'user', 'bob', null);
    await add(`${tenant} helper`, tenant, 'agent', null, 'helper');
    await add(`${tenant} all`, tenant, 'workspace', null, null);
    await add(`${tenant} closed`, tenant, 'workspace', null, null, true);
  }
});

interface Of { readonly user: string | null; readonly agent: string | null }
const FOUND_BY: Record<string, (of: Of, most: number) => [sql: string, values: unknown[]]> = {
  now: (of, most) => [`SELECT * FROM mainstay.memories_by_words('door', $1, $2, $3)`, [of.user, of.agent, most]],
  then: (of, most) => [`SELECT * FROM mainstay.memories_by_words_then('door', $1, $2, now(), $3)`, [of.user, of.agent, most]],
  passages: (of, most) => [`SELECT * FROM mainstay.chunks_by_words('door', $1, $2, NULL, $3)`, [of.user, of.agent, most]],
};
async function found(set: { tenant?: string; user?: string }, of: Of, { by = 'now', most = 100, then }: { by?: string; most?: number; then?: string } = {}): Promise<string[]> {
  const client = await app.connect();
  try {
    await client.query('BEGIN');
    await client.query(`SELECT set_config('app.tenant_id', $1, true), set_config('app.user_id', $2, true)`, [set.tenant ?? '', set.user ?? '']);
    const [sql, values] = FOUND_BY[by]!(of, most);
    const { rows, fields } = await client.query<{ id: string }>(then === undefined ? sql : sql.replace('now()', `'${then}'`), values);
    expect(fields.map(({ name }) => name)).toEqual(['id', 'rank']);
    return rows.map(({ id }) => ids[id] ?? id).sort();
  } finally {
    await client.query('ROLLBACK');
    client.release();
  }
}

describe.each(Object.keys(FOUND_BY))('%s', (by) => {
  test('it finds what the user and the agent may see of the tenant that is set', async () => {
    expect(await found({ tenant: 'acme', user: 'ada' }, { user: 'ada', agent: 'helper' }, { by })).toEqual(['acme ada', 'acme all', 'acme helper']);
    expect(await found({ tenant: 'rival' }, { user: 'bob', agent: 'other' }, { by })).toEqual(['rival all', 'rival bob']);
    expect(await found({ tenant: 'acme' }, { user: null, agent: by === 'passages' ? 'other' : null }, { by })).toEqual(['acme all']);
    expect(await found({ tenant: 'acme', user: 'ada' }, { user: 'ada', agent: 'helper' }, { by, most: 2 })).toHaveLength(2);
  });

  test('no argument leads out of what is set: not to another user, not to another tenant, and to nothing where none is set', async () => {
    expect(await found({ tenant: 'acme', user: 'ada' }, { user: 'bob', agent: 'other' }, { by })).toEqual(['acme all']);
    expect(await found({ tenant: 'acme', user: '\u001f' }, { user: 'bob', agent: 'other' }, { by })).toEqual(['acme all']); // a scope of no user
    expect(await found({}, { user: 'ada', agent: 'helper' }, { by })).toEqual([]);
    expect(await found({ tenant: 'nobody' }, { user: 'ada', agent: 'helper' }, { by })).toEqual([]);
  });
});

test('what held then is found, ended or not; what began later, and what was erased, is not', async () => {
  const all = { user: 'bob', agent: 'helper' };
  expect(await found({ tenant: 'acme' }, all, { by: 'then', then: '2020-06-01' })).toEqual(['acme closed']);
  await owner.query(`UPDATE memories SET erased_at = now() WHERE valid_from < '2021-01-01' AND tenant_id = 'acme'`);
  expect(await found({ tenant: 'acme' }, all, { by: 'then', then: '2020-06-01' })).toEqual([]);
  expect(await found({ tenant: 'acme' }, all, { by: 'then', then: '2019-06-01' })).toEqual([]);
  expect(await found({ tenant: 'rival' }, all, { by: 'then', then: '2020-12-31' })).toEqual(['rival closed']);
  expect(await found({ tenant: 'rival' }, all, { by: 'then', then: '2019-12-31' })).toEqual([]);
});

test('passages are of the kind that is asked for', async () => {
  const client = await owner.connect();
  await client.query('BEGIN');
  await client.query(`SELECT set_config('app.tenant_id', 'acme', true)`);
  const of = async (kind: string): Promise<number> => (await client.query(`SELECT FROM mainstay.chunks_by_words('door', 'ada', 'helper', $1, 100)`, [kind])).rowCount ?? 0;
  const kinds = [await of('document'), await of('tool_output')];
  await client.query('ROLLBACK');
  client.release();
  expect(kinds).toEqual([3, 0]);
});

test('of many rows they read those that share a word', async () => {
  await owner.query(`INSERT INTO memories (tenant_id, id, scope, type, subject, attribute, value, statement, hash, source_role, confidence, evidence, run_id, gate_version, valid_from, valid_to)
    SELECT 'bulk', gen_random_uuid(), 'workspace', 'fact', 'wall', 'colour', 'grey', 'The wall is grey.', sha256(n::text::bytea), 'user', 0.8, '[{"event_id":"e1","quote":"q"}]', gen_random_uuid(), 1, '2020-01-01', CASE WHEN n % 2 = 0 THEN timestamptz '2021-01-01' END FROM generate_series(1, 4000) n`);
  await owner.query(`INSERT INTO documents (tenant_id, id, title, hash, bytes, chunks, added_by) VALUES ('bulk', '00000000-0000-7000-8000-000000000001', 'Walls', '\\x01', 1, 1, 'key:x')`);
  await owner.query(`INSERT INTO document_chunks (tenant_id, id, document_id, ordinal, start_at, end_at, text, hash) SELECT 'bulk', gen_random_uuid(), '00000000-0000-7000-8000-000000000001', n, 0, 1, 'The wall is grey.', '\\x00' FROM generate_series(1, 4000) n`);
  await owner.query('ANALYZE memories, document_chunks');
  const client = await app.connect();
  const read = async (): Promise<number> => Number((await client.query<{ n: string }>(`SELECT sum(seq_tup_read + idx_tup_fetch) AS n FROM pg_stat_xact_user_tables WHERE relname IN ('memories', 'document_chunks')`)).rows[0]?.n);
  for (const by of Object.keys(FOUND_BY)) {
    await client.query('BEGIN');
    await client.query(`SELECT set_config('app.tenant_id', 'bulk', true)`);
    const before = await read();
    const [sql, values] = FOUND_BY[by]!({ user: 'ada', agent: 'helper' }, 10);
    expect([by, (await client.query(sql.replace('now()', `'2020-06-01'`), values)).rowCount]).toEqual([by, 0]);
    expect([by, await read() - before < 100]).toEqual([by, true]);
    await client.query('ROLLBACK');
  }
  client.release();
});

test.each(['memories_by_words', 'memories_by_words_then', 'chunks_by_words'])('%s: a table of the caller’s own stands in for none of ours, and nobody but the application may call it', async (name) => {
  const { rows } = await owner.query<{ who: string; path: string[]; acl: string }>(`SELECT pg_get_userbyid(proowner) AS who, proconfig AS path, proacl::text AS acl FROM pg_proc WHERE proname = $1`, [name]);
  expect(rows).toEqual([{ who: 'mainstay_engine', path: expect.arrayContaining([expect.stringMatching(/^search_path=.*, pg_temp$/)]), acl: '{mainstay_engine=X/mainstay_engine,mainstay_app=X/mainstay_engine}' }]);
});
