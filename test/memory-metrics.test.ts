// What Prometheus sees of memory at work: verdicts with their reasons, recalls by what came of them and by arm, what was shown, cited and
// supported. The shares a person looks at are quotients of these.
import { expect, test } from '@jest/globals';
import { monoMs, pause } from '../src/clock.ts';
import { defineAgent } from '../src/run/define-agent.ts';
import type { StubScript } from '../src/dev/model-stub/wire.ts';
import { proposing } from './support/extraction.ts';
import { startMemoryFleet } from './support/fleet.ts';
import { plantMemories } from './support/memories.ts';
import { useStack } from './support/stack.ts';

let answer = 'Hello.';
let proposed: object[] = [];
const answering: StubScript = { name: 'answers-as-the-test-says', matches: ({ output_config }) => output_config === undefined, reply: () => ({ text: answer }) };
const stack = await useStack();
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer.' })], { scripts: [answering, proposing(() => proposed)], change: { MEMORY_HOLDOUT: '0.5' } });
const { registry } = fleet.base.metrics;

/** Series of a metric by their labels, without the process. */
async function series(name: string): Promise<Record<string, number>> {
  const lines = (await registry.metrics()).split('\n').filter((line) => line.startsWith(`mainstay_${name}{`));
  return Object.fromEntries(lines.map((line) => [line.slice(line.indexOf('{') + 1, line.indexOf('}')).replace(/process="test",|,?process="test"/, '').replaceAll('"', ''), Number(line.split(' ').at(-1))]));
}
/** What the worker counts once the row is written is waited for. */
async function shows(name: string, expected: Record<string, number>): Promise<void> {
  let all = await series(name);
  for (const endMs = monoMs() + 15_000; monoMs() < endMs && Object.entries(expected).some(([labels, n]) => n !== all[labels]); await pause(10)) all = await series(name);
  expect(all).toMatchObject(expected);
}
let session = 0;
const talk = (user: string, message: string) => fleet.talk('talker', message, { tenant: 'acme', user, session: `s${++session}` });
/** Talks until both arms have had a run with this outcome. */
async function inBothArms(user: string, message: string, outcome: string): Promise<Record<string, number>> {
  for (;;) {
    await talk(user, message);
    const seen = await series('recalls_total');
    if (seen[`outcome=${outcome},arm=told`] && seen[`outcome=${outcome},arm=held_out`]) return seen;
  }
}

test('recalls are counted by outcome and arm, what they showed by its type, and what the answers made of it', async () => {
  const empty = await inBothArms('nobody', 'What do you know?', 'empty');
  expect(Object.keys(empty).sort()).toEqual(['outcome=empty,arm=held_out', 'outcome=empty,arm=told']);
  expect(await series('memories_shown_total')).toEqual({});
  const [id] = await plantMemories((sql, values) => fleet.rows(sql, values), 'acme', [{ user: 'ada', statement: 'The spare key hangs at place 4711.' }]);
  await fleet.memory.indexPending(10);
  answer = `At place 4711 [m:${id!.replaceAll('-', '')}].`;
  const found = await inBothArms('ada', 'Where is the spare key?', 'found');
  const told = found['outcome=found,arm=told'];
  expect(await series('memories_shown_total')).toEqual({ 'type=fact': told });
  expect(await series('citations_total')).toEqual({ 'outcome=cited': told, 'outcome=fabricated': found['outcome=found,arm=held_out'] });
  await shows('memory_support_total', { 'outcome=supported': told!, 'outcome=unsupported': 0 });
  const runs = Object.values(found).reduce((sum, n) => sum + n, 0);
  expect(Object.values(await series('recall_own_seconds_count'))).toEqual([runs]);
  expect(await series('recall_seconds_count')).toEqual({ 'outcome=full': runs });
  const [own, whole] = [Object.values(await series('recall_own_seconds_sum'))[0], Object.values(await series('recall_seconds_sum'))[0]];
  expect(own).toBeGreaterThan(0);
  expect(own).toBeLessThan(whole!);
});

test('verdicts carry their reason', async () => {
  const statement = 'The billing system is Zuora.';
  proposed = [{ type: 'fact', subject: 'billing', attribute: 'system', value: 'Zuora', statement, valid_from: null, evidence: [{ event_id: 'e1', quote: statement }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user' }, { no: 'candidate' }];
  await talk('bob', statement);
  await shows('gate_verdicts_total', { 'decision=ADMIT,stage=caps,reason=NEW': 1, 'decision=REJECT,stage=schema,reason=SCHEMA': 1 });
});
