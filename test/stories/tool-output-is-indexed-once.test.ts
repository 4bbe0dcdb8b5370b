// The worker that keeps a run's long tool answers is killed after it has stored them and before its step knows: another does the step
// again, and each answer is one document, with each of its chunks once in the index. The same answer in a later run is the same document.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { defineAgent } from '../../src/run/define-agent.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import { conversation } from '../support/agents.ts';
import { eventually } from '../support/agent-process.ts';
import { memoryFaults } from '../support/check-memory.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { killAt } from '../support/kill-at.ts';
import { useStack } from '../support/stack.ts';
import { openTestIndex } from '../support/test-index.ts';

const LOG = Array.from({ length: 900 }, (_, n) => `Line ${n} of the log of the turbine says nothing of interest.`).join('\n');
const readLog = defineTool({ name: 'read_log', description: 'Reads.', effect: 'read', mayRepeat: true, input: z.strictObject({}), run: () => Promise.resolve(LOG) });
const stack = await useStack();
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'reader', version: 1, instructions: 'Answer.', tools: [readLog] })], {
  scripts: [conversation('the log', [{ toolUses: [{ name: 'read_log', input: {} }, { name: 'read_log', input: {} }] }, { text: 'My aunt is called Tilda.' }])], change: { TOOL_OUTPUT_BYTES: '4000' },
});
const index = await openTestIndex(stack);
await fleet.workers[1]!.stop(); // the memory worker: a process that is killed does its work

const read = async (session: string): Promise<string> => {
  const { id } = await fleet.base.submit({ tenant: 'acme', user: 'ada', session, door: 'test', agent: 'reader', input: { message: 'Read the log.' } });
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed' });
  return id;
};
const kept = () => fleet.rows<{ run: string; chunks: number; rows: number }>(`SELECT run_id AS run, chunks, (SELECT count(*)::int FROM document_chunks c WHERE c.document_id = d.id) AS rows FROM documents d`);
const remembered = (run: string) => fleet.rows<{ id: string; output: { outputs: number } | null; claims: number }>(`SELECT id, output, step_claims AS claims FROM agent_runs WHERE idempotency_key LIKE 'remember:' || $1 || ':%' AND status = 'completed'`, [run]);

test('stored once, whoever does it twice', async () => {
  let run = '';
  await killAt({
    point: 'outputs-kept', pass: 1, process: 'workers/memory.ts', up: 'worker registered', env: { ...stack.env, LEASE_MS: '2000', ANTHROPIC_BASE_URL: fleet.stub.url, TOOL_OUTPUT_BYTES: '4000' },
    ready: async () => { run = await read('s1'); },
  });
  const [stored, ...more] = await kept();
  expect([stored?.run, stored?.rows, more]).toEqual([run, stored?.chunks, []]);
  await fleet.worker({ pool: 'memory' });
  await eventually('it is remembered', async () => (await remembered(run)).length === 1);
  expect(await kept()).toEqual([stored]);

  const again = await read('s2');
  await eventually('it is remembered', async () => (await remembered(again)).length === 1);
  expect((await remembered(again))[0]?.output).toMatchObject({ outputs: 0 });
  expect(await kept()).toEqual([stored]);
  while (await fleet.memory.indexPending(200) > 0);
  expect((await index.ids('run_artifacts', 'acme')).length).toBe(stored?.chunks);
  const wrong = await memoryFaults({ rows: (text, values) => fleet.rows(text, values), index });
  expect(wrong.filter((sentence) => !sentence.startsWith('I13: nothing'))).toEqual([]);
});
