// The plans of recall's statements, kept for any values as recall keeps them, on empty tables and on full ones: each part by the index
// that was made for it. A plan that reads a tenant's memories, or a user's, to find a few of them answers rightly and a hundred times slower.
import { afterAll, describe, expect, test } from '@jest/globals';
import pg from 'pg';
import { newId } from '../src/ids.ts';
import { makeLog } from '../src/log.ts';
import { openAppStore, type SqlTx } from '../src/store/app-store.ts';
import { memoriesOf, memoryEpoch, namedMemories, placesOf } from '../src/store/recall-memories.ts';
import { nameOf } from '../src/store/statements.ts';
import { withClient } from '../src/dev/servers/migrate.ts';
import { eventually } from './support/agent-process.ts';
import { useStack } from './support/stack.ts';

const stack = await useStack();
const store = openAppStore({ url: stack.databaseUrl, asRole: true, log: makeLog('silent', 'test'), max: 1 });
afterAll(() => store.close());

const GENERATION = 'g2';
const seen = { user: 'u1', agent: 'a' };
/** Each statement, and what it may use of the memories. */
const STATEMENTS = {
  'memories named by a query': { send: (tx: SqlTx) => namedMemories(tx, { ...seen, query: 'where is it', subjects: ['where', 'where is'], fullText: false, generation: GENERATION }), may: ['memories_subject', 'memories_generation', 'memories_unindexed'] },
  'memories by id': { send: (tx: SqlTx) => memoriesOf(tx, seen, [newId()]), may: ['memories_pkey'] },
  'neighbours': { send: (tx: SqlTx) => placesOf(tx, seen, [newId()]), may: ['memories_pkey', 'memories_run'] },
  'epoch': { send: (tx: SqlTx) => memoryEpoch(tx, seen), may: ['memory_epochs_pkey'] },
} as const;
type Name = keyof typeof STATEMENTS;
const NAMES = Object.keys(STATEMENTS) as Name[];

interface Node { 'Node Type': string; 'Relation Name'?: string; 'Index Name'?: string; 'Index Cond'?: string; Plans?: Node[] }

/** The very plan that recall's connection keeps, under the application's login. */
const planOf = (name: Name): Promise<Node[]> => store.withStatements({ tenant: 't1', user: seen.user }, async (tx) => {
  const sent: [string, unknown[]][] = [];
  await STATEMENTS[name].send({ ...tx, db: { ...tx.db, $queryRawUnsafe: (sql, ...values) => { sent.push([sql, values]); return tx.db.$queryRawUnsafe(sql, ...values); } } });
  expect(sent).toHaveLength(1);
  const [[sql, values]] = sent as [[string, unknown[]]];
  const [row] = await tx.db.$queryRawUnsafe<{ 'QUERY PLAN': { Plan: Node }[] }[]>(`EXPLAIN (FORMAT JSON) EXECUTE ${pg.escapeIdentifier(nameOf(sql))}(${values.map(literal).join(', ')})`);
  const flat = (node: Node): Node[] => [node, ...(node.Plans ?? []).flatMap(flat)];
  return flat(row?.['QUERY PLAN'][0]?.Plan as Node);
});
const literal = (value: unknown): string => (value === null ? 'NULL' : pg.escapeLiteral(typeof value === 'string' ? value : `{${(value as string[]).map((one) => `"${one}"`).join(',')}}`));

const faultsOf = (name: Name, nodes: readonly Node[]): string[] => nodes.flatMap((node) => {
  const [table, index, cond = ''] = [node['Relation Name'], node['Index Name'], node['Index Cond']];
  if (node['Node Type'].startsWith('Gather')) return ['by several processes'];
  if (node['Node Type'] === 'Seq Scan' && table?.startsWith('memor')) return [`reads all of ${table}`];
  if (!index?.startsWith('memor') || index.startsWith('memory_policies')) return [];
  if (!(STATEMENTS[name].may as readonly string[]).includes(index)) return [`uses ${index} by ${cond}`];
  const needs = { memories_pkey: /\bid = ANY/, memories_subject: /subject = ANY/, memories_run: /run_id = .*\bid [<>]/ }[index];
  return needs === undefined || needs.test(cond) ? [] : [`uses ${index} by ${cond}`];
});

describe('on empty tables', () => {
  test.each(NAMES)('%s', async (name) => { expect(faultsOf(name, await planOf(name))).toEqual([]); });
});

describe('on full tables', () => {
  test.each(NAMES)('%s', async (name) => {
    await fill();
    const nodes = await planOf(name);
    expect(nodes.filter((node) => node['Index Name']?.startsWith('memor')).length).toBeGreaterThan(0);
    expect(faultsOf(name, nodes)).toEqual([]);
  });
});

test('full text finds by the index of the words, not by reading the tenant’s memories', async () => {
  await fill();
  const scans = async (): Promise<{ words: number; rows: number }> => withClient(stack.databaseUrl, async (client) => (await client.query<{ words: number; rows: number }>(`
    SELECT (SELECT idx_scan::int FROM pg_stat_user_indexes WHERE indexrelname = 'memories_words') AS words, (SELECT (seq_tup_read + idx_tup_fetch)::int FROM pg_stat_user_tables WHERE relname = 'memories') AS rows`)).rows[0]!);
  const before = await scans();
  await store.withStatements({ tenant: 't1', user: 'u1' }, async (tx) => {
    const named = await namedMemories(tx, { ...seen, query: 'Which one is 4711?', subjects: [], fullText: true, generation: GENERATION });
    const found = await memoriesOf(tx, seen, named.map(({ id }) => id));
    expect(found.map(({ statement }) => statement)).toEqual(['The thing 4711']);
  });
  await store.withStatements({ tenant: 't1' }, (tx) => tx.db.$queryRawUnsafe('SELECT pg_stat_force_next_flush()::text'));
  const after = await eventually('it is counted', async () => { const now = await scans(); return now.words > before.words && now; });
  expect(after.rows - before.rows).toBeLessThan(1_000);
});

let filled: Promise<void> | undefined;
/** Memories of three tenants, the first with nine tenths of them: half the workspace's, of three hundred subjects. */
const fill = (): Promise<void> => (filled ??= withClient(stack.databaseUrl, async (client) => {
  await client.query(`
    INSERT INTO memories (tenant_id, id, scope, user_id, agent, type, subject, attribute, value, statement, hash, source_role, confidence, evidence, run_id, gate_version, valid_from, indexed_generation)
    SELECT CASE WHEN n % 10 > 0 THEN 't1' ELSE 't' || n % 3 END, gen_random_uuid(), CASE WHEN n % 2 = 0 THEN 'user' ELSE 'workspace' END::memory_scope, CASE WHEN n % 2 = 0 THEN 'u' || n % 40 END, 'a', 'fact', 'thing ' || n % 300, 'note', '',
      'The thing ' || n, sha256(n::text::bytea), 'user', 0.8, '[{"event_id":"e1","quote":"x"}]', md5((n / 8)::text)::uuid, 1, now(), $1 FROM generate_series(1, 30000) n`, [GENERATION]);
  await client.query(`INSERT INTO memory_epochs (tenant_id, owner) SELECT 't1', 'user:x' || n FROM generate_series(1, 2000) n`);
  await client.query('VACUUM ANALYZE memories');
  await client.query('VACUUM ANALYZE memory_epochs');
}));
