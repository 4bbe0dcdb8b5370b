// A memory that resembles two others joins neither to the other: sentences that each lie between the last and the next leave every
// memory a sentence of its own, the two ends as they were said, and no row that grows with what comes after it. Where each step may
// merge, chains end in one memory of everything (redis/agent-memory-server#200).
import { expect, test } from '@jest/globals';
import { defineAgent } from '../../src/run/define-agent.ts';
import { proposing } from '../support/extraction.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

let candidates: object[] = [];
const stack = await useStack();
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer shortly.' })], { scripts: [proposing(() => candidates)] });
let session = 0;
async function say(attribute: string, value: string, statement: string): Promise<void> {
  candidates = [{ type: 'fact', subject: 'user', attribute, value, statement, valid_from: null, evidence: [{ event_id: 'e1', quote: statement }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user' }];
  await fleet.talk('talker', statement, { tenant: 'acme', user: 'ada', session: `s${++session}` });
  await fleet.indexed('acme');
}
const live = async (): Promise<string[]> => (await fleet.rows<{ statement: string }>(`SELECT statement FROM memories WHERE valid_to IS NULL ORDER BY created_at, id`)).map(({ statement }) => statement);

const RED = 'The user has a red bicycle in the cellar.';
const CAR = 'The user has a blue car in the garage.';
/** Each shares most of its words with the one before and the one after. */
const BRIDGES = [
  ['bicycle and car', 'both', 'The user has a red bicycle and a blue car.'], ['cellar and garage', 'both', 'The user has a cellar and a garage.'],
  ['bicycle place', 'cellar', 'The user has the bicycle in the cellar and the car in the garage.'], ['vehicles', 'two', 'The user has two vehicles: a red bicycle and a blue car.'],
  ['red things', 'bicycle', 'The user has a red bicycle next to the blue car in the garage.'], ['summer', 'bicycle', 'The user rides the red bicycle in summer and the blue car in winter.'],
] as const;

const withModel = stack.embedderDir === undefined ? test.skip : test;
withModel('a chain of sentences, each like the next, leaves both of its ends and joins nothing', async () => {
  await say('bicycle', 'red', RED);
  await say('car', 'blue', CAR);
  for (const time of [1, 2]) for (const [attribute, value, statement] of BRIDGES) await say(`${attribute}${time === 2 ? ' again' : ''}`, value, statement);
  const now = await live();
  expect(now).toEqual(expect.arrayContaining([RED, CAR]));
  // Every row says one thing somebody said, word for word: nothing was put together from two.
  expect(now.filter((statement) => ![RED, CAR, ...BRIDGES.map(([, , said]) => said)].includes(statement as never))).toEqual([]);
  const rows = await fleet.rows<{ statement: string; evidence: { quote: string }[]; seen_count: number }>(`SELECT statement, evidence, seen_count FROM memories`);
  expect(rows.find(({ statement }) => statement === RED)?.evidence.map(({ quote }) => quote)).toEqual([RED]);
  expect(rows.find(({ statement }) => statement === CAR)?.evidence.map(({ quote }) => quote)).toEqual([CAR]);
  // Said twice, each bridge is one row that was seen twice.
  expect(new Set(now).size).toBe(now.length);
  expect(Math.max(...rows.map(({ seen_count: seen }) => seen))).toBe(2);
}, 60_000);
