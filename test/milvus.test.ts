// The vector index on a real Milvus Lite: tenants and users never meet whatever stands in a filter value, what was
// acknowledged survives a restart, another embedder gets collections of its own, and a server that is down is met again.
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, jest, test } from '@jest/globals';
import { ConsistencyLevelEnum, MilvusClient } from '@zilliz/milvus2-sdk-node';
import { v7 } from 'uuid';
import { pause } from '../src/clock.ts';
import { defaultStateDir } from '../src/dev/servers/stack.ts';
import { startMilvusLite } from '../src/dev/servers/milvus-lite.ts';
import { freePort } from '../src/dev/servers/ports.ts';
import { writeJson } from '../src/dev/servers/processes.ts';
import { preparePython } from '../src/dev/servers/python.ts';
import { clipBytes, type VectorIndex, type VectorRow } from '../src/domain/vector-index.ts';
import { makeLog } from '../src/log.ts';
import { bm25Function, fieldsOf, indexesOf, toFields } from '../src/memory/milvus-schema.ts';
import { lookAtMilvus } from '../src/memory/milvus-look.ts';
import { openIndex } from '../src/memory/milvus.ts';
import { useStack } from './support/stack.ts';

const stack = await useStack();
const log = makeLog('silent', 'test');
const complaints: unknown[] = []; // of rows the server returned in spite of our filter
log.error = ((...said: unknown[]) => { complaints.push(said); });
const dimensions = 8;
const base = { address: stack.milvusAddress, tls: false, prefix: stack.milvusPrefix, denseIndex: stack.milvusDenseIndex, dimensions, fingerprint: 'test:one:8', log } as const;

const row = (over: Partial<VectorRow> = {}): VectorRow => ({
  id: v7(), tenant: 'acme', user: null, agent: null, scope: 'workspace', type: 'fact', version: 1, text: 'the office opens at nine',
  vector: [1, 0.1, 0, 0, 0, 0, 0, 0], ...over,
});
const near = [1, 0, 0, 0, 0, 0, 0, 0];
const find = (index: VectorIndex, over: Partial<Parameters<VectorIndex['search']>[1]> = {}) =>
  index.search('memories', { tenant: 'acme', vector: near, text: 'office', limit: 20, timeoutMs: 5_000, ...over });
const idsOf = ({ dense, sparse }: { dense: { id: string }[]; sparse: { id: string }[] }) => [dense.map((hit) => hit.id).sort(), sparse.map((hit) => hit.id).sort()];

let index: VectorIndex;
beforeAll(async () => { index = await openIndex(base); });
afterAll(async () => { await index.close(); });
afterEach(() => { expect(complaints.splice(0)).toEqual([]); });

describe('rows', () => {
  test('what is written is found by meaning and by words, best first, with ranks from 1', async () => {
    const tenant = 'finds';
    const close = row({ tenant, text: 'the printer on floor three jams' });
    const far = row({ tenant, text: 'invoices are paid monthly', vector: [0, 0, 1, 0, 0, 0, 0, 0] });
    await index.upsert('memories', [close, far]);
    const { dense, sparse } = await find(index, { tenant, text: 'which printer jams?' });
    expect(dense.map((hit) => [hit.id, hit.rank])).toEqual([[close.id, 1], [far.id, 2]]);
    expect(dense[0]?.score).toBeCloseTo(1 / Math.hypot(1, 0.1), 5);
    expect(sparse.map((hit) => [hit.id, hit.rank])).toEqual([[close.id, 1]]);
    expect(sparse[0]?.score).toBeGreaterThan(0);
    expect(await index.ready()).toBe(true);
    expect((await find(index, { tenant, text: '  ' })).sparse).toEqual([]);
    expect((await find(index, { tenant, vector: undefined })).dense).toEqual([]);
    expect((await find(index, { tenant, type: 'preference' })).dense).toEqual([]);
    expect((await index.search('conversation_summaries', { tenant, vector: near, text: 'printer', limit: 5, timeoutMs: 5_000 }))).toEqual({ dense: [], sparse: [] });
  });

  test('an upsert replaces, versions confirm, a delete deletes, also from the words', async () => {
    const tenant = 'changes';
    const first = row({ tenant, text: 'alpha' });
    await index.upsert('memories', [first]);
    await index.upsert('memories', [{ ...first, text: 'beta', version: 2 }]);
    expect(await index.versions('memories', tenant, [first.id, v7()])).toEqual(new Map([[first.id, 2]]));
    expect((await find(index, { tenant, text: 'alpha' })).sparse).toEqual([]);
    expect((await find(index, { tenant, text: 'beta' })).sparse).toHaveLength(1);
    expect(await index.count('memories', tenant)).toBe(1);
    await index.delete('memories', 'other', [first.id]);
    expect(await index.count('memories', tenant)).toBe(1);
    await index.delete('memories', tenant, [first.id]);
    expect(await index.count('memories', tenant)).toBe(0);
    expect(await find(index, { tenant, text: 'beta' })).toEqual({ dense: [], sparse: [] });
  });

  test('an audit sees every row once, over pages', async () => {
    const tenant = 'many';
    const rows = Array.from({ length: 2_300 }, (_, at) => row({ tenant, version: at }));
    await index.upsert('memories', rows);
    await index.upsert('memories', [row({ tenant: 'many-too' })]);
    await index.flush();
    const paged = await openIndex({ ...base, pageRows: 1_000 });
    const found = await paged.ids('memories', tenant).finally(() => paged.close());
    expect(found).toEqual(rows.map(({ id, version }) => ({ id, version })).sort((a, b) => (a.id < b.id ? -1 : 1)));
    expect((await find(index, { tenant, limit: 20 })).dense).toHaveLength(20);
  });

  test.each<[string, Partial<VectorRow>]>([
    ['a short vector', { vector: [1] }],
    ['a number that is none', { vector: [Number.NaN, 0, 0, 0, 0, 0, 0, 0] }],
    ['an endless number', { vector: [Infinity, 0, 0, 0, 0, 0, 0, 0] }],
    ['a vector without length', { vector: new Array<number>(8).fill(0) }],
    ['an id that is no uuid', { id: 'x"] or id != "' }],
    ['an upper-case id', { id: v7().toUpperCase() }],
    ['an empty tenant', { tenant: '' }],
    ['a tenant too long in bytes', { tenant: 'é'.repeat(513) }],
    ['a text too long in bytes', { text: '語'.repeat(2_731) }],
    ['half a surrogate pair', { text: 'a\ud800' }],
    ['a version that is no whole number', { version: 1.5 }],
    ['a user row without a user', { scope: 'user' }],
    ['an agent row without an agent', { scope: 'agent' }],
  ])('%s is refused and nothing of its batch is written', async (_what, wrong) => {
    const tenant = 'refused';
    await expect(index.upsert('memories', [row({ tenant }), row({ tenant, ...wrong })])).rejects.toMatchObject({ code: 'index_rejected' });
    expect(await index.count('memories', tenant)).toBe(0);
  });

  test('the same id twice in a batch is refused', async () => {
    const twice = row();
    await expect(index.upsert('memories', [twice, twice])).rejects.toMatchObject({ code: 'index_rejected' });
  });

  test('a text is clipped between characters', () => {
    expect(clipBytes('語語', 5)).toBe('語');
    expect(clipBytes('a\ud800b')).toBe('a\ufffdb');
    expect(Buffer.byteLength(clipBytes('é'.repeat(9_000)))).toBe(8_192);
  });
});

describe('who sees what', () => {
  const hostile = ['acme', 'globex', 'acme" or tenant_id != "', "acme' or 1==1 --", '{user}', '{tenant}', 'a\\', 'a\\"', '租户', 'line\nbreak', '" or true or "', '%', 'acme ', '👩‍🚀'];

  test('tenants never meet, whatever they are called', async () => {
    const canaries = hostile.map((tenant) => row({ tenant: `w${tenant}`, text: 'canary office' }));
    await index.upsert('memories', canaries);
    for (const canary of canaries) {
      expect(idsOf(await find(index, { tenant: canary.tenant, text: 'canary' }))).toEqual([[canary.id], [canary.id]]);
      expect((await index.ids('memories', canary.tenant)).map(({ id }) => id)).toEqual([canary.id]);
      expect([...(await index.versions('memories', canary.tenant, canaries.map(({ id }) => id))).keys()]).toEqual([canary.id]);
    }
    await index.delete('memories', 'wacme', canaries.map(({ id }) => id));
    for (const canary of canaries) expect(await index.count('memories', canary.tenant)).toBe(canary.tenant === 'wacme' ? 0 : 1);
  });

  test('users never meet, whatever they are called; agents keep to their own; the workspace is everybody’s', async () => {
    const tenant = 'shared';
    const everyones = row({ tenant });
    const users = hostile.map((user) => row({ tenant, scope: 'user', user }));
    const agents = ['support', 'support" or agent != "'].map((agent) => row({ tenant, scope: 'agent', agent, user: 'ann' }));
    await index.upsert('memories', [everyones, ...users, ...agents]);
    for (const mine of users) {
      const expected = [everyones.id, mine.id].sort();
      expect(idsOf(await find(index, { tenant, user: mine.user ?? '' }))).toEqual([expected, expected]);
    }
    for (const own of agents) expect((await find(index, { tenant, agent: own.agent ?? '' })).dense.map(({ id }) => id).sort()).toEqual([everyones.id, own.id].sort());
    expect(idsOf(await find(index, { tenant }))).toEqual([[everyones.id], [everyones.id]]);
    expect(idsOf(await find(index, { tenant, user: '' }))).toEqual([[everyones.id], [everyones.id]]);
  });

  test('several vectors go in one request, and each finds its own scope and type, of whom may see it', async () => {
    const tenant = 'near';
    const far = [0.2, 1, 0, 0, 0, 0, 0, 0];
    const own = [row({ tenant }), row({ tenant, scope: 'user', user: 'ann' }), row({ tenant, type: 'preference' }), row({ tenant, scope: 'user', user: 'ann', type: 'preference', vector: far }), row({ tenant, scope: 'agent', agent: 'helper' })] as const;
    const crowd = Array.from({ length: 15 }, () => row({ tenant, vector: [1, 0.01, 0, 0, 0, 0, 0, 0] }));
    await index.upsert('memories', [...own, ...crowd, ...hostile.map((user) => row({ tenant, scope: 'user', user })), row({ tenant: 'near2' }), row({ tenant: 'near2', scope: 'user', user: 'ann' }), row({ tenant, scope: 'agent', agent: 'other' })]);
    const sent = jest.spyOn(MilvusClient.prototype, 'search');
    const lists = await index.nearest('memories', { tenant, user: 'ann', agent: 'helper', limit: 10, timeoutMs: 5_000, queries: [
      { vector: near, scope: 'user', type: 'fact' }, { vector: near, scope: 'workspace', type: 'preference' }, { vector: far, scope: 'user', type: 'preference' }, { vector: near, scope: 'agent', type: 'fact' }, { vector: near, scope: 'workspace', type: 'fact' }, { vector: near, scope: 'user', type: 'decision' },
    ] });
    expect(sent.mock.calls).toEqual([[expect.objectContaining({ filter: expect.stringContaining('tenant_id == {tenant} and (scope == "workspace" or ') as unknown })]]);
    expect(lists.map((hits) => hits.map(({ id }) => id))).toEqual([[own[1].id], [own[2].id], [own[3].id], [own[4].id], expect.anything(), []]);
    expect([lists[4]?.length, lists[4]?.every(({ id }) => crowd.some((one) => one.id === id))]).toEqual([10, true]);
    expect(lists[2]?.[0]).toEqual({ id: own[3].id, score: expect.closeTo(1, 5), rank: 1 });
    const alone = await index.nearest('memories', { tenant, user: 'ann', limit: 10, timeoutMs: 5_000, queries: [{ vector: near, scope: 'user', type: 'fact' }] });
    expect(alone.map((hits) => hits.map(({ id }) => id))).toEqual([[own[1].id]]);
    expect(await index.nearest('memories', { tenant, limit: 10, timeoutMs: 5_000, queries: [{ vector: near, scope: 'user', type: 'fact' }, { vector: near, scope: 'agent', type: 'fact' }] })).toEqual([[], []]);
    expect(await index.nearest('memories', { tenant, limit: 10, timeoutMs: 5_000, queries: [] })).toEqual([]);
    expect(sent).toHaveBeenCalledTimes(3);
    sent.mockRestore();
    await expect(index.nearest('memories', { tenant: '', limit: 10, timeoutMs: 5_000, queries: [{ vector: near, scope: 'workspace', type: 'fact' }] })).rejects.toMatchObject({ code: 'index_rejected' });
  });

  test('an artifact is seen where its user and its agent, as far as it has them, agree', async () => {
    const tenant = 'artifacts';
    const [everyones, agents, users, both] = [row({ tenant }), row({ tenant, scope: 'agent', agent: 'helper' }), row({ tenant, scope: 'user', user: 'ann' }), row({ tenant, scope: 'user', user: 'ann', agent: 'helper' })] as const;
    const others = [...hostile.map((user) => row({ tenant, scope: 'user', user, agent: 'helper' })), row({ tenant: 'artifacts2' })];
    await index.upsert('run_artifacts', [everyones, agents, users, both, ...others]);
    const seen = async (over: { user?: string; agent?: string }) => idsOf(await index.search('run_artifacts', { tenant, vector: near, text: 'office', limit: 50, timeoutMs: 5_000, ...over }));
    for (const [over, rows] of [[{}, [everyones, agents]], [{ user: 'ann' }, [everyones, agents, users, both]], [{ user: 'ann', agent: 'other' }, [everyones, users]], [{ agent: 'helper' }, [everyones, agents]], [{ user: 'ann" or user_id != "', agent: '" or agent != "' }, [everyones]]] as const) {
      const expected = rows.map(({ id }) => id).sort();
      expect([over, await seen(over)]).toEqual([over, [expected, expected]]);
    }
    for (const [at, user] of hostile.entries()) expect((await seen({ user, agent: 'helper' }))[0]).toEqual([everyones.id, agents.id, others[at]?.id].sort());
  });

  test('a stranger’s text in a search is only words', async () => {
    const tenant = 'words';
    await index.upsert('memories', [row({ tenant, text: 'plain words' })]);
    for (const text of ['"', '\\', "' or 1==1", '{tenant}', '\u0000', '\ud800', 'words" and tenant_id != "words', '*', '语'.repeat(2_000)]) {
      const { sparse } = await find(index, { tenant, text });
      expect(sparse.length).toBeLessThanOrEqual(1);
    }
  });
});

describe('generations', () => {
  test('an erasure reaches the collections of before there were builds, also released ones, and they can be dropped', async () => {
    const prefix = `${stack.milvusPrefix}_old`;
    const now = await openIndex({ ...base, prefix });
    const sdk = new MilvusClient({ address: base.address, telemetry: { enabled: false }, logLevel: 'error' });
    const collection_name = `${prefix}_memories_g0123456789ab`;
    const [gone, kept, stranger] = [row({ tenant: 'old' }), row({ tenant: 'old' }), row({ tenant: 'older' })];
    await sdk.createCollection({ collection_name, fields: fieldsOf(dimensions), functions: [bm25Function], consistency_level: 'Strong' });
    for (const one of indexesOf('FLAT')) await sdk.createIndex({ collection_name, ...one });
    await sdk.loadCollectionSync({ collection_name });
    await sdk.upsert({ collection_name, data: [gone, kept, stranger].map(toFields) });
    await sdk.releaseCollection({ collection_name }); // as after a restart of the server
    const look = await lookAtMilvus({ ...base, prefix }, 5_000);
    expect([look.generations, await look.generation('memories')]).toEqual([{ memories: 2, conversation_summaries: 1, run_artifacts: 1 }, now.generation]);
    await look.close();
    await now.deleteEverywhere('memories', 'old', [gone.id, stranger.id]);
    expect((await sdk.getLoadState({ collection_name })).state).toBe('LoadStateLoaded'); // Milvus Lite deletes without, Milvus does not
    const { data } = await sdk.query({ collection_name, filter: 'version > 0', output_fields: ['id'], limit: 10, consistency_level: ConsistencyLevelEnum.Strong });
    expect(data.map(({ id }) => String(id)).sort()).toEqual([kept.id, stranger.id].sort());
    expect(await now.dropOtherGenerations()).toEqual([collection_name]);
    expect(await now.ready()).toBe(true);
    await sdk.closeConnection();
    await now.close();
  });

  test('another embedder gets collections of its own; an erasure reaches all; old ones can be dropped', async () => {
    const prefix = `${stack.milvusPrefix}_gen`;
    const one = await openIndex({ ...base, prefix });
    const kept = row({ tenant: 'gen' });
    await one.upsert('memories', [kept]);
    const two = await openIndex({ ...base, prefix, dimensions: 4, fingerprint: 'test:two:4' });
    expect(two.generation).not.toBe(one.generation);
    expect(await two.count('memories', 'gen')).toBe(0);
    await two.upsert('memories', [{ ...kept, vector: [1, 0, 0, 0] }]);
    await two.deleteEverywhere('memories', 'gen', [kept.id]);
    expect([await one.count('memories', 'gen'), await two.count('memories', 'gen')]).toEqual([0, 0]);
    expect(await two.dropOtherGenerations()).toEqual([`${prefix}_memories_${one.generation}_b1`, `${prefix}_conversation_summaries_${one.generation}_b1`, `${prefix}_run_artifacts_${one.generation}_b1`]);
    expect(await two.dropOtherGenerations()).toEqual([]);
    const again = await openIndex({ ...base, prefix, dimensions: 4, fingerprint: 'test:two:4' });
    expect(again.generation).toBe(two.generation);
    // a collection dropped under our feet is made again by the next call but one
    await expect(one.count('memories', 'gen')).rejects.toMatchObject({ code: 'index_unavailable' });
    expect(await one.count('memories', 'gen')).toBe(0);
    await Promise.all([one.close(), two.close(), again.close()]);
  });

  test('a deletion everywhere is looked after in every generation, and in collections that are being filled', async () => {
    const prefix = `${stack.milvusPrefix}_left`;
    const [old, now] = [await openIndex({ ...base, prefix }), await openIndex({ ...base, prefix, fingerprint: 'test:left:3' })];
    const [first, second] = [row({ tenant: 'left' }), row({ tenant: 'left' })];
    await old.upsert('memories', [first]);
    const rebuild = await now.rebuild();
    await rebuild.insert('memories', [second]);
    const original = MilvusClient.prototype.delete;
    for (const [{ id }, name] of [[first, `${prefix}_memories_${old.generation}_b1`], [second, `${prefix}_memories_${now.generation}_b2`]] as const) {
      const deaf = jest.spyOn(MilvusClient.prototype, 'delete').mockImplementation(function (this: MilvusClient, call: Parameters<MilvusClient['delete']>[0]) {
        if (call.collection_name === name) return Promise.resolve({ status: { error_code: 'Success', code: 0, reason: '' } } as never);
        return Reflect.apply(original, this, [call]);
      });
      await expect(now.deleteEverywhere('memories', 'left', [id])).rejects.toMatchObject({ code: 'index_unavailable' });
      deaf.mockRestore();
      await now.deleteEverywhere('memories', 'left', [id]);
    }
    expect(await old.count('memories', 'left')).toBe(0);
    await rebuild.cutOver();
    expect(await now.count('memories', 'left')).toBe(0);
    await Promise.all([old.close(), now.close()]);
  });

  test('fresh collections are filled unseen, take the old ones’ place between two calls, and the old ones are gone', async () => {
    const prefix = `${stack.milvusPrefix}_fresh`;
    const [own, other] = [await openIndex({ ...base, prefix }), await openIndex({ ...base, prefix })];
    const [old, fresh] = [row({ tenant: 'swap' }), row({ tenant: 'swap' })];
    await own.upsert('memories', [old]);
    const rebuild = await own.rebuild();
    await rebuild.insert('memories', [fresh]);
    expect((await other.ids('memories', 'swap')).map(({ id }) => id)).toEqual([old.id]);
    await rebuild.cutOver();
    expect((await other.ids('memories', 'swap')).map(({ id }) => id)).toEqual([fresh.id]);
    expect(idsOf(await find(other, { tenant: 'swap' }))).toEqual([[fresh.id], [fresh.id]]);
    const begun = await own.rebuild();
    await begun.insert('memories', [old]);
    await begun.abandon();
    const late = await openIndex({ ...base, prefix });
    expect((await late.ids('memories', 'swap')).map(({ id }) => id)).toEqual([fresh.id]);
    const look = await lookAtMilvus({ ...base, prefix }, 5_000);
    expect(look.generations).toEqual({ memories: 1, conversation_summaries: 1, run_artifacts: 1 });
    expect([await look.page('memories', '', 10), await look.rows('memories', [old.id, fresh.id])]).toEqual([[{ id: fresh.id, version: 1, tenant: 'swap' }], [{ id: fresh.id, version: 1, tenant: 'swap' }]]);
    await look.close();
    await Promise.all([own.close(), other.close(), late.close()]);
  });

  test('two processes that start at once make one set of collections', async () => {
    const prefix = `${stack.milvusPrefix}_race`;
    const both = await Promise.all([openIndex({ ...base, prefix }), openIndex({ ...base, prefix })]);
    expect(await both[0].ready() && await both[1].ready()).toBe(true);
    await both[0].upsert('memories', [row({ tenant: 'race' })]);
    expect(await both[1].count('memories', 'race')).toBe(1);
    await Promise.all(both.map((one) => one.close()));
  });
});

describe('a server that comes and goes', () => {
  const dir = mkdtempSync(join(tmpdir(), 'mainstay-milvus-'));
  afterAll(() => { rmSync(dir, { recursive: true, force: true }); });

  test('rows survive a restart, calls fail in time while it is away, the same client goes on', async () => {
    const { python } = await preparePython(join(defaultStateDir, 'venv'), () => undefined);
    let server = await startMilvusLite(dir, python);
    const own = await openIndex({ ...base, address: server.address });
    const kept = row({ tenant: 'stays' });
    await own.upsert('memories', [kept]);
    await server.stop();
    expect(await own.ready()).toBe(false);
    await expect(own.search('memories', { tenant: 'stays', vector: near, text: 'office', limit: 1, timeoutMs: 500 })).rejects.toMatchObject({ code: 'index_unavailable' });
    await expect(own.upsert('memories', [kept])).rejects.toMatchObject({ code: 'index_unavailable' });
    server = await startMilvusLite(dir, python);
    while (!(await own.ready())) await pause(10); // gRPC's own back-off; the test's time limit bounds it
    expect(idsOf(await find(own, { tenant: 'stays' }))).toEqual([[kept.id], [kept.id]]);
    await own.close();
    await server.stop();
  });

  test('a process starts without it, and goes on with it once it is there', async () => {
    const { python } = await preparePython(join(defaultStateDir, 'venv'), () => undefined);
    const port = await freePort();
    const early = await openIndex({ ...base, address: `127.0.0.1:${port}` });
    expect(await early.ready()).toBe(false);
    await expect(early.count('memories', 'x')).rejects.toMatchObject({ code: 'index_unavailable' });
    const late = join(dir, 'late');
    mkdirSync(late);
    writeJson(join(late, 'server.json'), { port }); // it takes the port it had before
    const server = await startMilvusLite(late, python);
    expect(server.address).toBe(`127.0.0.1:${port}`);
    while (!(await early.ready())) await pause(10);
    await early.upsert('memories', [row({ tenant: 'early' })]);
    expect(await early.count('memories', 'early')).toBe(1);
    await early.close();
    await server.stop();
  });
});
