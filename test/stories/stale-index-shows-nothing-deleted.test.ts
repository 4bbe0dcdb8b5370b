// The index is only an index: a vector that outlives its memory shows nothing to anybody, one that is there twice is one memory, and
// collections that are gone cost no run and are built again from Postgres as they were.
import { expect, test } from '@jest/globals';
import { MilvusClient } from '@zilliz/milvus2-sdk-node';
import { memoryExtraction } from '../../src/dev/model-stub/scripts/memory-extraction.ts';
import type { VectorRow } from '../../src/domain/vector-index.ts';
import { shortAlias, generationAlias, toFields } from '../../src/memory/milvus-schema.ts';
import { auditIndex, reindex } from '../../src/memory/reindex.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { eventually } from '../support/agent-process.ts';
import { memoryFaults } from '../support/check-memory.ts';
import { proposing } from '../support/extraction.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { atFileEnd, useStack } from '../support/stack.ts';
import { openTestIndex } from '../support/test-index.ts';

const [DOG, HOME] = ['I have a dog called Bruno.', 'I live in Lisbon.'];
const FACTS: Readonly<Record<string, string>> = { [DOG]: 'dog', [HOME]: 'home' };
const stack = await useStack();
let said = '';
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer shortly.' })], {
  scripts: [proposing(() => (FACTS[said] ? [{ type: 'fact', subject: 'user', attribute: FACTS[said], value: said, statement: said, valid_from: null, evidence: [{ event_id: 'e1', quote: said }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user' }] : []))],
});
const index = await openTestIndex(stack);
const deps = { pool: fleet.base.engine.pool, index, embedder: fleet.memory.embedder };
const sdk = new MilvusClient({ address: stack.milvusAddress, telemetry: { enabled: false }, logLevel: 'error' });
atFileEnd(async () => { await sdk.closeConnection(); });

let session = 0;
const talk = async (message: string): Promise<string> => {
  said = message;
  const run = await fleet.talk('talker', message, { tenant: 'acme', user: 'ada', session: `s${++session}` });
  expect(run).toMatchObject({ status: 'completed', error_code: null });
  await eventually('nothing is owed', async () => {
    await fleet.memory.indexPending(200);
    return (await fleet.rows(`SELECT id FROM memories WHERE indexed_generation IS NULL UNION ALL SELECT run_id FROM run_summaries WHERE indexed_generation IS NULL`)).length === 0;
  });
  return run.id;
};
interface Recalled { readonly degraded: boolean; readonly injected: string[]; readonly candidates: { id: string; refused?: string }[]; /** What the model read. */ readonly prompt: string }
/** What the run of a question was shown. A busy machine's Milvus may be late once: asked until it was not. */
const ask = (question: string): Promise<Recalled> => eventually('an answer of Milvus in time', async () => {
  const id = await talk(question);
  const [trace] = await fleet.rows<Omit<Recalled, 'prompt'>>(`SELECT degraded, injected, candidates FROM retrieval_traces WHERE run_id = $1`, [id]);
  const prompt = JSON.stringify(fleet.stub.calls().findLast(({ request }) => request && !memoryExtraction.matches(request) && JSON.stringify(request.messages).includes(question))?.request ?? '');
  return trace && !trace.degraded && { ...trace, prompt };
});
const rowOf = async (statement: string): Promise<VectorRow> => {
  const [row] = await fleet.rows<{ id: string; version: number }>(`SELECT id, version FROM memories WHERE statement = $1`, [statement]);
  return { id: row!.id, tenant: 'acme', user: 'ada', agent: null, scope: 'user', type: 'fact', version: row!.version, text: statement, vector: (await fleet.memory.embedder.embed([statement], 'document'))[0]! };
};

test('R44: a memory whose vector comes back after its deletion is in no prompt', async () => {
  await talk(DOG);
  await talk(HOME);
  const dog = await rowOf(DOG);
  expect(await ask('How is my dog Bruno called?')).toMatchObject({ injected: expect.arrayContaining([dog.id]), prompt: expect.stringContaining(DOG) });
  await fleet.rows(`UPDATE memories SET valid_to = now(), version = version + 1, indexed_generation = NULL WHERE id = $1`, [dog.id]);
  await fleet.memory.indexPending(200);
  await index.upsert('memories', [dog]); // a replica that has not heard of the deletion
  const after = await ask('What is the name of my dog Bruno?');
  expect(after.injected).not.toContain(dog.id);
  expect(after.prompt).toContain('What is the name');
  expect(after.prompt).not.toContain(DOG);
  expect(after.candidates).toContainEqual(expect.objectContaining({ id: dog.id, refused: expect.any(String) }));
  await auditIndex(deps, true);
  expect(await memoryFaults({ rows: (text, values) => fleet.rows(text, values), index })).toEqual([]);
});

test('R44: a memory whose vector is there twice is recalled once', async () => {
  const home = await rowOf(HOME);
  const collection_name = shortAlias(stack.milvusPrefix, 'memories');
  await sdk.insert({ collection_name, data: [toFields(home)] }); // not an upsert
  const { injected, prompt } = await ask('In which city do I live?');
  expect(injected.filter((id) => id === home.id)).toHaveLength(1);
  expect(prompt.split(HOME)).toHaveLength(2);
  expect(await memoryFaults({ rows: (text, values) => fleet.rows(text, values), index })).toEqual([]);
});

test('R44: collections that are gone cost no run, and are built again from Postgres as they were', async () => {
  const [before, home] = [await index.ids('memories', 'acme'), await rowOf(HOME)];
  for (const collection of ['memories', 'conversation_summaries'] as const) {
    const { collection: name } = await sdk.describeAlias({ alias: shortAlias(stack.milvusPrefix, collection), collection_name: shortAlias(stack.milvusPrefix, collection) });
    for (const alias of [shortAlias(stack.milvusPrefix, collection), generationAlias(stack.milvusPrefix, collection, index.generation)]) await sdk.dropAlias({ alias });
    await sdk.dropCollection({ collection_name: name ?? '' });
  }
  await talk('Good evening, which city was it?'); // completed without
  await reindex(deps, () => undefined);
  expect(before.map(({ id }) => id)).toContain(home.id);
  expect(await index.ids('memories', 'acme')).toEqual(before);
  expect((await ask('Tell me the city I live in.')).injected).toContain(home.id);
  expect(await memoryFaults({ rows: (text, values) => fleet.rows(text, values), index })).toEqual([]);
});
