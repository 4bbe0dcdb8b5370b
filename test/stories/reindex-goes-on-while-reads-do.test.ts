// The vector index is built anew from Postgres, from vectors kept there, while searches go on and rows come and go; in the end it
// holds what Postgres says, and nothing else. What an index holds too much, too little or too old is seen and put right.
import { expect, test } from '@jest/globals';
import type { Embedder } from '../../src/domain/embedder.ts';
import type { Rebuild } from '../../src/domain/vector-index.ts';
import { makeLog } from '../../src/log.ts';
import { readConfig } from '../../src/config.ts';
import { makeEmbedder } from '../../src/memory/embedders/make-embedder.ts';
import { indexPending, type IndexDeps } from '../../src/memory/index-rows.ts';
import { lookAtMilvus } from '../../src/memory/milvus-look.ts';
import { openIndex } from '../../src/memory/milvus.ts';
import { auditIndex, reindex } from '../../src/memory/reindex.ts';
import { sampleDrift } from '../../src/memory/sample-index.ts';
import { openEnginePool } from '../../src/store/engine/pool.ts';
import { withClient } from '../../src/dev/servers/migrate.ts';
import { plantMemories } from '../support/memories.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

const stack = await useStack();
const config = readConfig(stack.env);
const log = makeLog('silent', 'test');
const own = await makeEmbedder(config, log);
let embedded = 0;
const embedder: Embedder = { ...own, embed: (texts, kind) => { embedded += texts.length; return own.embed(texts, kind); } };
const open = () => openIndex({ address: config.MILVUS_ADDRESS, tls: false, prefix: config.MILVUS_PREFIX, denseIndex: config.MILVUS_DENSE_INDEX, dimensions: own.dimensions, fingerprint: own.fingerprint, log });
const [index, reader] = [await open(), await open()];
const pool = openEnginePool(stack.databaseUrl, true, 2, log);
atFileEnd(async () => { await Promise.all([pool.end(), index.close(), reader.close(), own.close()]); });
const deps: IndexDeps = { pool, index, embedder };

const sql = <R = unknown>(text: string, values: unknown[] = []): Promise<R[]> => withClient(stack.databaseUrl, async (client) => (await client.query(text, values)).rows as R[]);
const plant = (tenant: string, statements: readonly string[]): Promise<string[]> => plantMemories(sql, tenant, statements.map((statement) => ({ statement })));
const indexAll = async (): Promise<void> => { while (await indexPending(deps, 200) > 0); };
const seen = async (tenant: string): Promise<string[]> => (await reader.ids('memories', tenant)).map(({ id }) => id).sort();
const statements = ['The office opens at nine.', 'Billing runs on Zuora.', 'The export fails on Mondays.'];

test('a fresh index is filled from kept vectors, searches never fail or miss on the way, and what came meanwhile is in it', async () => {
  const ids = await plant('acme', statements);
  await indexAll();
  expect(embedded).toBe(statements.length);
  let late: string[] = [];
  let searches = 0;
  let isDone = false;
  const reading = (async () => {
    while (!isDone) {
      const { sparse } = await reader.search('memories', { tenant: 'acme', text: 'zuora', limit: 5, timeoutMs: 5_000 });
      expect(sparse.map(({ id }) => id)).toContain(ids[1]);
      searches++;
    }
  })();
  // a row that others index into the old collections after the fresh ones were filled
  const during: IndexDeps = { ...deps, index: { ...index, rebuild: async () => {
    const fresh = await index.rebuild();
    return { ...fresh, flush: async () => { await fresh.flush(); late = await plant('acme', ['The canteen closes at two.']); await indexAll(); } };
  } } };
  const { rows, drift } = await reindex(during, () => undefined).finally(() => { isDone = true; });
  await reading;
  expect(searches).toBeGreaterThan(3);
  expect([rows, embedded]).toEqual([3, 4]);
  expect(drift[0]).toEqual({ collection: 'memories', rows: 4, missing: 1, ghosts: 0 });
  expect(await seen('acme')).toEqual([...ids, ...late].sort());
  expect((await auditIndex(deps, false)).map(({ missing, ghosts }) => missing + ghosts)).toEqual([0, 0, 0]);
});

test.each<[string, (fresh: Rebuild) => Partial<Rebuild>]>([
  ['at the end', () => ({ flush: () => Promise.reject(new Error('the power went')) })],
  ['in a page while another is written', (fresh) => ({ insert: async (collection, rows) => { await fresh.insert(collection, rows); if (collection === 'memories') throw new Error('the power went'); } })],
])('a failure %s changes nothing and leaves nothing', async (_, broken) => {
  await sql(`INSERT INTO run_summaries (tenant_id, run_id, agent, summary, text) VALUES ('acme', gen_random_uuid(), 'a', '{}', 'The office was asked about.')`);
  const before = await seen('acme');
  const half: IndexDeps = { ...deps, index: { ...index, rebuild: async () => { const fresh = await index.rebuild(); return { ...fresh, ...broken(fresh) }; } } };
  await expect(reindex(half, () => undefined)).rejects.toThrow('the power went');
  expect(await seen('acme')).toEqual(before);
  expect(await (await index.rebuild()).abandon()).toBeUndefined();
  await sql('DELETE FROM run_summaries');
});

test('ghosts, lost and stale vectors are counted, then put right, also those of a row whose mark says otherwise', async () => {
  const ids = await plant('beta', statements);
  await indexAll();
  await sql(`UPDATE memories SET valid_to = now(), version = version + 1 WHERE id = $1`, [ids[0]]); // closed, and its vector forgotten
  await index.delete('memories', 'beta', [ids[1]!]); // lost
  await sql(`UPDATE memories SET statement = 'The export fails on Fridays.', version = version + 1 WHERE id = $1`, [ids[2]]); // another text, an old vector
  expect((await auditIndex(deps, false))[0]).toMatchObject({ missing: 2, ghosts: 1 });
  expect((await auditIndex(deps, true))[0]).toMatchObject({ missing: 2, ghosts: 1 });
  expect(await reader.ids('memories', 'beta')).toEqual([{ id: ids[1], version: 1 }, { id: ids[2], version: 2 }]);
  const { sparse } = await reader.search('memories', { tenant: 'beta', text: 'friday', limit: 5, timeoutMs: 5_000 });
  expect(sparse.map(({ id }) => id)).toEqual([ids[2]]);
  expect((await auditIndex(deps, false)).map(({ missing, ghosts }) => missing + ghosts)).toEqual([0, 0, 0]);
});

test('an index that was wiped is built again from Postgres without a model', async () => {
  const before = embedded;
  const wanted = [await seen('acme'), await seen('beta')];
  for (const tenant of ['acme', 'beta']) await index.delete('memories', tenant, await seen(tenant));
  await reindex(deps, () => undefined);
  expect([await seen('acme'), await seen('beta')]).toEqual(wanted);
  expect(embedded).toBe(before);
});

test('a cheap look counts all where there is little, takes a part where there is more, and changes nothing', async () => {
  const look = await lookAtMilvus({ address: config.MILVUS_ADDRESS, tls: false, prefix: config.MILVUS_PREFIX }, 5_000);
  const sampled = async (limit: number) => (await sampleDrift(pool, look, limit))[0];
  expect(await sampled(100)).toEqual({ collection: 'memories', rows: 6, missing: 0, vectors: 6, ghosts: 0, elsewhere: 0 });
  expect(await sampled(2)).toMatchObject({ rows: 2, missing: 0, ghosts: 0, elsewhere: 0 });
  await index.delete('memories', 'acme', await seen('acme'));
  await sql(`INSERT INTO tenants (id) VALUES ('beta')`); // has no row any more
  await sql(`DELETE FROM memories WHERE tenant_id = 'beta'`);
  expect(await sampled(100)).toEqual({ collection: 'memories', rows: 4, missing: 4, vectors: 2, ghosts: 2, elsewhere: 0 });
  expect(await sampled(2)).toMatchObject({ rows: 2, missing: 2 });
  await look.close();
  expect((await auditIndex(deps, true))[0]).toMatchObject({ missing: 4, ghosts: 2 });
  expect([await seen('acme'), await seen('beta')]).toEqual([expect.any(Array), []]);
});
