// What recall found is found again without a search as long as no memory it may see has changed. Any change, by whichever door it comes,
// is seen by the next recall; a change of what it may not see costs it nothing. Only ids and numbers are kept, what is kept proves nothing,
// and without Redis recall searches.
import { beforeEach, expect, test } from '@jest/globals';
import type { QueryResult } from 'pg';
import { monoMs, pause } from '../../src/clock.ts';
import { withClient } from '../../src/dev/servers/migrate.ts';
import { newId } from '../../src/ids.ts';
import { openLimitsRedis } from '../../src/limits/redis-script.ts';
import { RecallCache } from '../../src/limits/recall-cache.ts';
import { rankFound, searchIndex, type FindDeps, type FindRequest } from '../../src/memory/find-memories.ts';
import { openIndex } from '../../src/memory/milvus.ts';
import { promoteCandidate } from '../../src/memory/promote-candidate.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { erase } from '../../src/run/erase.ts';
import { openAppStore } from '../../src/store/app-store.ts';
import { openErasures, requestErasure, type ErasureKind } from '../../src/store/engine/erase.ts';
import { retain } from '../../src/store/engine/retention.ts';
import { sayOfMemory } from '../../src/store/feedback.ts';
import { memoryEpoch } from '../../src/store/recall-memories.ts';
import { proposing } from '../support/extraction.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { plantMemories } from '../support/memories.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

let proposed: object[] = [];
const stack = await useStack();
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer shortly.' })], { scripts: [proposing(() => proposed)] });
const { base: { config, log, pool, redis, keys, blobs }, memory: { embedder } } = fleet;
const index = await openIndex({ address: config.MILVUS_ADDRESS, tls: false, prefix: config.MILVUS_PREFIX, denseIndex: config.MILVUS_DENSE_INDEX, dimensions: embedder.dimensions, fingerprint: embedder.fingerprint, log });
const store = openAppStore({ url: config.DATABASE_URL, asRole: true, log, max: 2 });
atFileEnd(async () => { await Promise.all([store.close(), index.close()]); });

let searches = 0;
const counting: typeof index = { ...index, search: (...asked) => { searches++; return index.search(...asked); } };
const deps: FindDeps = { store, index: counting, embedder, log, cache: new RecallCache(redis, keys) };
const sql = async (text: string, values: unknown[] = []): Promise<unknown> => fleet.rows(text, values);
const plant = (memories: Parameters<typeof plantMemories>[2], tenant = 'acme'): Promise<string[]> => plantMemories(sql, tenant, memories);
const indexAll = async (): Promise<void> => { while (await fleet.memory.indexPending(200) > 0); };

const QUERY = 'Who owns the ledger?';
const NILS = 'The owner of the ledger is Nils.';
const NORA = 'The owner of the ledger is Nora.';
const candidate = (value: string, over: object = {}) => {
  const statement = `The owner of the ledger is ${value}.`;
  return { type: 'fact', subject: 'ledger', attribute: 'owner', value, statement, valid_from: null, evidence: [{ event_id: 'e1', quote: statement }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user', ...over };
};

type Asked = Partial<FindRequest> & Pick<FindRequest, 'user'>;
async function ask(over: Asked, with_: FindDeps = deps): Promise<string[]> {
  const request: FindRequest = { tenant: 'acme', agent: 'talker', session: 's', query: QUERY, ...over };
  const searched = await searchIndex(with_, request);
  const { scored } = await store.withStatements({ tenant: request.tenant, user: request.user ?? null }, (tx) => rankFound(with_, tx, request, searched));
  return scored.map(({ row }) => row.statement);
}

/** Asks until it is answered without a search, which a write of somebody else's, such as the indexer's, may delay; answers what it was told. */
async function known(over: Asked): Promise<string[]> {
  for (let tries = 0; tries < 1_000; tries++) {
    const before = searches;
    const told = await ask(over);
    if (searches === before) return told;
  }
  throw new Error('it is searched for each time');
}

async function waitFor(holds: () => Promise<boolean>): Promise<void> {
  for (const endMs = monoMs() + 15_000; !await holds();) {
    if (monoMs() > endMs) throw new Error('still not so');
    await pause(10);
  }
}

async function say(user: string, value: string, over: object = {}): Promise<string> {
  const one = candidate(value, over);
  proposed = [one];
  return (await fleet.talk('talker', one.statement, { tenant: 'acme', user, session: newId() })).id;
}

/** Erases to the end: a run that is remembered just now is waited for. */
async function forget(kind: ErasureKind, subject: string): Promise<void> {
  await requestErasure(pool, { tenant: 'acme', id: newId(), kind, subject }, 'test');
  await waitFor(async () => {
    const open = await openErasures(pool, 10);
    for (const one of open) await erase({ pool, redis, keys, blobs, index, fingerprint: embedder.fingerprint, signingKey: undefined, log }, one);
    return open.length === 0;
  });
}

/** What one test shares with everybody the next does not see. */
beforeEach(async () => { await sql(`DELETE FROM memories WHERE scope = 'workspace'`); });

/** By name: what was known before, the change, and what is told right after it. `user` is of the case alone. */
const CHANGES: [string, { before?: (user: string) => Promise<unknown>; change: (user: string, id: string) => Promise<unknown>; told: (string | undefined)[] }][] = [
  ['admitted', { change: (user) => say(user, 'Nils'), told: [NILS] }],
  ['superseded', { before: (user) => say(user, 'Nils'), change: (user) => say(user, 'Nora'), told: [NORA] }],
  ['promoted', {
    before: async (user) => { await say(user, 'Nils', { source_role: 'agent', type: 'procedure' }); },
    change: async (user) => {
      const [{ run }] = await fleet.rows<{ run: string }>(`SELECT run_id AS run FROM memory_candidates WHERE user_id = $1 AND decision = 'QUARANTINE'`, [user]) as [{ run: string }];
      await store.withTenant({ tenant: 'acme' }, (tx) => promoteCandidate(tx, { run, index: 0, by: 'key:test', scope: undefined }));
    },
    told: [NILS],
  }],
  ['called wrong', { before: (user) => plant([{ user, statement: NILS }]), change: (_, memory) => store.withTenant({ tenant: 'acme' }, (tx) => sayOfMemory(tx, { memory, run: undefined, actor: 'key:test', verdict: 'wrong' })), told: [] }],
  ['closed by its age', {
    before: (user) => plant([{ user, statement: NILS }]),
    change: async (_, id) => { await sql(`UPDATE memories SET last_seen_at = now() - interval '400 days' WHERE id = $1`, [id]); await retain(pool, 'acme', 'test'); },
    told: [],
  }],
  ['erased', {
    before: (user) => plant([{ user, statement: NILS }]),
    change: (_, memory) => forget('memory', memory),
    told: [],
  }],
  ['shared by the workspace', { change: () => plant([{ statement: NORA }]), told: [NORA] }],
];

test.each(CHANGES)('a memory that was %s is told, or told no more, by the next recall', async (what, { before, change, told }) => {
  const user = `u-${what.replaceAll(' ', '-')}`;
  await before?.(user);
  await indexAll();
  const [memory] = await fleet.rows<{ id: string }>(`SELECT id FROM memories WHERE user_id = $1`, [user]);
  const first = await known({ user });
  expect(first.filter((one) => told.includes(one))).toEqual([]);
  await change(user, memory?.id ?? '');
  expect(await ask({ user })).toEqual(told);
  expect(await known({ user })).toEqual(told);
});

test('what is asked as of a day is known too, and no longer once the past has changed', async () => {
  const then: Asked = { user: 'past', asOfMs: Date.parse('2025-03-01') };
  const [id] = await plant([{ user: 'past', statement: NILS, from: '2025-01-01', to: '2025-06-01' }]);
  expect(await known({ user: 'past' })).toEqual([]);
  expect(await ask(then)).toEqual([NILS]);
  await waitFor(async () => Object.keys(await redis.hgetall(keys.recall('acme', 'past', 's'))).length === 2);
  expect(await ask(then, { ...deps, embedder: { ...embedder, embed: () => Promise.reject(new Error('what is known is not embedded')) } })).toEqual([NILS]);
  await sql(`UPDATE memories SET valid_to = valid_from WHERE id = $1`, [id]);
  expect(await ask(then)).toEqual([]);
});

test('found by its meaning as soon as the index has it', async () => {
  const query = 'How should I get in touch with her?';
  await plant([{ user: 'meaning', statement: 'Ada prefers to be written to by e-mail.' }]);
  const before = await ask({ user: 'meaning', query });
  await indexAll();
  expect(await ask({ user: 'meaning', query })).toEqual(embedder.semantic ? ['Ada prefers to be written to by e-mail.'] : before);
});

test('a change of what it may not see, and a citation, leave what is known; another session knows nothing of it', async () => {
  const [id] = await plant([{ user: 'own', statement: NILS }]);
  await indexAll();
  expect(await known({ user: 'own' })).toEqual([NILS]);
  const before = searches;
  await plant([{ user: 'another', statement: NORA }]);
  await plant([{ statement: NORA }], 'rival');
  await sql(`UPDATE memories SET cited_count = cited_count + 1, last_seen_at = now() WHERE id = $1`, [id]);
  expect(await ask({ user: 'own' })).toEqual([NILS]);
  expect(searches).toBe(before);
  expect(await ask({ user: 'own', session: 'other' })).toEqual([NILS]);
  expect(searches).toBe(before + 1);
});

test('what is kept holds no words, and names memories in vain that the asker may not see', async () => {
  await plant([{ user: 'kept', statement: NILS }]);
  const [foreign] = await plant([{ statement: NORA }], 'rival');
  const [others] = await plant([{ user: 'other', statement: NORA }]);
  await indexAll();
  expect(await known({ user: 'kept' })).toEqual([NILS]);
  const key = keys.recall('acme', 'kept', 's');
  const [[field, text]] = Object.entries(await redis.hgetall(key)) as [[string, string]];
  expect(`${field} ${text}`).not.toMatch(/nils|ledger|owner/i);
  const entry = JSON.parse(text) as { found: { hits: { id: string }[] } };
  for (const id of [foreign, others]) entry.found.hits.push({ ...entry.found.hits[0]!, id: id! });
  await redis.hset(key, field, JSON.stringify(entry));
  const before = searches;
  expect(await ask({ user: 'kept' })).toEqual([NILS]);
  expect(searches).toBe(before);
  for (const broken of ['', '{', '{"found":{}}', JSON.stringify({ ...entry, found: { semantic: true, hits: [{ id: 'x' }] } })]) {
    await redis.hset(key, field, broken);
    expect(await ask({ user: 'kept' })).toEqual([NILS]);
  }
});

test('without Redis it is searched for, as if nothing had ever been known', async () => {
  await plant([{ user: 'away', statement: NILS }]);
  const away = openLimitsRedis('redis://127.0.0.1:1', log);
  try {
    for (let times = 0; times < 2; times++) {
      const before = searches;
      expect(await ask({ user: 'away' }, { ...deps, cache: new RecallCache(away, keys) })).toEqual([NILS]);
      expect(searches).toBe(before + 1);
    }
  } finally {
    away.disconnect();
  }
});

test('no writer waits for another, and each commit is another epoch', async () => {
  const epoch = () => store.withStatements({ tenant: 'acme', user: 'w' }, (tx) => memoryEpoch(tx, { user: 'w', agent: 'talker' }));
  const seen = [await epoch()];
  await withClient(config.DATABASE_URL, async (slow) => {
    const slowly = (text: string, values: unknown[]): Promise<QueryResult> => slow.query(text, values);
    await slow.query('BEGIN');
    await plantMemories(slowly, 'acme', [{ statement: 'one' }, { user: 'w', statement: 'two' }]);
    await withClient(config.DATABASE_URL, async (quick) => {
      await quick.query(`SET lock_timeout = '5s'`);
      await plantMemories((text, values) => quick.query(text, values), 'acme', [{ user: 'w', statement: 'three' }, { statement: 'four' }]);
    });
    seen.push(await epoch());
    await slow.query('COMMIT');
    seen.push(await epoch());
  });
  await sql(`DELETE FROM memories WHERE user_id = 'w'`);
  seen.push(await epoch());
  expect(new Set(seen).size).toBe(4);
});

test('a run that asks again what its session has asked is told the same without a search, and traced the same', async () => {
  await plant([{ user: 'runs', statement: NILS }]);
  await indexAll();
  proposed = [];
  const who = { tenant: 'acme', user: 'runs', session: 'again' };
  const hits = async (): Promise<number> => (await fleet.base.metrics.recallCache.get()).values.find(({ labels }) => labels.outcome === 'hit')?.value ?? 0;
  await fleet.talk('talker', QUERY, who);
  await waitFor(async () => await redis.hlen(keys.recall('acme', 'runs', 'again')) === 1);
  const before = await hits();
  const { id } = await fleet.talk('talker', QUERY, who);
  expect(await hits()).toBe(before + 1);
  const traces = await fleet.rows<{ injected: string[]; candidates: { id: string; score: number }[] }>(`SELECT injected, candidates FROM retrieval_traces WHERE user_id = 'runs' ORDER BY id`);
  expect(traces).toHaveLength(2);
  expect(traces[1]!.injected).toEqual(traces[0]!.injected);
  expect(traces[1]!.candidates.map((one) => one.id)).toEqual(traces[0]!.candidates.map((one) => one.id));
  await forget('run', id);
  expect(await redis.exists(keys.recall('acme', 'runs', 'again'))).toBe(0);
});
