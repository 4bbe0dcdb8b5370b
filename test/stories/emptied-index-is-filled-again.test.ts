// Collections that are dropped under a running fleet are made again, empty, while the rows say that they are in them. That is found out, the
// rows are owed again and brought, and what the empty index answered meanwhile is told no more.
import { beforeAll, expect, test } from '@jest/globals';
import { MilvusClient } from '@zilliz/milvus2-sdk-node';
import { RecallCache } from '../../src/limits/recall-cache.ts';
import { rankFound, searchIndex, type FindDeps } from '../../src/memory/find-memories.ts';
import { generationAlias, shortAlias } from '../../src/memory/milvus-schema.ts';
import { oweLost } from '../../src/memory/watch-index.ts';
import { openAppStore } from '../../src/store/app-store.ts';
import { eventually } from '../support/agent-process.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { plantMemories } from '../support/memories.ts';
import { atFileEnd, useStack } from '../support/stack.ts';
import { openTestIndex } from '../support/test-index.ts';

const stack = await useStack();
const fleet = await startMemoryFleet(stack, []);
const { pool, log, redis, keys } = fleet.base;
const index = await openTestIndex(stack);
const store = openAppStore({ url: stack.databaseUrl, asRole: true, log, max: 1 });
const sdk = new MilvusClient({ address: stack.milvusAddress, telemetry: { enabled: false }, logLevel: 'error' });
atFileEnd(async () => { await Promise.all([store.close(), sdk.closeConnection()]); });
let searches = 0;
const deps: FindDeps = { store, embedder: fleet.memory.embedder, log, cache: new RecallCache(redis, keys), index: { ...index, search: (...asked) => { searches++; return index.search(...asked); } } };

let ids: string[] = [];
const held = async (): Promise<string[]> => (await index.ids('memories', 'acme')).map(({ id }) => id).sort();
const owed = async (): Promise<string[]> => (await fleet.rows<{ id: string }>(`SELECT id FROM memories WHERE valid_to IS NULL AND indexed_generation IS NULL ORDER BY id`)).map(({ id }) => id);
const fill = async (): Promise<void> => { while (await fleet.memory.indexPending(200) > 0); };
/** What is found, whether it was searched for, and whether embedder and index both answered in time. */
async function ask(): Promise<{ found: string[]; searched: boolean; whole: boolean }> {
  const before = searches;
  const request = { tenant: 'acme', user: 'ada', agent: 'helper', session: 's', query: 'Which animal keeps the beekeeper company?' };
  const known = await searchIndex(deps, request);
  const { scored } = await store.withTenant({ tenant: 'acme', user: 'ada' }, (tx) => rankFound(deps, tx, request, known));
  return { found: scored.map(({ row }) => row.statement), searched: searches > before, whole: known.semantic && !known.degraded };
}
const wholly = () => eventually('an answer of both in time', async () => { const asked = await ask(); return asked.whole ? asked : undefined; });
/** As one who does not know the fleet would. */
async function dropMemories(): Promise<void> {
  const alias = shortAlias(stack.milvusPrefix, 'memories');
  const { collection } = await sdk.describeAlias({ alias, collection_name: alias });
  for (const one of [alias, generationAlias(stack.milvusPrefix, 'memories', index.generation)]) await sdk.dropAlias({ alias: one });
  await sdk.dropCollection({ collection_name: collection ?? '' });
  await eventually('the collection is there again, empty', async () => { try { return (await held()).length === 0; } catch { return false; } });
}

beforeAll(async () => {
  ids = (await plantMemories((text, values) => fleet.rows(text, values), 'acme', [{ user: 'ada', statement: 'A dog lives with the man who looks after the hives.' }, ...Array.from({ length: 9 }, (_, n) => ({ user: 'ada', statement: `Shelf ${n} of the store room is painted white.` }))])).sort();
  await fill();
});

test('an index that holds what it should owes nothing, and a row that ended while it was looked for is not lost', async () => {
  expect(await held()).toEqual(ids);
  expect(await oweLost({ pool, index, log }, 100)).toBe(0);
  const ending = { ...index, versions: async (...asked: Parameters<typeof index.versions>) => { await fleet.rows(`UPDATE memories SET version = version + 1, indexed_generation = NULL WHERE id = $1`, [ids[9]]); const now = await index.versions(...asked); now.delete(ids[9]!); return now; } };
  expect(await oweLost({ pool, index: ending, log }, 100)).toBe(0);
  await fill();
});

test('a vector that is lost is brought again, and no other', async () => {
  await index.delete('memories', 'acme', [ids[3]!]);
  expect(await oweLost({ pool, index, log }, 100)).toBe(1);
  expect(await owed()).toEqual([ids[3]]);
  await fill();
  expect(await held()).toEqual(ids);
});

test('a collection that was dropped is filled again, and what was found before is searched for again', async () => {
  const dog = 'A dog lives with the man who looks after the hives.';
  expect((await wholly()).found[0]).toBe(dog);
  await eventually('what was found is kept', async () => !(await ask()).searched);
  await dropMemories();
  expect(await oweLost({ pool, index, log }, 2)).toBe(10); // two are looked for, and both are lost
  expect(await owed()).toEqual(ids);
  expect((await ask()).searched).toBe(true);
  await fill();
  expect(await held()).toEqual(ids);
  expect((await wholly()).found[0]).toBe(dog);
});
