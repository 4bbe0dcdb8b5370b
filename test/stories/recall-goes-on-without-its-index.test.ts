// Milvus that is down, and Milvus that takes what it is asked and answers only much later: recall does not wait for it but goes on from
// Postgres, marked degraded, and the run completes; what is learnt meanwhile waits for its vector, and has it when Milvus is back.
import { expect, test } from '@jest/globals';
import { RECALL_TIMEOUT_MS } from '../../src/domain/tunables.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { Proxy } from '../faults/proxy.ts';
import { eventually } from '../support/agent-process.ts';
import { memoryFaults } from '../support/check-memory.ts';
import { proposing } from '../support/extraction.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { atFileEnd, useStack } from '../support/stack.ts';
import { openTestIndex } from '../support/test-index.ts';

const stack = await useStack();
const milvus = await Proxy.open(Number(stack.milvusAddress.split(':')[1]), Math.random);
atFileEnd(() => milvus.close());
let fact: readonly [attribute: string, statement: string] | undefined;
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer shortly.' })], {
  change: { MILVUS_ADDRESS: `127.0.0.1:${milvus.port}` },
  scripts: [proposing(() => (fact ? [{ type: 'fact', subject: 'user', attribute: fact[0], value: fact[1], statement: fact[1], valid_from: null, evidence: [{ event_id: 'e1', quote: fact[1] }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user' }] : []))],
});
const index = await openTestIndex(stack); // past the proxy
let session = 0;
const talk = async (message: string, learns?: typeof fact): Promise<string> => {
  fact = learns;
  const run = await fleet.talk('talker', message, { tenant: 'acme', user: 'ada', session: `s${++session}` });
  expect(run).toMatchObject({ status: 'completed', error_code: null });
  return run.id;
};
const recalled = async (run: string) => (await fleet.rows<{ degraded: boolean; statements: string[] }>(
  `SELECT degraded, ARRAY(SELECT statement FROM memories m WHERE m.id = ANY (t.injected)) AS statements FROM retrieval_traces t WHERE run_id = $1`, [run]))[0];
const isHeld = async (statement: string): Promise<[marked: boolean, inIndex: boolean]> => {
  const [row] = await fleet.rows<{ id: string; marked: boolean }>(`SELECT id, indexed_generation IS NOT NULL AS marked FROM memories WHERE statement = $1`, [statement]);
  return [row?.marked ?? false, (await index.versions('memories', 'acme', row ? [row.id] : [])).size === 1];
};

test('R43: with Milvus a recall is not degraded', async () => {
  await talk('I live in Lisbon.', ['home', 'I live in Lisbon.']);
  await fleet.indexed('acme');
  await eventually('an answer of Milvus in time', async () => (await recalled(await talk('In which city do I live?')))?.degraded === false); // a busy machine's may be late
  expect(RECALL_TIMEOUT_MS).toBeLessThanOrEqual(1_000); // what the product waits for an answer of Milvus, as the next tests show that it does
});

test.each<[string, () => void, () => void, string, string]>([
  ['is down', () => milvus.refuse(), () => milvus.pass(), 'dog', 'I have a dog called Bruno.'],
  ['does not answer', () => milvus.hold(), () => milvus.letGo(), 'allergy', 'I am allergic to peanuts.'],
])('R43: where Milvus %s a recall goes on from Postgres, and what is learnt waits for it', async (_how, begins, ends, attribute, statement) => {
  const landed = milvus.counts.resets + milvus.counts.bytesHeld;
  begins();
  try {
    expect(await recalled(await talk(statement, [attribute, statement]))).toMatchObject({ degraded: true });
    expect(await recalled(await talk(`Do you know my home Lisbon, or my ${attribute}: ${statement}`))).toEqual({ degraded: true, statements: expect.arrayContaining(['I live in Lisbon.', statement]) });
    expect(await isHeld(statement)).toEqual([false, false]);
    expect(milvus.counts.resets + milvus.counts.bytesHeld).toBeGreaterThan(landed);
  } finally {
    ends();
  }
  await eventually('nothing is owed', async () => {
    await fleet.memory.indexPending(200);
    return (await fleet.rows(`SELECT id FROM memories WHERE indexed_generation IS NULL UNION ALL SELECT run_id FROM run_summaries WHERE indexed_generation IS NULL`)).length === 0;
  });
  expect(await isHeld(statement)).toEqual([true, true]);
  expect(await memoryFaults({ rows: (text, values) => fleet.rows(text, values), index })).toEqual([]);
}, 90_000);
