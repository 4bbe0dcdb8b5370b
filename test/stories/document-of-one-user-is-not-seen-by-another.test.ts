// Who sees which document. What has a user is that user's, what has none is the tenant's; what has an agent is found by that agent alone.
// It holds by every door: search with and without the index, lists, reads, changes; and an index that lies changes nothing.
import { beforeAll, expect, test } from '@jest/globals';
import { SCOPES } from '../../src/domain/status.ts';
import { isVisible } from '../../src/domain/vector-index.ts';
import { makeFindPassages } from '../../src/memory/find-chunks.ts';
import { chunksByWords, chunksFor, chunkVectors } from '../../src/store/find-chunks.ts';
import { startDocuments, type TestDocuments } from '../support/documents.ts';
import { openTestIndex } from '../support/test-index.ts';
import { useStack } from '../support/stack.ts';

const stack = await useStack();
const documents = await startDocuments(stack);
const away = await startDocuments(stack, { MILVUS_ADDRESS: '127.0.0.1:1', REDIS_PREFIX: `${stack.redisPrefix}-a` });
const index = await openTestIndex(stack);
const { api } = documents;
const ada = await api.makeKey({ user: 'ada' });
const bob = await api.makeKey({ user: 'bob' });
const nobody = await api.makeKey({ scopes: SCOPES.filter((scope) => scope !== 'users:any') });
const rival = await api.makeKey({ tenant: 'rival' });
const ids: Record<string, string> = {};

beforeAll(async () => {
  const add = async (name: string, key?: string, over = {}): Promise<void> => { ids[name] = (await documents.add({ title: name, text: `The parcel of ${name} lies in locker ${name.length}.`, ...over }, key)).id; };
  await add('ada', ada);
  await add('bob', undefined, { user: 'bob' });
  await add('everybody');
  await add('helper', undefined, { agent: 'helper' });
  await add('ada-helper', ada, { agent: 'helper' });
  await add('rival', rival);
  await documents.index();
});

const seen = async (of: TestDocuments, over: Record<string, string> = {}, key?: string): Promise<string[]> => (await of.search('In which locker is the parcel?', over, key)).data.map(({ title }) => title).sort();

test.each([['with the index', documents, false], ['without it', away, true]] as const)('a search %s answers with what the searcher may see', async (_name, of, degraded) => {
  expect((await of.search('parcel')).degraded).toBe(degraded);
  expect(await seen(of, {}, ada)).toEqual(['ada', 'ada-helper', 'everybody', 'helper']);
  expect(await seen(of, {}, bob)).toEqual(['bob', 'everybody', 'helper']);
  expect(await seen(of, {}, nobody)).toEqual(['everybody', 'helper']);
  expect(await seen(of, {}, rival)).toEqual(['rival']);
  expect(await seen(of, { user: 'bob' })).toEqual(['bob', 'everybody', 'helper']);
  expect(await seen(of)).toEqual(['everybody', 'helper']);
});

test.each([['helper', ['ada', 'ada-helper', 'everybody', 'helper']], ['other', ['ada', 'everybody']]])('the agent %s finds %j for ada', async (agent, titles) => {
  for (const one of [documents, away]) expect(await seen(one, { agent }, ada)).toEqual(titles);
});

test('nobody lists, reads, removes or names what is another’s', async () => {
  expect((await documents.list('', bob)).map(({ title }) => title).sort()).toEqual(['bob', 'everybody', 'helper']);
  for (const key of [bob, nobody, rival]) {
    for (const [method, path] of [['GET', ''], ['GET', '/chunks'], ['DELETE', '']] as const) expect((await api.call('GET' === method ? 'GET' : 'DELETE', `/v1/documents/${ids['ada']}${path}`, { key })).status).toBe(404);
  }
  expect((await api.call('DELETE', `/v1/documents/${ids['everybody']}`, { key: bob })).status).toBe(403);
  for (const path of ['/v1/documents?user=ada', '/v1/documents/search?q=x&user=ada']) expect((await api.call('GET', path, { key: bob })).status).toBe(403);
  expect((await api.call('POST', '/v1/documents', { key: bob, body: { title: 'x', text: 'x', user: 'ada' } })).status).toBe(403);
});

test('an index that names another’s passages shows none of them', async () => {
  const all = await api.fleet.rows<{ id: string }>(`SELECT id FROM document_chunks`);
  const lies = { ...index, search: () => Promise.resolve({ dense: all.map(({ id }, at) => ({ id, score: 0.9, rank: at + 1 })), sparse: [] }) };
  const find = makeFindPassages({ store: api.store, index: lies, embedder: documents.memory.embedder, log: api.fleet.base.log });
  const { passages } = await find({ tenant: 'acme', user: 'bob', agent: 'other', query: 'parcel', limit: 50 });
  expect(passages.map(({ title }) => title).sort()).toEqual(['bob', 'everybody']);
});

test('the statements themselves, without the wall behind them, give nobody what is another’s', async () => {
  const scope = { user: 'bob', agent: 'other' };
  const titles = await api.store.withTenant({ tenant: 'acme' }, async (tx) => { // a scope that sees every user
    const all = (await chunksFor(tx, { user: 'ada', agent: undefined }, (await api.fleet.rows<{ id: string }>(`SELECT id FROM document_chunks`)).map(({ id }) => id))).map(({ id }) => id);
    expect(all).toHaveLength(4);
    const found = [(await chunksByWords(tx, scope, 'parcel', 50)), (await chunksByWords(tx, scope, 'parcel', 50, 'another')), (await chunkVectors(tx, scope, documents.memory.embedder.fingerprint))];
    const own = found.map((rows) => rows.map(({ id }) => id));
    const seen: number[] = [];
    for (const ids of own) seen.push(ids.length, (await chunksFor(tx, { user: 'bob', agent: undefined }, ids)).length);
    return [...seen, (await chunksFor(tx, scope, all)).length];
  });
  expect(titles).toEqual([2, 2, 2, 2, 2, 2, 1]); // bob's and everybody's; of what ada sees, everybody's
});

test('what an index answers in spite of its filter is looked at before it is believed', () => {
  const row = { tenant: 'acme', scope: 'user', user: 'ada', agent: 'helper' };
  const visible = (over: Partial<typeof row>, search: { user?: string; agent?: string }) => isVisible('run_artifacts', { ...row, ...over }, { tenant: 'acme', ...search });
  expect([visible({}, { user: 'ada' }), visible({}, { user: 'ada', agent: 'helper' }), visible({ user: '' }, { user: 'bob' }), visible({ agent: '' }, { user: 'ada', agent: 'other' })]).toEqual([true, true, true, true]);
  expect([visible({}, { user: 'bob' }), visible({}, {}), visible({}, { user: 'ada', agent: 'other' }), visible({ tenant: 'rival' }, { user: 'ada' })]).toEqual([false, false, false, false]);
});

test('the index itself answers nobody with what is another’s', async () => {
  const titles = async (over: { tenant?: string; user?: string; agent?: string }): Promise<string[]> => {
    const { sparse } = await index.search('run_artifacts', { tenant: 'acme', ...over, text: 'parcel', limit: 50, timeoutMs: 5_000 });
    return (await api.fleet.rows<{ title: string }>(`SELECT d.title FROM document_chunks c JOIN documents d ON d.id = c.document_id WHERE c.id = ANY ($1::uuid[]) ORDER BY 1`, [sparse.map(({ id }) => id)])).map(({ title }) => title);
  };
  expect(await titles({})).toEqual(['everybody', 'helper']);
  expect(await titles({ user: 'bob', agent: 'other' })).toEqual(['bob', 'everybody']);
  expect(await titles({ user: '" or tenant_id == "rival', agent: '" or "" == "' })).toEqual(['everybody']);
  expect(await titles({ tenant: 'rival' })).toEqual(['rival']);
});
