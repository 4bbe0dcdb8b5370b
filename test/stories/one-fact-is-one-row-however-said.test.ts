// Five facts, each said in three ways in three conversations, are five rows that were each seen three times; and what only looks like
// one of them is a row of its own. Where memories multiply with every wording, an agent learns to ignore them (mem0#5850).
import { beforeAll, expect, test } from '@jest/globals';
import { defineAgent } from '../../src/run/define-agent.ts';
import { proposing } from '../support/extraction.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

let proposed: Record<string, unknown>[] = [];
const stack = await useStack();
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer shortly.' })], { scripts: [proposing(() => proposed)] });

type Said = readonly [type: string, attribute: string, value: string, statement: string];
const conversation = async (session: string, said: readonly Said[]): Promise<void> => {
  proposed = said.map(([type, attribute, value, statement]) => ({
    type, subject: 'user', attribute, value, statement, valid_from: null, evidence: [{ event_id: 'e1', quote: statement }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user',
  }));
  await fleet.talk('talker', said.map(([, , , statement]) => statement).join(' '), { tenant: 'acme', user: 'ada', session });
  await fleet.indexed('acme');
};
const rows = () => fleet.rows<{ statement: string; seen_count: number; valid_to: Date | null; evidence: unknown[] }>(`SELECT statement, seen_count, valid_to, evidence FROM memories ORDER BY created_at, id`);
const verdicts = async (): Promise<Record<string, number>> => Object.fromEntries((await fleet.rows<{ decision: string; n: number }>(`SELECT decision::text, count(*)::int AS n FROM memory_candidates GROUP BY 1`)).map(({ decision, n }) => [decision, n]));

const withModel = stack.embedderDir === undefined ? test.skip : test;
beforeAll(async () => {
  await conversation('a', [
    ['constraint', 'allergies', 'peanuts', 'The user is allergic to peanuts.'], ['fact', 'home', 'Lisbon', 'The user lives in Lisbon.'], ['fact', 'job', 'nurse at Alba Clinic', 'The user works as a nurse at Alba Clinic.'],
    ['preference', 'contact channel', 'email', 'The user prefers to be contacted by email.'], ['fact', 'dog', 'Bruno', 'The user has a dog called Bruno.'],
  ]);
  await conversation('b', [
    ['constraint', 'allergies', 'peanut', 'The user has a peanut allergy.'], ['fact', 'home', 'Lisbon', 'Lisbon is where the user lives.'], ['fact', 'job', 'nurse, Alba Clinic', 'The user is a nurse at Alba Clinic.'],
    ['preference', 'contact channel', 'by email', 'The user would like to be contacted by email.'], ['fact', 'dog', 'Bruno', "Bruno is the user's dog."],
  ]);
  await conversation('c', [
    ['constraint', 'food allergy', 'peanuts', 'The user is allergic against peanuts.'], ['fact', 'place of residence', 'Lisbon', "The user's home is in Lisbon."], ['fact', 'job', 'nurse', 'Alba Clinic employs the user as a nurse.'],
    ['preference', 'preferred channel', 'email', 'Email is how the user prefers to be contacted.'], ['fact', 'pet', 'Bruno', 'The user owns a dog named Bruno.'],
  ]);
}, 60_000);

withModel('five facts in three wordings are five rows, each seen three times with the evidence of each', async () => {
  expect((await rows()).map(({ statement, seen_count, valid_to, evidence }) => [statement, seen_count, valid_to, evidence.length])).toEqual(
    ['allergic|allergy', 'Lisbon', 'nurse', 'email', 'Bruno'].map((word) => [expect.stringMatching(word), 3, null, 3]));
  const { ADMIT, REINFORCE = 0, MERGE = 0, ...others } = await verdicts();
  expect([ADMIT, REINFORCE + MERGE, others]).toEqual([5, 10, {}]);
});

withModel('what only looks like one of them (another name, number, word of denial, day or unit) is a row of its own', async () => {
  const near: Said[] = [
    ['constraint', 'tolerance', 'walnuts', 'The user is allergic to walnuts.'], ['fact', 'second home', 'Lagos', 'The user lives in Lagos in summer.'],
    ['preference', 'newsletter channel', 'not by email', 'The user does not want newsletters by email.'], ['fact', 'cat', 'Bruna', 'The user has a cat called Bruna.'],
  ];
  const before = (await rows()).length;
  await conversation('d', near);
  expect((await rows()).slice(before).map(({ statement }) => statement).sort()).toEqual(near.map(([, , , statement]) => statement).sort());
  expect((await rows()).slice(0, before).every(({ seen_count, valid_to }) => seen_count === 3 && valid_to === null)).toBe(true);
});
