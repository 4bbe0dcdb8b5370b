// A summary is required: a run whose extraction gives none, twice, is marked, and nothing of it enters memory, whatever
// candidates came along. One bad answer is forgiven. A run that says nothing costs no call.
import { beforeEach, expect, test } from '@jest/globals';
import { memoryExtraction } from '../../src/dev/model-stub/scripts/memory-extraction.ts';
import type { StubReply, StubScript } from '../../src/dev/model-stub/wire.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

/** What the extraction answers, in order; where nothing is left, the standard script answers. */
const answers: StubReply[] = [];
let asked = 0;
const extraction: StubScript = {
  name: 'extraction-of-this-test',
  matches: (request) => memoryExtraction.matches(request),
  reply: (request) => { asked++; return answers.shift() ?? memoryExtraction.reply(request); },
};
const candidate = { type: 'fact', subject: 'user', attribute: 'billing system', value: 'Zuora', statement: "The user's billing system is Zuora.", valid_from: null, evidence: [{ event_id: 'e1', quote: 'Our billing system is Zuora' }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user' };
const goodSummary = { goal: 'g', result: 'r', decisions: [], open_items: [] };

const stack = await useStack();
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer shortly.' })], { scripts: [extraction] });
const MESSAGE = 'Our billing system is Zuora and the export fails since Monday.';
const count = async (table: string): Promise<number> => (await fleet.rows<{ n: number }>(`SELECT count(*)::int AS n FROM ${table}`))[0]?.n ?? -1;
const counts = async (): Promise<number[]> => [await count('memories'), await count('memory_candidates'), await count('run_summaries')];
const state = async (run: string): Promise<string> => (await fleet.run('acme', run)).memory_state;
let session = 0;
const talk = (message = MESSAGE) => fleet.talk('talker', message, { tenant: 'acme', user: 'ada', session: `s${++session}` });
beforeEach(() => { answers.length = 0; asked = 0; });

test.each<[string, StubReply]>([
  ['is no JSON', { text: 'I would rather not.' }],
  ['has candidates and no summary', { json: { candidates: [candidate] } }],
  ['has an empty summary', { json: { summary: { ...goodSummary, goal: '  ' }, candidates: [candidate] } }],
  ['was cut off', { json: { summary: goodSummary, candidates: [candidate] }, stopReason: 'max_tokens' }],
  ['was refused', { text: '', stopReason: 'refusal' }],
])('an answer that %s, twice: the run says summary_missing and nothing is admitted', async (_what, answer) => {
  answers.push(answer, answer);
  const before = await counts();
  const run = await talk();
  expect([run.status, await state(run.id), asked]).toEqual(['completed', 'summary_missing', 2]);
  expect(await counts()).toEqual(before);
});

test('one bad answer is forgiven: the second is asked with less and counts', async () => {
  answers.push({ text: 'no' });
  const run = await talk();
  expect([await state(run.id), asked]).toEqual(['done', 2]);
  expect((await fleet.rows(`SELECT 1 FROM memory_candidates WHERE run_id = $1 AND decision = 'ADMIT'`, [run.id])).length).toBe(1);
});

test('a run that says nothing is summarised without a call', async () => {
  const run = await talk('ok thanks');
  expect([await state(run.id), asked]).toEqual(['done', 0]);
  expect((await fleet.rows<{ text: string }>(`SELECT text FROM run_summaries WHERE run_id = $1`, [run.id]))[0]?.text).toContain('ok thanks');
});
