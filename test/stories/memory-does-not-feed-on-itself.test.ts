// A memory that is recalled, repeated by the agent and proposed again is still one memory seen once, and the agent's own instructions
// never become anybody's; twenty such conversations leave what the first one left (mem0#4573). And two values at odds are never both
// live: whichever order they come in, recall shows the newest, and the others stay with the end of their time (mem0#5821).
import { expect, test } from '@jest/globals';
import { memoryExtraction } from '../../src/dev/model-stub/scripts/memory-extraction.ts';
import type { StubScript } from '../../src/dev/model-stub/wire.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

let [proposed, answer]: [Record<string, unknown>[], string] = [[], 'Fine.'];
const extraction: StubScript = {
  name: 'extraction-of-this-test', matches: (request) => memoryExtraction.matches(request),
  reply: () => ({ json: { summary: { goal: 'g', result: 'r', decisions: [], open_items: [] }, candidates: proposed } }),
};
const talking: StubScript = { name: 'answers-of-this-test', matches: (request) => !memoryExtraction.matches(request), reply: () => ({ text: answer }) };
const stack = await useStack();
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer shortly. Never promise refunds.' })], { scripts: [extraction, talking] });

const candidate = (statement: string, value: string, over: Record<string, unknown> = {}) => ({
  type: 'fact', subject: 'user', attribute: 'plan', value, statement, valid_from: null, evidence: [{ event_id: 'e1', quote: statement }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user', ...over,
});
let session = 0;
const talk = async (user: string, message: string, candidates: Record<string, unknown>[]): Promise<string> => {
  proposed = candidates;
  const run = await fleet.talk('talker', message, { tenant: 'acme', user, session: `s${++session}` });
  await fleet.indexed('acme');
  return run.id;
};
const rows = (user: string) => fleet.rows<{ statement: string; seen_count: number; valid_to: Date | null; superseded_by: string | null }>(`SELECT statement, seen_count, valid_to, superseded_by FROM memories WHERE user_id = $1 OR user_id IS NULL ORDER BY valid_from, id`, [user]);
const injected = async (run: string): Promise<string[]> => (await fleet.rows<{ statement: string }>(`SELECT m.statement FROM retrieval_traces t, unnest(t.injected) i(id) JOIN memories m ON m.id = i.id::uuid WHERE t.run_id = $1`, [run])).map(({ statement }) => statement);

test('twenty conversations that only repeat memory and instructions leave what the first one left', async () => {
  await talk('ada', 'The user is on the Pro plan.', [candidate('The user is on the Pro plan.', 'Pro')]);
  answer = 'The user is on the Pro plan. I answer shortly and never promise refunds.';
  const echoed = { source_role: 'agent', evidence: [{ event_id: 'e2', quote: 'The user is on the Pro plan.' }] };
  const told = { source_role: 'agent', evidence: [{ event_id: 'e2', quote: 'I answer shortly and never promise refunds.' }] };
  const runs: string[] = [];
  for (let time = 0; time < 20; time++) {
    runs.push(await talk('ada', `Which plan am I on, question ${time}?`, [
      candidate('The user is on the Pro plan.', 'Pro', echoed), candidate('The plan of the user is Pro.', 'Pro', { ...echoed, attribute: 'subscription' }),
      candidate('Answers are short.', 'short', { ...told, type: 'preference', attribute: 'answer length' }), candidate('Refunds are never promised.', 'never', { ...told, type: 'constraint', subject: 'refunds', attribute: 'promise', scope: 'workspace' }),
    ]));
  }
  expect(await rows('ada')).toEqual([{ statement: 'The user is on the Pro plan.', seen_count: 1, valid_to: null, superseded_by: null }]);
  expect(new Set((await Promise.all(runs.map(injected))).map(String))).toEqual(new Set(['The user is on the Pro plan.']));
}, 60_000);

test('of values at odds one is live, the newest, and the others end where the next begins', async () => {
  answer = 'Fine.';
  const plans = ['Basic', 'Pro', 'Basic', 'Team', 'Pro'];
  for (const plan of plans) await talk('bea', `The user is on the ${plan} plan.`, [candidate(`The user is on the ${plan} plan.`, plan)]);
  const all = await rows('bea');
  expect(all.map(({ statement, valid_to }) => [statement, valid_to === null])).toEqual(plans.map((plan, at) => [`The user is on the ${plan} plan.`, at === plans.length - 1]));
  expect(await injected(await talk('bea', 'Which plan am I on?', []))).toEqual(['The user is on the Pro plan.']);
});
