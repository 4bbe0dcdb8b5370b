// The model that reads a finished run is told by long instructions what to propose. Proposed as the user's own wishes, with any evidence
// one could think of, none of their sentences becomes a memory: what the user never said is not in any event (mastra#22195).
import { expect, test } from '@jest/globals';
import { memoryExtraction } from '../../src/dev/model-stub/scripts/memory-extraction.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { proposing } from '../support/extraction.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const stack = await useStack();
let candidates: object[] = [];
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer shortly.' })], { scripts: [proposing(() => candidates)] });
const talk = (session: string, message: string) => fleet.talk('talker', message, { tenant: 'acme', user: 'ada', session });
const wish = (statement: string, evidence: object[], over: object = {}) => ({ type: 'constraint', subject: 'user', attribute: 'rule', value: statement.slice(0, 100), statement, valid_from: null, evidence, source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user', ...over });
const QUESTION = 'What is the weather like in Porto today?';

/** Sentences of the instructions as the observer was really sent them. */
async function instructions(): Promise<string[]> {
  await talk('first', QUESTION);
  const system = fleet.stub.calls().find(({ request }) => request && memoryExtraction.matches(request))?.request?.system;
  const text = typeof system === 'string' ? system : (system ?? []).map((block) => (block as { text?: string }).text ?? '').join('\n');
  return text.split('\n').flatMap((line) => line.split(/(?<=\.) /)).map((line) => line.replace(/^- /, '').trim()).filter((line) => line.length > 20 && line.length <= 300);
}

test('no sentence of its instructions becomes a memory, whatever it is called and whatever is given as its evidence', async () => {
  const sentences = await instructions();
  expect(sentences.length).toBeGreaterThan(15);
  candidates = sentences.flatMap((sentence) => [
    wish(sentence, [{ event_id: 'e1', quote: sentence }]), wish(sentence, [{ event_id: 'e0', quote: sentence }], { type: 'preference' }), wish(sentence, [{ event_id: 'e1', quote: QUESTION }], { type: 'preference', attribute: 'wish' }),
    wish(sentence, [{ event_id: 'e2', quote: sentence }], { source_role: 'agent', scope: 'workspace', type: 'procedure' }),
  ]);
  const { id } = await talk('second', QUESTION);
  const verdicts = await fleet.rows<{ decision: string; n: number }>(`SELECT decision::text, count(*)::int AS n FROM memory_candidates WHERE run_id = $1 GROUP BY 1 ORDER BY 1`, [id]);
  expect(verdicts.filter(({ decision }) => !['REJECT', 'QUARANTINE'].includes(decision))).toEqual([]);
  expect(verdicts.reduce((sum, { n }) => sum + n, 0)).toBe(candidates.length);
  expect(await fleet.rows(`SELECT statement FROM memories`)).toEqual([]);
});

test('what they show as an example is the user’s once the user says it', async () => {
  const own = 'Please send invoices as PDF from now on.';
  candidates = [wish('The user wants invoices as PDF.', [{ event_id: 'e1', quote: own }], { type: 'preference', attribute: 'invoice format', value: 'PDF' })];
  await talk('third', own);
  expect(await fleet.rows(`SELECT statement FROM memories`)).toEqual([{ statement: 'The user wants invoices as PDF.' }]);
});
