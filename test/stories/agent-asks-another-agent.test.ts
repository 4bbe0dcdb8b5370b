// An agent offered to another as a tool runs as a child: of the same tenant and user, paid from the same budget, once however often
// the asking step runs, with no worker held meanwhile. Its answer, or its failure, is the result of the call.
import { beforeEach, expect, test } from '@jest/globals';
import { agentTool } from '../../src/tools/agent-tool.ts';
import { agent, askedOf, blocksOf, look } from '../support/agents.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const clerk = agent({ name: 'clerk', tools: [look] });
const boss = agent({ name: 'boss', tools: [agentTool({ agent: 'clerk', description: 'Looks things up in the archive.' })], limits: { budgetMicroUsd: 5_000_000n } });
const stack = await useStack();
const fleet = await startFleet(stack, [clerk, boss]);
await fleet.worker({ concurrency: 1 }); // were the asking run to hold its worker, the other could never run
beforeEach(() => fleet.stub.reset());
const ask = { toolUses: [{ name: 'ask_clerk', input: { message: 'Please look up the file on Zuora.' } }] };
const submit = async (message: string): Promise<string> => (await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'boss', user: 'ada', input: { message } })).id;
const childOf = (run: string) => fleet.rows<{ id: string; agent: string; user_id: string; status: string }>(`SELECT id, agent, user_id, status::text AS status FROM agent_runs WHERE parent_id = $1`, [run]);

test('the answer of the other is the result of the call', async () => {
  fleet.stub.tell({ when: 'the file on Zuora', turns: [{ toolUses: [{ name: 'look', input: { what: 'Zuora' } }] }, { text: 'Zuora: two contracts.' }] });
  fleet.stub.tell({ when: 'Prepare my meeting', turns: [ask, { text: 'You have two contracts.' }] });
  const run = await submit('Prepare my meeting');
  expect(await fleet.ended('acme', run)).toMatchObject({ status: 'completed', output: { answer: 'You have two contracts.' } });
  expect(await childOf(run)).toMatchObject([{ agent: 'clerk', user_id: 'ada', status: 'completed' }]);
  expect(blocksOf(askedOf(fleet, 'Prepare my meeting')[1])[0]).toMatchObject({ type: 'tool_result', content: 'Zuora: two contracts.' });
});

test('its failure is told to the asking model', async () => {
  fleet.stub.tell({ when: 'the file on Zuora', turns: [{ text: '', stopReason: 'refusal' }] });
  fleet.stub.tell({ when: 'Prepare it all', turns: [ask, { text: 'I could not.' }] });
  expect(await fleet.ended('acme', await submit('Prepare it all'))).toMatchObject({ status: 'completed', output: { answer: 'I could not.' } });
  expect(blocksOf(askedOf(fleet, 'Prepare it all')[1])[0]).toMatchObject({ type: 'tool_result', is_error: true, content: expect.stringContaining('model_refused') });
});
