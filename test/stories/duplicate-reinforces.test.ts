// Memory stays clean: what is said again strengthens the one row there is, word for word or in other words; a newer value
// closes the older one and keeps it; another user's twin is another row; what recall put into the prompt is no new sighting.
import { expect, test } from '@jest/globals';
import { memoryExtraction } from '../../src/dev/model-stub/scripts/memory-extraction.ts';
import type { StubScript } from '../../src/dev/model-stub/wire.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

/** Set by a test: what the extraction proposes instead of the standard script's. */
let proposed: Record<string, unknown>[] | undefined;
const extraction: StubScript = {
  name: 'extraction-of-this-test',
  matches: (request) => memoryExtraction.matches(request),
  reply: (request) => (proposed ? { json: { summary: { goal: 'g', result: 'r', decisions: [], open_items: [] }, candidates: proposed } } : memoryExtraction.reply(request)),
};
const stack = await useStack();
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer shortly.' })], { scripts: [extraction] });

interface Row { id: string; statement: string; seen_count: number; evidence: { run_id: string; quote: string }[]; valid_to: Date | null; superseded_by: string | null; source_role: string }
const rowsOf = (user: string): Promise<Row[]> => fleet.rows<Row>(`SELECT id, statement, seen_count, evidence, valid_to, superseded_by, source_role::text FROM memories WHERE user_id = $1 ORDER BY created_at, id`, [user]);
const verdicts = async (run: string): Promise<string[]> => (await fleet.rows<{ v: string }>(`SELECT decision || ' ' || stage || ' ' || reason AS v FROM memory_candidates WHERE run_id = $1 ORDER BY index`, [run])).map(({ v }) => v);
let session = 0;
const talk = async (user: string, message: string) => {
  const run = await fleet.talk('talker', message, { tenant: 'acme', user, session: `s${++session}` });
  await fleet.indexed('acme');
  return run;
};
const candidate = (statement: string, quote: string, over: Record<string, unknown> = {}) => ({
  type: 'fact', subject: 'user', attribute: 'note', value: statement, statement, valid_from: null, evidence: [{ event_id: 'e1', quote }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user', ...over,
});

test('the same said in another session is the same row, seen twice, with the evidence of both runs', async () => {
  const first = await talk('ada', 'Please note: I prefer to be contacted by e-mail.');
  const second = await talk('ada', 'As I said, I prefer to be contacted by e-mail.');
  const [row, ...others] = await rowsOf('ada');
  expect(others).toEqual([]);
  expect(row).toMatchObject({ seen_count: 2, valid_to: null });
  expect(new Set(row?.evidence.map(({ run_id }) => run_id))).toEqual(new Set([first.id, second.id]));
  expect((await verdicts(second.id)).filter((one) => one.startsWith('REINFORCE'))).toHaveLength(1);
});

test('the same in other words is found by meaning, and no second row is made', async () => {
  proposed = [candidate('Deployments happen on Tuesday afternoons.', 'Deployments happen on Tuesday afternoons', { attribute: 'deployments' })];
  await talk('bea', 'Deployments happen on Tuesday afternoons. That is our habit.');
  proposed = [candidate('Deployment is done on Tuesday afternoons.', 'Deployment is done on Tuesday afternoons', { attribute: 'release days' })];
  const again = await talk('bea', 'Deployment is done on Tuesday afternoons, as you know.');
  proposed = undefined;
  expect(await verdicts(again.id)).toEqual([expect.stringMatching(/^(REINFORCE|MERGE) near_duplicate PARAPHRASE$/)]);
  expect((await rowsOf('bea')).map(({ seen_count, valid_to }) => [seen_count, valid_to])).toEqual([[2, null]]);
});

test('a near miss (another number) is another memory', async () => {
  proposed = [candidate('The export limit is 500 rows.', 'The export limit is 500 rows', { attribute: 'limits' })];
  await talk('cem', 'The export limit is 500 rows, please note.');
  proposed = [candidate('The export limit is 800 rows.', 'The export limit is 800 rows', { attribute: 'other limits' })];
  const again = await talk('cem', 'The export limit is 800 rows elsewhere, please note.');
  proposed = undefined;
  expect(await verdicts(again.id)).toEqual([expect.stringMatching(/^ADMIT \w+ NEW$/)]);
  expect(await rowsOf('cem')).toHaveLength(2);
});

test('a newer value closes the older one, and both are kept', async () => {
  await talk('dan', 'Hello there, we are on the Basic plan.');
  const second = await talk('dan', 'Hello again, we are now on the Pro plan.');
  const [old, now] = await rowsOf('dan');
  expect(old).toMatchObject({ statement: expect.stringContaining('Basic'), superseded_by: now?.id });
  expect(old?.valid_to).not.toBeNull();
  expect(now).toMatchObject({ statement: expect.stringContaining('Pro'), valid_to: null });
  expect((await verdicts(second.id)).filter((one) => one.startsWith('SUPERSEDE'))).toHaveLength(1);
});

test("another user's twin is a row of their own", async () => {
  await talk('eve', 'Please note: I prefer to be contacted by e-mail.');
  expect((await rowsOf('eve')).map(({ seen_count }) => seen_count)).toEqual([1]);
  expect((await rowsOf('ada')).map(({ seen_count }) => seen_count)).toEqual([2]);
});

test('what recall put into the prompt and the agent repeats is no second sighting', async () => {
  const [mine] = await rowsOf('ada');
  proposed = [candidate(mine?.statement ?? '', 'contacted by e-mail', { evidence: ['e1', 'e2'].map((event_id) => ({ event_id, quote: 'how will you contact me' })), source_role: 'agent' })];
  const run = await talk('ada', 'Tell me, how will you contact me?');
  proposed = undefined;
  expect(await verdicts(run.id)).toEqual(['REJECT echo RECALL_ECHO']);
  expect((await rowsOf('ada'))[0]?.seen_count).toBe(2);
});
