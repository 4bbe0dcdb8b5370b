// An agent that needs to know more than was recalled for the first message looks for it itself: what it finds is traced like every
// recall, an answer may cite it, what held on an earlier day can be asked for, what earlier runs came to is told too, and another user's
// memories and runs stay out of reach.
import { expect, test } from '@jest/globals';
import type { StubScript } from '../../src/dev/model-stub/wire.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { plantMemories, plantSummaries } from '../support/memories.ts';
import { useStack } from '../support/stack.ts';

const resultOf = (messages: readonly unknown[]): string => /"content":"((?:[^"\\]|\\.)*)","tool_use_id"|"tool_result"/.test(JSON.stringify(messages.at(-1))) ? JSON.stringify(messages.at(-1)) : '';
/** Asks its memory with the words after `look:`, and answers with what it was told. */
const looking: StubScript = {
  name: 'looks-into-memory',
  matches: ({ messages, tools }) => (tools ?? []).some(({ name }) => name === 'recall_memory') && JSON.stringify(messages).includes('look:'),
  reply: ({ messages }) => {
    const told = resultOf(messages);
    if (told !== '') return { text: `I was told: ${told}` };
    const asked = /look:(\{.*?\})!/.exec(JSON.stringify(messages).replaceAll('\\"', '"'))?.[1] ?? '{}';
    return { toolUses: [{ name: 'recall_memory', input: JSON.parse(asked) as unknown }] };
  },
};
const stack = await useStack();
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'seeker', version: 1, instructions: 'Answer shortly.', recallTool: true })], { scripts: [looking] });
const planted = await plantMemories((sql, values) => fleet.rows(sql, values), 'acme', [
  { user: 'ada', statement: 'The spare key hangs behind the boiler.' },
  { user: 'ada', statement: 'The landlord is called Moreau.', from: '2024-01-01', to: '2025-01-01' }, { user: 'ada', statement: 'The landlord is called Fontaine.', from: '2025-01-01' },
  { user: 'bob', statement: 'The spare key hangs in the shed of Bob.' },
]);

let session = 0;
const ask = async (args: Record<string, unknown>): Promise<{ id: string; answer: string; cited: string[] }> => {
  const run = await fleet.talk('seeker', `Good morning look:${JSON.stringify(args)}!`, { tenant: 'acme', user: 'ada', session: `s${++session}` });
  expect(run).toMatchObject({ status: 'completed', error_code: null });
  return { id: run.id, ...(run.output as { answer: string; cited: string[] }) };
};

test('what it looks for it finds, cites, and both recalls of the run leave their trace', async () => {
  const { id, answer, cited } = await ask({ query: 'Where is the spare key?' });
  expect(answer).toContain('behind the boiler');
  expect(answer).not.toContain('Bob');
  expect(cited).toContain(`mem_${planted[0]!.replaceAll('-', '')}`);
  const traces = await fleet.rows<{ query: string; cited: string[] }>(`SELECT query, cited FROM retrieval_traces WHERE run_id = $1 ORDER BY step_seq`, [id]);
  expect(traces).toHaveLength(2);
  expect(traces[1]).toMatchObject({ query: 'Where is the spare key?' });
  expect(traces[1]?.cited).toContain(planted[0]);
  expect(await fleet.rows(`SELECT cited_count::int AS n FROM memories WHERE id = $1`, [planted[0]])).toEqual([{ n: 1 }]);
});

test('it is told what earlier runs of its user came to, and the trace says which', async () => {
  const [mine] = await plantSummaries((sql, values) => fleet.rows(sql, values), 'acme', [
    { user: 'ada', agent: 'other', text: 'Goal: repair the harp\nResult: the luthier replaced two strings' }, { user: 'bob', text: 'Goal: repair the harp of Bob\nResult: sold' },
  ]);
  const { id, answer } = await ask({ query: 'What became of the harp?' });
  expect(answer).toContain('the luthier replaced two strings');
  expect(answer).not.toContain('Bob');
  const traces = await fleet.rows<{ id: string; summaries: string[] }>(`SELECT id, summaries::text[] FROM retrieval_traces WHERE run_id = $1 ORDER BY step_seq`, [id]);
  expect(traces.map(({ summaries }) => summaries)).toEqual([[], expect.arrayContaining([mine])]);
  expect(await fleet.rows(`SELECT object_type FROM audit_events WHERE action = 'summary.recalled' AND object_id = $1 AND actor = 'run:' || $2`, [mine, id])).toHaveLength(1);
  expect((await ask({ query: 'What became of the harp?', as_of: '2024-06-01' })).answer).not.toContain('luthier');
});

test('it may ask what held on an earlier day', async () => {
  expect((await ask({ query: 'What is the name of the landlord?', as_of: '2024-06-01' })).answer).toMatch(/Moreau(?!.*Fontaine)/);
  expect((await ask({ query: 'What is the name of the landlord?' })).answer).toMatch(/Fontaine(?!.*Moreau)/);
});

test.each([[{}], [{ query: 7 }], [{ query: 'x', as_of: 'the day before' }]])('arguments that are wrong (%j) are told to the model, and the run goes on', async (args) => {
  expect((await ask(args)).answer).toContain('invalid_arguments');
});
