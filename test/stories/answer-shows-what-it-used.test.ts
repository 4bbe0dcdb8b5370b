// Of the memories a run was shown it is known which its answer cited and which it bears out: says what they say, in words the user had not
// brought. Three levels that are never mixed (shown, cited, supported), told by words alone, for a run and for a memory.
import { describe, expect, test } from '@jest/globals';
import { Mainstay } from '../../src/client/client.ts';
import type { StubScript } from '../../src/dev/model-stub/wire.ts';
import { SCOPES } from '../../src/domain/status.ts';
import { isSupported } from '../../src/domain/support.ts';
import { publicId } from '../../src/ids.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { startAll } from '../../src/service.ts';
import { createKey, createTenant } from '../../src/store/engine/api-keys.ts';
import { assembleApi } from '../../workers/assemble-api.ts';
import { proposing } from '../support/extraction.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { plantMemories } from '../support/memories.ts';
import { spawnCli } from '../support/spawn-cli.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

let answer = '';
let extracts = true;
const answering: StubScript = { name: 'answers-as-the-test-says', matches: ({ output_config }) => output_config === undefined, reply: () => ({ text: answer }) };
const broken: StubScript = { name: 'no-summary', matches: ({ output_config }) => output_config !== undefined && !extracts, reply: () => ({ text: 'no JSON at all' }) };
const stack = await useStack();
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer.' })], { scripts: [answering, broken, proposing(() => [])], change: { PORT: '0' } });
const api = assembleApi(fleet.base, {});
const stop = await startAll(api.services, fleet.base.log);
atFileEnd(async () => { await stop(); await api.close(); });
await createTenant(fleet.base.engine.pool, 'acme');
const apiKey = (await createKey(fleet.base.engine.pool, { tenant: 'acme', user: undefined, name: 'test', scopes: SCOPES, expiresAt: undefined }, 'test')).key;
const baseUrl = `http://127.0.0.1:${api.server.port}`;
const client = new Mainstay({ baseUrl, apiKey });

const [plan, day] = await plantMemories((sql, values) => fleet.rows(sql, values), 'acme', [{ user: 'ada', statement: 'The user is on the Pro plan.' }, { user: 'ada', statement: 'The plan is paid on day 15 of the month.' }]) as [string, string];
await fleet.rows(`UPDATE memories SET value = 'Pro' WHERE id = $1`, [plan]);
await fleet.memory.indexPending(10);

let session = 0;
/** What a run that is asked `question` and answers `words` has used of the two memories. */
async function used(question: string, words: string): Promise<{ run: string; plan: unknown; day: unknown }> {
  answer = words;
  const { id } = await fleet.talk('talker', question, { tenant: 'acme', user: 'ada', session: `s${++session}` });
  const shown = (await client.runs.traces(publicId('run', id))).data.flatMap(({ injected }) => injected);
  const of = (memory: string): unknown => { const one = shown.find((each) => each.id === publicId('memory', memory)); return one && { cited: one.cited, supported: one.supported }; };
  return { run: publicId('run', id), plan: of(plan), day: of(day) };
}
const mark = (id: string): string => `[m:${id.replaceAll('-', '')}]`;

test('shown, cited and supported are told apart', async () => {
  const question = 'Which plan do I have, and when is it paid?';
  expect(await used(question, 'I do not know.')).toMatchObject({ plan: { cited: false, supported: false }, day: { cited: false, supported: false } });
  expect(await used(question, `You have the Pro plan ${mark(plan)}.`)).toMatchObject({ plan: { cited: true, supported: true }, day: { cited: false, supported: false } });
  expect(await used(question, `It is all in here: ${mark(plan)}. It is paid on the 15th, on day 15.`)).toMatchObject({ plan: { cited: true, supported: false }, day: { cited: false, supported: true } });
});

test('what the user said himself no memory has brought', async () => {
  expect(await used('Am I on the Pro plan?', 'You are on the Pro plan.')).toMatchObject({ plan: { cited: false, supported: false } });
});

test('of a run without a summary it is known too; of one that is not remembered yet nobody says', async () => {
  extracts = false;
  const { run, plan: of } = await used('Which plan do I have?', 'You have the Pro plan.');
  extracts = true;
  expect((await client.runs.memories(run)).memoryState).toBe('summary_missing');
  expect(of).toEqual({ cited: false, supported: true });
  await fleet.rows(`UPDATE agent_runs SET memory_state = 'due' WHERE agent = 'talker'`);
  try {
    expect(new Set((await client.runs.traces(run)).data.flatMap(({ injected }) => injected.map((one) => one.supported)))).toEqual(new Set([null]));
    expect(new Set((await client.memories.uses(publicId('memory', plan))).data.map((use) => use.supported))).toEqual(new Set([null]));
  } finally {
    await fleet.rows(`UPDATE agent_runs SET memory_state = 'done' WHERE agent = 'talker'`);
  }
});

test('the uses of a memory say it of each run, over the API and on the command line', async () => {
  const { run } = await used('Which plan do I have?', 'You have the Pro plan.');
  expect((await client.memories.uses(publicId('memory', plan))).data[0]).toMatchObject({ run, cited: false, supported: true });
  const { code, out } = await spawnCli(['memories', 'uses', publicId('memory', plan)], { env: { MAINSTAY_URL: baseUrl, MAINSTAY_API_KEY: apiKey } });
  expect(code).toBe(0);
  expect(out.split('\n')[0]).toMatch(/run +agent +cited +supported/);
  expect(out.split('\n').find((line) => line.includes(run))).toMatch(/talker +no +yes/);
});

describe('an answer supports a memory', () => {
  test.each<[string, { value?: string; statement: string }, string, string, boolean]>([
    ['by its value in other order', { value: 'dark roast coffee', statement: 'x' }, 'Coffee, a dark roast.', 'What shall I buy?', true],
    ['not by half of its value', { value: 'dark roast coffee', statement: 'x' }, 'Some coffee.', 'What shall I buy?', false],
    ['by a number', { statement: 'The limit is 4,500 euros.' }, 'Up to 4500 EUR.', 'How much may I spend?', true],
    ['not by another number', { statement: 'The limit is 4,500 euros.' }, 'Up to 45 EUR.', 'How much may I spend?', false],
    ['not by the number of a list', { statement: 'The team has 3 offices.' }, '1. Look. 2. Listen. 3. Ask.', 'What now?', false],
    ['by a date in another form', { statement: 'The contract ends on 2026-03-31.' }, 'On 31 March 2026.', 'When does it end?', true],
    ['by a name of its value', { value: 'Priya Raman, billing', statement: 'x' }, 'Ask Priya.', 'Whom do I ask?', true],
    ['not by a name it is merely about', { value: 'e-mail', statement: 'Ada prefers e-mail.' }, 'Hello Ada!', 'Hi.', false],
    ['by a code', { statement: 'Orders live in mart.orders.' }, 'Look into mart.orders.', 'Where are they?', true],
    ['not by what the question brought', { value: '4711', statement: 'The order is 4711.' }, 'Order 4711 is unknown.', 'Where is 4711?', false],
    ['not by yes', { value: 'yes', statement: 'The user wants reminders.' }, 'Yes, of course.', 'Can you help?', false],
    ['not by digits of a citation', { statement: 'The room is 4711.' }, `As said [m:${'4711'.repeat(8)}].`, 'Where?', false],
    ['not by silence', { value: 'Pro', statement: 'The user is on Pro.' }, '', 'What?', false],
  ])('%s', (_how, { value = '', statement }, said, asked, expected) => {
    expect(isSupported({ value, statement }, said, asked)).toBe(expected);
  });
});
