// The one function through which the application's statements get past row-level security, to the index of words: whose memories it looks at
// is what the transaction has set and nothing that it is told, and it tells ids and ranks alone.
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { newId } from '../src/ids.ts';
import { useStack } from './support/stack.ts';

const stack = await useStack();
const owner = new pg.Pool({ connectionString: stack.databaseUrl, max: 1 });
const app = new pg.Pool({ connectionString: stack.databaseUrl, max: 1, options: '-c role=mainstay_app' });
afterAll(async () => { await Promise.all([owner.end(), app.end()]); });
const ids: Record<string, string> = {};

beforeAll(async () => {
  const add = async (name: string, tenant: string, scope: string, user: string | null, agent: string | null, closed = false): Promise<void> => {
    const id = newId();
    await owner.query(`INSERT INTO memories (tenant_id, id, scope, user_id, agent, type, subject, attribute, value, statement, hash, source_role, confidence, evidence, run_id, gate_version, valid_from, valid_to)
      VALUES ($1, $2::uuid, $3::memory_scope, $4, $5, 'fact', 'door', 'colour', 'red', 'The door is red.', sha256($2::text::bytea), 'user', 0.8, '[{"event_id":"e1","quote":"q"}]', $2::uuid, 1, now(), CASE WHEN $6::boolean THEN now() END)`, [tenant, id, scope, user, agent, closed]);
    ids[id] = name;
  };
  for (const tenant of ['acme', 'rival']) {
    await add(`${tenant} ada`, tenant, 'user', 'ada', null);
    await add(`${tenant} bob`, tenant, 'user', 'bob', null);
    await add(`${tenant} helper`, tenant, 'agent', null, 'helper');
    await add(`${tenant} all`, tenant, 'workspace', null, null);
    await add(`${tenant} closed`, tenant, 'workspace', null, null, true);
  }
});

async function found(set: { tenant?: string; user?: string }, of: { user: string | null; agent: string | null }, most = 100): Promise<string[]> {
  const client = await app.connect();
  try {
    await client.query('BEGIN');
    await client.query(`SELECT set_config('app.tenant_id', $1, true), set_config('app.user_id', $2, true)`, [set.tenant ?? '', set.user ?? '']);
    const { rows, fields } = await client.query<{ id: string }>(`SELECT * FROM mainstay.memories_by_words('door', $1, $2, $3)`, [of.user, of.agent, most]);
    expect(fields.map(({ name }) => name)).toEqual(['id', 'rank']);
    return rows.map(({ id }) => ids[id] ?? id).sort();
  } finally {
    await client.query('ROLLBACK');
    client.release();
  }
}

test('it finds what the user and the agent may see of the tenant that is set', async () => {
  expect(await found({ tenant: 'acme', user: 'ada' }, { user: 'ada', agent: 'helper' })).toEqual(['acme ada', 'acme all', 'acme helper']);
  expect(await found({ tenant: 'rival' }, { user: 'bob', agent: 'other' })).toEqual(['rival all', 'rival bob']);
  expect(await found({ tenant: 'acme' }, { user: null, agent: null })).toEqual(['acme all']);
  expect(await found({ tenant: 'acme', user: 'ada' }, { user: 'ada', agent: 'helper' }, 2)).toHaveLength(2);
});

test('no argument leads out of what is set: not to another user, not to another tenant, and to nothing where none is set', async () => {
  expect(await found({ tenant: 'acme', user: 'ada' }, { user: 'bob', agent: null })).toEqual(['acme all']);
  expect(await found({ tenant: 'acme', user: '\u001f' }, { user: 'bob', agent: null })).toEqual(['acme all']); // a scope of no user
  expect(await found({}, { user: 'ada', agent: 'helper' })).toEqual([]);
  expect(await found({ tenant: 'nobody' }, { user: 'ada', agent: 'helper' })).toEqual([]);
});

test('a table of the caller’s own stands in for none of ours, and nobody but the application may call it', async () => {
  const { rows } = await owner.query<{ who: string; path: string[]; acl: string }>(`SELECT pg_get_userbyid(proowner) AS who, proconfig AS path, proacl::text AS acl FROM pg_proc WHERE proname = 'memories_by_words'`);
  expect(rows).toEqual([{ who: 'mainstay_engine', path: expect.arrayContaining([expect.stringMatching(/^search_path=.*, pg_temp$/)]), acl: '{mainstay_engine=X/mainstay_engine,mainstay_app=X/mainstay_engine}' }]);
});
