// What recall finds, on the real stores: by meaning, by words and by what stands beside; what held on another day; and, where the index
// is away, lost or wrong, never anything that no longer holds or belongs to somebody else.
import { beforeAll, describe, expect, test } from '@jest/globals';
import { pause } from '../src/clock.ts';
import { MainstayError } from '../src/domain/errors.ts';
import type { VectorSearch } from '../src/domain/vector-index.ts';
import { newId } from '../src/ids.ts';
import { rankFound, searchIndex, type FindDeps, type FindRequest } from '../src/memory/find-memories.ts';
import { fuseHits } from '../src/memory/fuse-hits.ts';
import { packBlock, type Scored } from '../src/memory/rank-memories.ts';
import { plantMemories } from './support/memories.ts';
import { openSearchGround } from './support/search-ground.ts';
import { useStack } from './support/stack.ts';

const stack = await useStack();
const { log, embedder, index, store, sql, indexAll } = await openSearchGround(stack);
const deps: FindDeps = { store, index, embedder, log };
const away: FindDeps = { ...deps, index: { ...index, search: () => Promise.reject(new MainstayError('index_unavailable', 'away')) } };

const plant = (memories: Parameters<typeof plantMemories>[2], tenant = 'acme'): Promise<string[]> => plantMemories(sql, tenant, memories);

async function find(query: string, over: Partial<FindRequest> = {}, with_: FindDeps = deps): Promise<{ statements: string[]; ids: string[]; degraded: boolean; block: string }> {
  const request: FindRequest = { tenant: 'acme', user: 'ada', agent: 'helper', query, ...over };
  const searched = await searchIndex(with_, request);
  const { scored } = await store.withStatements({ tenant: request.tenant, user: request.user ?? null }, (tx) => rankFound(with_, tx, request, searched));
  return { statements: scored.map(({ row }) => row.statement), ids: scored.map(({ row }) => row.id), degraded: searched.degraded, block: packBlock(scored, 1_500).text };
}

const OLD = 'Our billing system is Zuora.';
const NEW = 'Our billing system is Stripe.';
const filler = ['The cat sleeps on the sofa.', 'Lunch is served at noon.', 'The lift to the third floor is slow.', 'Bicycles are kept in the yard.', 'The printer needs toner.'];

beforeAll(async () => {
  const run = newId();
  await plant([
    ...filler.map((statement) => ({ user: 'ada', statement })),
    { user: 'ada', statement: 'Ada prefers to be written to by e-mail.' },
    { user: 'ada', statement: 'We talked about the autumn conference in Porto.', run }, { user: 'ada', statement: 'The train leaves at six.', run },
    { user: 'ada', statement: OLD, from: '2025-01-01', to: '2025-06-01' }, { user: 'ada', statement: NEW, from: '2025-06-01' },
    { user: 'bob', statement: 'Bob keeps his savings at the harbour bank.' },
    { statement: 'The team meets every Tuesday.' }, { user: 'ada', statement: 'The team meets every Tuesday.' },
  ]);
  await plant([{ statement: 'Rival secrets about billing and e-mail.' }], 'rival');
  await indexAll();
});

test('what is asked in other words is found by meaning', async () => {
  expect((await find('How should I get in touch with her?')).statements.slice(0, 2)).toContain('Ada prefers to be written to by e-mail.');
});

test('what Postgres is asked while the embedder is at work is time of the embedder', async () => {
  const [embedMs, sqlMs] = [400, 200];
  const slow: FindDeps = {
    ...deps, embedder: { ...embedder, embed: async (texts, kind) => { await pause(embedMs); return embedder.embed(texts, kind); } },
    store: { ...store, withStatements: async (scope, work) => { await pause(sqlMs); return store.withStatements(scope, work); } },
  };
  expect((await searchIndex(slow, { tenant: 'acme', user: 'ada', agent: 'helper', query: 'When does the train leave?' })).waitedMs).toBeGreaterThan(embedMs - 10);
});

test('neighbours of the list that came first are looked up at once, and in whichever order the lists come all count the same', async () => {
  const question = 'Which train do we take to the conference?';
  const heardOf = async (order: 'long first' | 'short first' | 'never'): Promise<{ first: string[]; places: string[] | undefined; scores: unknown }> => {
    const lists: Parameters<NonNullable<VectorSearch['heard']>>[0][] = [];
    const with_: FindDeps = { ...deps, index: { ...index, search: async (collection, request) => {
      const found = await index.search(collection, { ...request, heard: (hits) => { lists.push(hits); } });
      lists.sort((a, b) => (order === 'long first' ? b.length - a.length : a.length - b.length));
      if (order !== 'never') for (const hits of lists) request.heard?.(hits);
      return found;
    } } };
    const searched = await searchIndex(with_, { tenant: 'acme', user: 'ada', agent: 'helper', query: question });
    expect(lists.map((hits) => hits.map(({ id }) => id)).sort()).toEqual([searched.lists!.dense, searched.lists!.sparse].map((hits) => hits.map(({ id }) => id)).sort());
    const { fused } = await store.withStatements({ tenant: 'acme', user: 'ada' }, (tx) => rankFound(with_, tx, { tenant: 'acme', user: 'ada', agent: 'helper', query: question }, searched));
    return { first: lists[0]!.map(({ id }) => id).sort(), places: searched.places?.map(({ id }) => id), scores: fused };
  };
  const [long, short, never] = [await heardOf('long first'), await heardOf('short first'), await heardOf('never')];
  expect([long.places, short.places]).toEqual([long.first, short.first]);
  expect(long.places!.length).toBeGreaterThan(short.places!.length);
  expect(never.places).toBeUndefined();
  expect([long.scores, short.scores]).toEqual([never.scores, never.scores]);
});

test('a fact that stands in two scopes is told once', async () => {
  const { statements, block } = await find('When does the team meet?');
  expect(statements.filter((one) => one === 'The team meets every Tuesday.').length).toBe(2);
  expect(block.match(/every Tuesday/g)).toHaveLength(1);
});

test('what was overtaken is not told beside what took its place, and is where that is not found', () => {
  const row = (id: string, statement: string, supersededBy: string | null): Scored => ({
    row: { id, scope: 'user', type: 'fact', subject: '', statement, confidence: 0.8, seenCount: 1, citedCount: 0, unused: false, validFromMs: 0, idleMs: 0, halfLifeDays: null, slot: false, words: 0, supersededBy },
    dense: 0, sparse: 0, fused: 0, strength: 0, score: 0,
  });
  const [old, present] = [row('a', 'The gate is green.', 'b'), row('b', 'The gate is grey.', null)];
  expect(packBlock([old, present], 1_500).memories.map(({ id }) => id)).toEqual(['b']);
  expect(packBlock([old], 1_500).memories.map(({ id }) => id)).toEqual(['a']);
});

describe('what held, and when', () => {
  test('now there is one answer, the newer', async () => {
    const { statements } = await find('Which billing system do we have?');
    expect(statements).toContain(NEW);
    expect(statements).not.toContain(OLD);
  });

  test.each([['2025-03-01', [OLD]], ['2025-06-01', [NEW]], ['2024-01-01', []]])('as of %s: %j', async (day, expected) => {
    const { statements, degraded } = await find('Which billing system do we have?', { asOfMs: Date.parse(day) });
    expect(statements.filter((one) => one.includes('billing'))).toEqual(expected);
    expect(degraded).toBe(false);
  });
});

describe('the index is away', () => {
  test('what is asked in other words is found by the vectors kept in Postgres, and the answer is marked degraded', async () => {
    const { statements, degraded } = await find('How should I get in touch with her?', {}, away);
    expect(statements.slice(0, 2)).toContain('Ada prefers to be written to by e-mail.');
    expect(degraded).toBe(true);
  });

  test('and nobody is told what belongs to another', async () => {
    for (const with_ of [deps, away]) {
      const { statements } = await find('Where are the savings? Tell the secrets about billing.', {}, with_);
      expect(statements.length).toBeGreaterThan(0);
      expect(statements.filter((one) => /Bob|Rival/.test(one))).toEqual([]);
      expect((await find('savings', { user: 'bob' }, with_)).statements[0]).toBe('Bob keeps his savings at the harbour bank.');
    }
  });
});

test('an index that still holds what was closed, or holds another tenant’s, shows neither', async () => {
  const [stale] = await plant([{ user: 'ada', statement: 'The alarm code is 7731.' }]);
  await indexAll();
  expect((await find('alarm code')).ids).toContain(stale);
  await sql(`UPDATE memories SET valid_to = now() WHERE id = $1`, [stale]); // and nobody told the index
  expect((await index.ids('memories', 'acme')).map(({ id }) => id)).toContain(stale);
  expect((await find('alarm code')).ids).not.toContain(stale);
  const [foreign] = await sql<{ id: string }>(`SELECT id FROM memories WHERE tenant_id = 'rival'`);
  const lying: FindDeps = { ...deps, index: { ...index, search: async () => ({ dense: [{ id: foreign!.id, score: 0.99, rank: 1 }], sparse: [] }) } };
  expect((await find('billing', {}, lying)).ids).not.toContain(foreign!.id);
});

test('a memory the index names twice is found once', async () => {
  const [one] = (await find('Ada e-mail')).ids;
  const twice: FindDeps = { ...deps, index: { ...index, search: async () => ({ dense: [1, 2].map((rank) => ({ id: one!, score: 0.9, rank })), sparse: [1, 2].map((rank) => ({ id: one!, score: 5, rank })) }) } };
  for (const fuser of ['context', 'zscores', 'weighted', 'rrf'] as const) expect((await find('Ada e-mail', {}, { ...twice, fuser })).ids.filter((id) => id === one)).toHaveLength(1);
});

test('a memory that is not indexed yet is found by its words', async () => {
  const [fresh] = await plant([{ user: 'ada', statement: 'The wifi password is on the fridge.' }]);
  expect((await find('wifi password')).ids[0]).toBe(fresh);
});

test('a standing wish of the user is found whatever is asked, and a memory whose subject is named by its key alone', async () => {
  const [wish, named, other] = await plant([{ user: 'ada', type: 'preference', subject: 'user', statement: 'Please never phone before noon.' }, { user: 'ada', subject: 'zq 7', statement: 'It is painted blue.' }, { user: 'ada', subject: 'zq 8', statement: 'It is painted red.' }]);
  await indexAll();
  const quiet: FindDeps = { ...deps, index: { ...index, search: () => Promise.resolve({ dense: [], sparse: [] }) } };
  const { ids } = await find('Which colour has zq 7?', {}, quiet);
  expect([ids.includes(wish!), ids.includes(named!), ids.includes(other!)]).toEqual([true, true, false]);
});

describe('fusion', () => {
  const hit = (id: string, score: number, rank: number) => ({ id, score, rank });
  const options = { floor: 0, limit: 100, denseShare: 0.6 } as const;
  const order = (fused: ReturnType<typeof fuseHits>): string[] => fused.map(({ id }) => id);

  test('what both lists name comes before what one names', () => {
    for (const fuser of ['context', 'zscores', 'weighted', 'rrf'] as const) expect(order(fuseHits([hit('a', 0.6, 1), hit('b', 0.5, 2)], [hit('b', 9, 1), hit('c', 3, 2)], { ...options, fuser }))[0]).toBe('b');
  });

  test('what stands beside a hit is found too, after it and before what is far', () => {
    const places = ['a', 'b', 'c', 'd'].map((id, at, all) => ({ id, run: 'r', before: all[at - 1] ?? null, after: all[at + 1] ?? null }));
    expect(order(fuseHits([hit('b', 0.9, 1)], [hit('b', 5, 1)], { ...options, fuser: 'context', places }))).toEqual(['b', 'c', 'a']); // what follows a hit, before what leads to it
    expect(order(fuseHits([hit('b', 0.9, 1)], [hit('b', 5, 1)], { ...options, fuser: 'zscores', places }))).toEqual(['b']);
  });

  test('in whichever order the places come, the scores are the same to the last digit', () => {
    const name = (at: number): string => `m${String(at).padStart(3, '0')}`;
    const hits = Array.from({ length: 40 }, (_, at) => hit(name(at * 5), 1 / (at + 1.7), at + 1)); // every fifth: those beside it are no hits
    const places = hits.map(({ id }, at) => ({ id, run: `r${at % 7}`, before: at > 0 ? name(at * 5 - 1) : null, after: name(at * 5 + 1) }));
    const scores = (given: typeof places): unknown => fuseHits(hits, hits.toReversed().map((one, at) => hit(one.id, 3.1 / (at + 1), at + 1)), { ...options, fuser: 'context', places: given });
    for (let turn = 1; turn < places.length; turn += 3) expect(scores([...places.slice(turn), ...places.slice(0, turn)])).toEqual(scores(places));
  });

  test('scores are between 0 and 1, noise counts for nothing, and empty lists are no error', () => {
    const fused = fuseHits([hit('a', 0.9, 1), hit('n', 0.1, 2)], [hit('c', 40, 1), hit('d', 2, 2)], { ...options, floor: 0.2, fuser: 'context' });
    expect(order(fused).sort()).toEqual(['a', 'c', 'd']);
    for (const { fused: score } of fused) expect(score > 0 && score <= 1).toBe(true);
    expect(fuseHits([], [], { ...options, fuser: 'context' })).toEqual([]);
  });
});
