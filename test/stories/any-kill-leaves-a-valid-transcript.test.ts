// A worker process is killed at every place of the agent's loop where something is half done: between a call and its record, a
// record and its checkpoint, a checkpoint and the next step. Another goes on, and whatever the place: the transcript is one the
// provider accepts, each attempt of a model call is one row with one charge, each keyed effect is there once, and what the user
// said meanwhile is heard once.
import { expect, test } from '@jest/globals';
import { costMicroUsd } from '../../src/domain/prices.ts';
import { FAULT_POINTS, type FaultPoint } from '../../src/fault-points.ts';
import { wallMs } from '../../src/clock.ts';
import { askedOf, expectSound, ledgerOf } from '../support/agents.ts';
import { startFleet } from '../support/fleet.ts';
import { startJournal, type Journal } from '../support/journal.ts';
import { killAt } from '../support/kill-at.ts';
import { looper } from '../support/loop-agent.ts';
import { useStack } from '../support/stack.ts';

const stack = await useStack();
const fleet = await startFleet(stack, [looper]);

/** How often one run passes each place, one after the other: a kill at each pass is a case of its own. Parallel calls pass together. */
const PASSES: Partial<Record<FaultPoint, number>> = {
  'run-claimed': 1, 'steers-taken': 1, 'model-reserved': 3, 'model-answered': 3, 'model-settled': 3, 'intent-written': 3, 'call-answered': 3, 'result-written': 3, 'step-returned': 7, 'checkpoint-committed': 6, 'run-left': 1,
};
/** Not of this loop: other stories kill there. */
const ELSEWHERE: readonly FaultPoint[] = ['run-submitted', 'budget-wanted', 'batch-joined', 'batch-begun', 'batch-created', 'batch-answered', 'wait-opened', 'child-submitted', 'orphans-found', 'verdicts-stored', 'vectors-written', 'outputs-kept', 'occurrence-fired'];
const CASES = Object.entries(PASSES).flatMap(([point, passes]) => Array.from({ length: passes }, (_, at) => [point as FaultPoint, at + 1] as const));

test('every place of the product is killed at here, or named as another story’s', () => {
  expect([...Object.keys(PASSES), ...ELSEWHERE].sort()).toEqual(Object.keys(FAULT_POINTS).sort());
});

const killedAt = (point: FaultPoint, pass: number, ready: () => Promise<void>): Promise<void> =>
  killAt({ point, pass, ready, process: 'workers/agent.ts', up: 'worker registered', env: { ...stack.env, LEASE_MS: '2000', EMBEDDER: 'lexical', AGENTS_MODULE: 'test/support/loop-agent.ts', ANTHROPIC_BASE_URL: fleet.stub.url } });

let cases = 0;
async function begin(journal: Journal): Promise<{ run: string; steer: string; words: string }> {
  const words = `case ${++cases} `;
  const write = (line: string): { name: string; input: unknown } => ({ name: 'write_keyed', input: { journal: journal.url, line } });
  fleet.stub.tell({ when: words, turns: [{ thinking: 'Two lines first.', toolUses: [write('one'), write('two')] }, { toolUses: [write('three')] }, { text: 'Written.' }] });
  const who = { tenant: 'acme', door: 'test', agent: 'looper', user: 'ada', session: `s${cases}` };
  const { id: run } = await fleet.base.submit({ ...who, input: { message: `${words}write` } });
  const { id: steer } = await fleet.base.submit({ ...who, input: { message: 'and neatly' }, multitaskStrategy: 'steer' });
  return { run, steer, words };
}

test.each(CASES)('%s, pass %i', async (point, pass) => {
  const journal = await startJournal();
  const callsBefore = fleet.stub.calls().length;
  let begun: Awaited<ReturnType<typeof begin>> | undefined;
  await killedAt(point, pass, async () => { begun = await begin(journal); });
  const { run, steer, words } = begun ?? { run: '', steer: '', words: '' };
  const rescue = await fleet.worker();
  expect(await fleet.ended('acme', run)).toMatchObject({ status: 'completed', output: { answer: 'Written.' } });
  await rescue.stop();

  await expectSound(fleet, run);
  expect(journal.lines.map(({ line }) => line).sort()).toEqual(['one', 'three', 'two']);
  expect(await fleet.run('acme', steer)).toMatchObject({ status: 'completed', started_at: null });
  const last = askedOf(fleet, words).at(-1)?.request?.messages ?? [];
  expect(JSON.stringify(last).split('and neatly')).toHaveLength(2);
  const messages = await fleet.rows<{ content: string }>(`SELECT content FROM messages WHERE run_id = $1 ORDER BY seq`, [run]);
  expect(messages.map(({ content }) => content)).toEqual([`${words}write`, 'and neatly', 'Written.']);
  await expectChargedOnce(run, fleet.stub.calls().slice(callsBefore));
  await journal.close();
});

/** Each answer of the model is settled once with what it used, or what it used was not on record at the kill and it is booked at its
 *  reserve: a checkpoint goes side by side with the settlement of its turn. */
async function expectChargedOnce(run: string, answers: ReturnType<typeof fleet.stub.calls>): Promise<void> {
  const ledger = await ledgerOf(fleet, run);
  const settled = ledger.filter(({ status }) => status === 'settled');
  const booked = ledger.filter(({ status }) => status === 'booked');
  expect(settled.length + booked.length).toBeGreaterThanOrEqual(3);
  expect(booked.length).toBeLessThanOrEqual(1); // one kill
  expect(new Set(settled.map(({ request_id: id }) => id)).size).toBe(settled.length);
  for (const { request_id: id, cost } of settled) {
    const usage = answers.find(({ requestId }) => requestId === id)?.usage;
    expect(usage).toBeDefined();
    if (usage) expect(cost).toBe(Number(costMicroUsd('claude-haiku-4-5', { inputTokens: usage.input_tokens, cacheWrite5mTokens: usage.cache_creation.ephemeral_5m_input_tokens, cacheWrite1hTokens: 0, cacheReadTokens: usage.cache_read_input_tokens, outputTokens: usage.output_tokens }, wallMs())));
  }
  for (const { cost, reserved } of booked) expect(cost).toBe(reserved);
  expect(answers.length - settled.length).toBeLessThanOrEqual(booked.length);
  expect(ledger.filter(({ status }) => status === 'open')).toEqual([]);
  expect(Number((await fleet.run('acme', run)).cost_micro_usd)).toBe(ledger.reduce((sum, { cost }) => sum + cost, 0));
}
