// A memory worker is killed between the row of a memory and its vector, and between the vector and the mark that it is there. The row
// is its own outbox: another worker finishes, and nothing is lost, doubled or left over.
import { expect, test } from '@jest/globals';
import type { FaultPoint } from '../../src/fault-points.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { memoryFaults } from '../support/check-memory.ts';
import { proposing } from '../support/extraction.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { killAt } from '../support/kill-at.ts';
import { useStack } from '../support/stack.ts';
import { openTestIndex } from '../support/test-index.ts';

const FACTS = [['head office', 'city', 'Porto', 'The head office is in Porto.'], ['billing', 'system', 'Zuora', 'Billing runs on Zuora.'], ['user', 'dog', 'Bruno', 'The user has a dog called Bruno.']] as const;
const stack = await useStack();
let said: (typeof FACTS)[number] = FACTS[0];
const candidate = () => {
  const [subject, attribute, value, statement] = said;
  return { type: 'fact', subject, attribute, value, statement, valid_from: null, evidence: [{ event_id: 'e1', quote: statement }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user' };
};
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer shortly.' })], { scripts: [proposing(() => [candidate()])] });
const index = await openTestIndex(stack);
await fleet.workers[1]!.stop(); // the memory worker: from here on processes that are killed do its work

interface State { readonly rows: number; readonly marked: number; readonly vectors: number }
async function stateOf(statement: string): Promise<State> {
  const found = await fleet.rows<{ id: string; marked: boolean }>(`SELECT id, indexed_generation IS NOT NULL AS marked FROM memories WHERE statement = $1`, [statement]);
  return { rows: found.length, marked: found.filter(({ marked }) => marked).length, vectors: (await index.versions('memories', 'acme', found.map(({ id }) => id))).size };
}

test.each<[FaultPoint, number, State, number]>([
  ['verdicts-stored', 1, { rows: 1, marked: 0, vectors: 0 }, 0],
  ['vectors-written', 1, { rows: 1, marked: 0, vectors: 1 }, 1],
  ['vectors-written', 2, { rows: 1, marked: 1, vectors: 1 }, 2], // of the summary
])('R45: %s, pass %i', async (point, pass, atKill, fact) => {
  said = FACTS[fact] ?? FACTS[0];
  const { statement } = candidate();
  let run = '';
  await killAt({
    point, pass, process: 'workers/memory.ts', up: 'worker registered', env: { ...stack.env, LEASE_MS: '2000', ANTHROPIC_BASE_URL: fleet.stub.url },
    ready: async () => { run = (await fleet.base.submit({ tenant: 'acme', user: 'ada', session: point + pass, door: 'test', agent: 'talker', input: { message: statement } })).id; await fleet.ended('acme', run); },
  });
  expect(await stateOf(statement)).toEqual(atKill);

  const rescue = await fleet.worker({ pool: 'memory' });
  await fleet.until('acme', run, ({ memory_state: state }) => state === 'done');
  const [remembering] = await fleet.rows<{ id: string }>(`SELECT id FROM agent_runs WHERE idempotency_key LIKE 'remember:' || $1 || ':%'`, [run]);
  expect(await fleet.ended('acme', remembering?.id ?? '')).toMatchObject({ status: 'completed' });
  while (await fleet.memory.indexPending(200) > 0);
  await rescue.stop();
  expect(await stateOf(statement)).toEqual({ rows: 1, marked: 1, vectors: 1 });
  expect(await memoryFaults({ rows: (text, values) => fleet.rows(text, values), index })).toEqual([]);
});
