// What a user says now takes the place of what they said before: the older row ends where the newer begins and names it, a recall shows
// one of them, and who asks for an earlier day is told what held then. It does not matter which of the two was said first.
import { expect, test } from '@jest/globals';
import { memoryExtraction } from '../../src/dev/model-stub/scripts/memory-extraction.ts';
import type { StubScript } from '../../src/dev/model-stub/wire.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { memoryFaults } from '../support/check-memory.ts';
import { proposing } from '../support/extraction.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';
import { openTestIndex } from '../support/test-index.ts';

const stack = await useStack();
let said: { readonly plan: string; readonly since: string } | undefined;
const statementOf = ({ plan, since }: NonNullable<typeof said>): string => `The user has been on the ${plan} plan since ${since}.`;
const learning = proposing(() => (said ? [{ type: 'fact', subject: 'user', attribute: 'plan', value: said.plan, statement: statementOf(said), valid_from: said.since, evidence: [{ event_id: 'e1', quote: statementOf(said) }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user' }] : []));
/** Asks its memory as of the day it is told, and answers with what it was told. */
const looking: StubScript = {
  name: 'looks-into-memory', matches: (request) => !memoryExtraction.matches(request) && JSON.stringify(request.messages).includes('as of '),
  reply: ({ messages }) => (JSON.stringify(messages.at(-1)).includes('tool_result') ? { text: JSON.stringify(messages.at(-1)) }
    : { toolUses: [{ name: 'recall_memory', input: { query: 'Which plan is the user on?', as_of: /as of (\S+)!/.exec(JSON.stringify(messages))?.[1] } }] }),
};
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer shortly.', recallTool: true })], { scripts: [learning, looking] });
const index = await openTestIndex(stack);
let session = 0;
const talk = async (user: string, message: string, learns?: typeof said) => {
  said = learns;
  const run = await fleet.talk('talker', message, { tenant: 'acme', user, session: `s${++session}` });
  await fleet.indexed('acme');
  return run;
};
const plansIn = (text: string): string[] => [...new Set([...text.matchAll(/on the (\w+) plan/g)].map(([, plan]) => plan ?? ''))];
const [BASIC, PRO] = [{ plan: 'Basic', since: '2026-01-10' }, { plan: 'Pro', since: '2026-06-20' }];

test.each([['the older said first', 'ada', [BASIC, PRO]], ['the newer said first', 'bea', [PRO, BASIC]]] as const)('R46: %s', async (_what, user, inOrder) => {
  for (const fact of inOrder) await talk(user, statementOf(fact), fact);
  const rows = await fleet.rows<{ id: string; value: string; until: string | null; superseded_by: string | null }>(`SELECT id, value, to_char(valid_to AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS until, superseded_by FROM memories WHERE user_id = $1 ORDER BY valid_from`, [user]);
  expect(rows.map(({ value, until, superseded_by: by }) => [value, until, by])).toEqual([['Basic', PRO.since, rows[1]?.id], ['Pro', null, null]]);

  const { id } = await talk(user, 'Which plan am I on?');
  const shown = await fleet.rows<{ statement: string }>(`SELECT m.statement FROM retrieval_traces t, unnest(t.injected) i(id) JOIN memories m ON m.id = i.id WHERE t.run_id = $1`, [id]);
  expect(shown.map(({ statement }) => statement)).toEqual([statementOf(PRO)]);
  for (const [day, plans] of [['2026-03-01', ['Basic']], ['2026-06-21', ['Pro']], ['2025-12-31', []]] as const) expect([day, plansIn(JSON.stringify((await talk(user, `Which plan was it as of ${day}!`)).output))]).toEqual([day, plans]);
  expect(await memoryFaults({ rows: (text, values) => fleet.rows(text, values), index })).toEqual([]);
});
