// A tenant says of each class of personal data whether memory may hold it, holds the rest without it, or refuses what is about it. What may
// not be held never reaches the model that extracts; the verdict names the class and never the value.
import { expect, test } from '@jest/globals';
import { newId } from '../../src/ids.ts';
import { memoryExtraction } from '../../src/dev/model-stub/scripts/memory-extraction.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { openAppStore } from '../../src/store/app-store.ts';
import { setMemoryPolicy } from '../../src/store/memory-policies.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

let proposed: object[] = [];
const asked: string[] = [];
const stack = await useStack();
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer shortly.' })], { scripts: [{
  name: 'extraction-of-this-test', matches: (request) => memoryExtraction.matches(request),
  reply: (request) => { asked.push(JSON.stringify(request)); return { json: { summary: { goal: 'g', result: 'r', decisions: [], open_items: [] }, candidates: proposed } }; },
}] });
const store = openAppStore({ url: stack.databaseUrl, asRole: true, log: fleet.base.log });
atFileEnd(() => store.close());

const EMAIL = 'lena.k@example.org';
async function tell(tenant: string, rule: 'allow' | 'redact' | 'reject', says: (email: string) => string) {
  await store.withTenant({ tenant }, (tx) => setMemoryPolicy(tx, { gate: { pii: { email: rule } } }, 'test'));
  const seen = says(rule === 'allow' ? EMAIL : '[email removed]'); // as the model reads it
  proposed = [{ type: 'fact', subject: 'user', attribute: 'account', value: seen, statement: seen, valid_from: null, evidence: [{ event_id: 'e1', quote: seen }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user' }];
  asked.length = 0;
  const { id } = await fleet.talk('talker', says(EMAIL), { tenant, user: 'lena', session: newId() });
  const rows = async (table: string, where = '') => fleet.rows<{ statement: string; decision: string; stage: string; reason: string; scores: object }>(`SELECT * FROM ${table} WHERE tenant_id = $1 ${where}`, [tenant]);
  const [verdict] = await rows('memory_candidates', `AND run_id = '${id}'`);
  return { verdict, memories: (await rows('memories')).map(({ statement }) => statement), kept: JSON.stringify([await rows('memory_candidates'), await rows('memories'), await rows('run_summaries')]) };
}
const says = (email: string): string => `My account is under ${email} in Hamburg.`;

test('allowed: it is remembered, and the verdict says that it is there', async () => {
  const { verdict, memories } = await tell('open', 'allow', says);
  expect(verdict).toMatchObject({ decision: 'ADMIT', scores: { pii: ['email'] } });
  expect(memories).toEqual([says(EMAIL)]);
  expect(asked.join()).toContain(EMAIL);
});

test('redacted: the rest is remembered, and no model, verdict or memory has seen it', async () => {
  const { verdict, memories, kept } = await tell('careful', 'redact', says);
  expect(verdict).toMatchObject({ decision: 'ADMIT', scores: { pii: ['email'] } });
  expect(memories).toEqual(['My account is under [email removed] in Hamburg.']);
  expect(asked).toHaveLength(1);
  expect(asked.join() + kept).not.toContain(EMAIL);
});

test('rejected: what is about it is no memory', async () => {
  const { verdict, memories, kept } = await tell('strict', 'reject', says);
  expect(verdict).toMatchObject({ decision: 'REJECT', stage: 'pii', reason: 'PII', scores: { pii: ['email'] } });
  expect(memories).toEqual([]);
  expect(asked.join() + kept).not.toContain(EMAIL);
});
