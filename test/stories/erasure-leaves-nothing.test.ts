// What a person asks to be forgotten is forgotten in every store, looked for again, and receipted. Others' rows stay as they
// were, what an agent learned from several people loses only this one's words, and a store that is away delays it, no more.
import { expect, test } from '@jest/globals';
import { createHash, createHmac } from 'node:crypto';
import { startTicketDesk } from '../../examples/ticket-desk.ts';
import { supportAgent } from '../../examples/support-agent.ts';
import { canonicalJson } from '../../src/domain/json.ts';
import { newId } from '../../src/ids.ts';
import { COLLECTION, indexRows, TABLES } from '../../src/memory/index-rows.ts';
import { keepDocument } from '../../src/memory/keep-document.ts';
import { openIndex } from '../../src/memory/milvus.ts';
import { erase, type EraseDeps } from '../../src/run/erase.ts';
import { forkRun } from '../../src/store/engine/control.ts';
import { openErasures, requestErasure, type ErasureKind } from '../../src/store/engine/erase.ts';
import { openAppStore } from '../../src/store/app-store.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

const KEY = 'a secret of this test';
const stack = await useStack();
const desk = await startTicketDesk();
atFileEnd(() => desk.stop());
const fleet = await startMemoryFleet(stack, [supportAgent(desk.url)]);
const { base } = fleet;
const { fingerprint, dimensions } = fleet.memory.embedder;
const { config } = base;
const index = await openIndex({ address: config.MILVUS_ADDRESS, token: config.MILVUS_TOKEN, tls: config.MILVUS_TLS, prefix: config.MILVUS_PREFIX, denseIndex: config.MILVUS_DENSE_INDEX, dimensions, fingerprint, log: base.log });
atFileEnd(() => index.close());
const deps: EraseDeps = { pool: base.pool, redis: base.redis, keys: base.keys, blobs: base.blobs, index, fingerprint, signingKey: KEY, log: base.log };

const who = (user: string, session: string) => ({ tenant: 'acme', user, session });
const CANARY = 'Quillfeather';
const talk = (user: string, session = 'one') => fleet.talk('support-agent', `Hello, my name is ${CANARY} ${user}. I prefer to be contacted by e-mail. Our billing system is Zuora${user}. The invoice export fails with error 504.`, who(user, session));

const store = openAppStore({ url: stack.databaseUrl, asRole: true, log: base.log, max: 1 });
atFileEnd(() => store.close());
let notes = 0;
/** A document of a user. */
const note = (user: string, says: string, source?: string) => store.withTenant({ tenant: 'acme', user }, (tx) => keepDocument(tx, { user, agent: undefined, source: source && `${source} of ${user}`, title: `Notes of ${CANARY} ${says}`, text: `Note ${++notes}: ${CANARY} ${says} keeps bees.`, addedBy: 'test' }));

async function request(kind: ErasureKind, subject: string): Promise<string> {
  const id = newId();
  expect(await requestErasure(base.pool, { tenant: 'acme', id, kind, subject }, 'test')).toBe(true);
  return id;
}

/** Carries it out to the end; answers the receipt. */
async function carriedOut(id: string, over: EraseDeps = deps): Promise<Record<string, unknown>> {
  for (;;) {
    const one = (await openErasures(base.pool, 100)).find((erasure) => erasure.id === id);
    if (!one) break;
    await erase(over, one);
  }
  const [row] = await fleet.rows<{ receipt: Record<string, unknown> }>(`SELECT receipt FROM erasures WHERE id = $1`, [id]);
  return row!.receipt;
}


/** Keys of Redis whose name or value holds these words. */
async function keysWith(words: string): Promise<string[]> {
  const found: string[] = [];
  for await (const names of base.redis.scanStream({ match: `*${stack.redisPrefix}*`, count: 500 }) as AsyncIterable<string[]>) {
    for (const name of names) {
      const value = (await base.redis.type(name)) === 'string' ? await base.redis.get(name) : '';
      if (`${name} ${value}`.toLowerCase().includes(words.toLowerCase())) found.push(name);
    }
  }
  return found;
}

test('a user: nothing of them is left in any table, in Redis or in the index; others keep what they had; the receipt says so and is signed', async () => {
  await base.budgets.set({ tenant: 'acme', subject: 'user:adaquill', window: 'day', limitMicroUsd: 1_000_000_000, actor: 'test' });
  await talk('adaquill');
  await talk('adaquill', 'two');
  await talk('bob');
  await note('adaquill', 'adaquill');
  for (const source of ['notes.md', 'notes.md']) await note('adaquill', 'adaquill', source); // another text: the older version goes too
  await note('bob', 'bob');
  await fleet.indexed('acme');
  const vectors = new Set(await keysWith(':embedding:'));
  while ((await fleet.memory.indexPending(200, false, ['document_chunks'])) > 0);
  const ofDocuments = (await keysWith(':embedding:')).filter((one) => !vectors.has(one));
  expect(ofDocuments).toHaveLength(3); // the version that was replaced before was never embedded
  expect((await index.ids('run_artifacts', 'acme')).length).toBeGreaterThan(1);
  const bobs = await fleet.rows(`SELECT id, statement FROM memories WHERE user_id = 'bob' ORDER BY id`);
  expect(bobs.length).toBeGreaterThan(2);
  expect(await fleet.tablesWith(`${CANARY} adaquill`)).toEqual(expect.arrayContaining(['agent_runs', 'documents', 'document_chunks', 'memories', 'memory_candidates', 'messages', 'model_calls', 'run_steps', 'run_summaries', 'tool_calls']));
  expect(await fleet.tablesWith('user:adaquill')).toEqual(expect.arrayContaining(['budgets', 'model_calls']));
  expect((await keysWith('adaquill')).length).toBeGreaterThan(0);
  const before = await index.ids('memories', 'acme');
  const cached = (await keysWith(':embedding:')).length;

  const id = await request('user', 'adaquill');
  const receipt = await carriedOut(id);

  expect(await fleet.tablesWith(CANARY.concat(' ada'))).toEqual([]);
  expect(await fleet.tablesWith('zuoraadaquill')).toEqual([]);
  expect(await fleet.tablesWith('user:adaquill')).toEqual(['audit_events']);
  expect(await fleet.tablesWith('"adaquill"')).toEqual(['audit_events', 'erasures']); // who asked for what stays
  expect(await keysWith('adaquill')).toEqual([]);
  const left = await keysWith(':embedding:');
  expect(left.length).toBeLessThan(cached);
  expect(ofDocuments.filter((one) => left.includes(one))).toHaveLength(1); // bob's
  const after = await index.ids('memories', 'acme');
  expect(after.length).toBeLessThan(before.length);
  expect(after.map((one) => one.id).sort()).toEqual((await fleet.rows<{ id: string }>(`SELECT id FROM memories WHERE valid_to IS NULL ORDER BY id`)).map((row) => row.id));
  expect(await fleet.rows(`SELECT id, statement FROM memories WHERE user_id = 'bob' ORDER BY id`)).toEqual(bobs);
  expect(await fleet.rows(`SELECT user_id AS "user" FROM documents WHERE tenant_id = 'acme'`)).toEqual([{ user: 'bob' }]);
  expect((await index.ids('run_artifacts', 'acme')).map((one) => one.id)).toEqual((await fleet.rows<{ id: string }>(`SELECT id FROM document_chunks`)).map((row) => row.id));
  // what accounting needs is there
  expect(await fleet.rows(`SELECT count(*)::int AS n, sum(cost_micro_usd) > 0 AS cost FROM agent_runs WHERE erased_at IS NOT NULL AND agent = 'support-agent'`)).toEqual([{ n: 2, cost: true }]);

  const { sha256, signature, ...facts } = receipt;
  expect(facts).toMatchObject({ tenant: 'acme', kind: 'user', subject: 'adaquill', erased: { messages: 4, sessions: 4, documents: 3, chunks: 3 } });
  expect(Object.values(facts['found'] as Record<string, number>)).toEqual(expect.not.arrayContaining([1]));
  expect(Object.values(facts['found'] as Record<string, number>).reduce((sum, n) => sum + n, 0)).toBe(0);
  expect(sha256).toBe(createHash('sha256').update(canonicalJson(facts)).digest('hex'));
  expect(signature).toBe(createHmac('sha256', KEY).update(canonicalJson(facts)).digest('hex'));
}, 90_000);

test('a run: what it learned goes, what another run has borne out loses its words only; a fork of it goes too', async () => {
  const first = await talk('cleo');
  const second = await talk('cleo', 'two');
  await fleet.indexed('acme');
  const shared = await fleet.rows<{ id: string }>(`SELECT id FROM memories WHERE user_id = 'cleo' AND run_id = $1 AND evidence::text LIKE '%' || $2 || '%'`, [first.id, second.id]);
  expect(shared.length).toBeGreaterThan(0);
  await fleet.rows(`UPDATE memories SET evidence = (SELECT json_agg(e) FROM json_array_elements(evidence) e WHERE e ->> 'run_id' = $1) WHERE user_id = 'cleo' AND id <> $2`, [first.id, shared[0]!.id]);
  const fork = newId();
  await forkRun(base.pool, { origin: { tenant: 'acme', id: first.id, user: 'cleo' }, id: fork, seq: 0, start: 'recall', idempotencyKey: undefined, requestHash: '00' });
  await fleet.rows(`UPDATE agent_runs SET status = 'cancelled', finished_at = now(), error_code = 'cancelled', holds_session = false, claimed_by = NULL WHERE id = $1 AND finished_at IS NULL`, [fork]);
  await carriedOut(await request('run', first.id));
  expect(await fleet.rows(`SELECT id, run_id, evidence::text LIKE '%' || $1 || '%' AS named FROM memories WHERE user_id = 'cleo'`, [first.id])).toEqual([{ id: shared[0]!.id, run_id: second.id, named: false }]);
  expect(await fleet.rows(`SELECT erased_at IS NOT NULL AS erased, visible FROM agent_runs WHERE id = $1 OR parent_id = $1 OR forked_from = $1`, [first.id])).toEqual(Array(3).fill({ erased: true, visible: false }));
  expect((await fleet.run('acme', second.id)).output).not.toBeNull();
  expect(await fleet.memory.indexPending(200)).toBe(1); // in the words of the second
}, 90_000);

test('a run under way is ended first, and is not remembered', async () => {
  fleet.stub.addFault({ kind: 'stall_with_pings' });
  const { id: run } = await base.submit({ door: 'test', agent: 'support-agent', input: { message: `I am ${CANARY} dora.` }, ...who('dora', 'one') });
  await fleet.until('acme', run, () => fleet.stub.calls().some(({ fault }) => fault === 'stall_with_pings')); // the model is at it: nobody else meets the fault
  await carriedOut(await request('user', 'dora'));
  expect(await fleet.run('acme', run)).toMatchObject({ status: 'cancelled', memory_state: 'none', output: null });
  expect(await fleet.tablesWith(`${CANARY} dora`)).toEqual([]);
}, 60_000);

test('a store that is away delays it and loses none of it', async () => {
  await talk('eva');
  await fleet.indexed('acme');
  const [{ id: memory, statement }] = await fleet.rows<{ id: string; statement: string }>(`SELECT id, statement FROM memories WHERE user_id = 'eva' LIMIT 1`) as [{ id: string; statement: string }];
  const verdicts = (): Promise<unknown[]> => fleet.rows(`SELECT FROM memory_candidates WHERE user_id = 'eva' AND candidate ->> 'statement' = $1`, [statement]);
  expect(await verdicts()).not.toEqual([]);
  const id = await request('memory', memory);
  const [one] = (await openErasures(base.pool, 10)).filter((erasure) => erasure.id === id);
  const away = { ...deps, index: { deleteEverywhere: () => Promise.reject(new Error('Milvus is away')), versions: index.versions.bind(index) } };
  await expect(erase(away, one!)).rejects.toThrow('Milvus is away');
  expect(await fleet.rows(`SELECT statement, valid_to IS NULL AS live FROM memories WHERE id = $1`, [memory])).toEqual([{ statement: '(erased)', live: false }]);
  const receipt = await carriedOut(id);
  expect(receipt).toMatchObject({ kind: 'memory', erased: { memories: 1, vectors: 1, verdicts: 1 } });
  expect(await verdicts()).toEqual([]);
  expect(await fleet.rows(`SELECT FROM memories WHERE id = $1`, [memory])).toEqual([]);
  expect((await index.versions('memories', 'acme', [memory])).size).toBe(0);
}, 60_000);

test('what an indexer had read before an erasure and brings after it is taken out again, with its cached vector', async () => {
  await talk('gus');
  await note('gus', 'gus');
  await fleet.indexed('acme');
  await fleet.memory.indexPending(200, false, ['document_chunks']);
  const owed = await Promise.all(TABLES.map(async (table) => {
    const rows = await fleet.rows<{ id: string }>(`UPDATE ${table} SET indexed_generation = NULL, version = version + 1 WHERE user_id = 'gus' RETURNING ${table === 'run_summaries' ? 'run_id' : 'id'} AS id`);
    return { table, ids: rows.map(({ id }) => id) };
  }));
  expect(owed.map(({ ids }) => ids.length > 0)).toEqual([true, true, true]);
  const [started, erased] = [TABLES.map(() => Promise.withResolvers<void>()), Promise.withResolvers<void>()];
  let written = 0;
  const indexing = owed.map(({ table, ids }, at) => indexRows({
    pool: base.pool,
    index: { ...index, upsert: async (collection, rows) => { await index.upsert(collection, rows); written += rows.length; } },
    embedder: { ...fleet.memory.embedder, embed: async (texts, kind) => { started[at]!.resolve(); await erased.promise; return fleet.memory.embedder.embed(texts, kind); } },
  }, table, 'acme', ids));
  await Promise.all(started.map(({ promise }) => promise));
  await carriedOut(await request('user', 'gus'));
  const cached = await keysWith(':embedding:');
  erased.resolve();
  expect(await Promise.all(indexing)).toEqual([0, 0, 0]);
  expect(written).toBe(owed.flatMap(({ ids }) => ids).length);
  for (const { table, ids } of owed) expect((await index.versions(COLLECTION[table], 'acme', ids)).size).toBe(0);
  expect(await keysWith(':embedding:')).toEqual(expect.arrayContaining(cached));
  expect(await keysWith(':embedding:')).toHaveLength(cached.length);
}, 60_000);

test('the tenant: every user of it, and nobody of another', async () => {
  await fleet.talk('support-agent', `My name is ${CANARY} fay. I prefer to be contacted by phone.`, { tenant: 'other', user: 'fay', session: 'one' });
  await fleet.indexed('other');
  const others = await fleet.rows(`SELECT id, statement FROM memories WHERE tenant_id = 'other' ORDER BY id`);
  expect(others.length).toBeGreaterThan(0);
  await carriedOut(await request('tenant', 'acme'));
  expect(await fleet.rows(`SELECT FROM memories WHERE tenant_id = 'acme'`)).toEqual([]);
  expect(await index.count('memories', 'acme')).toBe(0);
  expect(await index.count('run_artifacts', 'acme')).toBe(0);
  expect(await fleet.rows(`SELECT FROM documents WHERE tenant_id = 'acme'`)).toEqual([]);
  expect(await fleet.rows(`SELECT id, statement FROM memories WHERE tenant_id = 'other' ORDER BY id`)).toEqual(others);
}, 60_000);

test('what is not there is not erased', async () => {
  expect(await requestErasure(base.pool, { tenant: 'acme', id: newId(), kind: 'run', subject: newId() }, 'test')).toBe(false);
  expect(await requestErasure(base.pool, { tenant: 'acme', id: newId(), kind: 'tenant', subject: 'other' }, 'test')).toBe(false);
});
