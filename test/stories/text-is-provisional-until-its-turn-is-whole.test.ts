// Whoever follows a run with `text=true` sees what the model says as it says it, marked as provisional. A turn that is whole is settled;
// one that is discarded (its stream broke, its worker died, its limit cut it) is withdrawn before the next one begins. None of it is
// durable, and none of it reaches those who did not ask for it.
import { beforeEach, expect, test } from '@jest/globals';
import { Mainstay } from '../../src/client/client.ts';
import type { LiveText } from '../../src/domain/wire.ts';
import { makeAnthropicModel } from '../../src/model/anthropic.ts';
import { publicId } from '../../src/ids.ts';
import { assembleExecution } from '../../workers/assemble.ts';
import { agent } from '../support/agents.ts';
import { startApi } from '../support/api.ts';
import { openSse } from '../support/sse.ts';
import { useStack } from '../support/stack.ts';

const stack = await useStack();
const api = await startApi(stack, [agent(), agent({ name: 'cutter', model: 'claude-sonnet-5-5' })]);
const { fleet } = api;
const { models } = assembleExecution(fleet.base, fleet.limits, { recall: () => Promise.reject(new Error('no memory')), cite: () => Promise.resolve(), searchDocuments: () => Promise.reject(new Error('no documents')) }, 'w');
await fleet.worker({ models: { ...models, model: makeAnthropicModel({ apiKey: 'stub', baseUrl: fleet.stub.url, log: fleet.base.log, contentIdleMs: 400 }) } });
const key = await api.makeKey();
const client = new Mainstay({ baseUrl: api.url, apiKey: key });
beforeEach(() => fleet.stub.reset());

const STORY = 'Once upon a time there was a lighthouse keeper who wrote down the weather of every hour of the day, and he never missed one of them.';
/** The run is due in a second, so that its follower is there before it. `asked`: how many turns had been asked for when a piece came. */
async function follow(message: string, name = 'talker'): Promise<{ pieces: LiveText[]; seen: string[]; asked: number[] }> {
  const { id } = await fleet.base.submit({ tenant: 'acme', door: 'test', agent: name, input: { message }, delayMs: 1_000 });
  const pieces: LiveText[] = [];
  const seen: string[] = [];
  const asked: number[] = [];
  for await (const event of client.runs.stream(publicId('run', id), { onText: (piece) => { pieces.push(piece); seen.push(piece.type); asked.push(fleet.stub.calls().length); } })) seen.push(event.type);
  return { pieces, seen, asked };
}
const textOf = (pieces: readonly LiveText[], turn: string | undefined): string => pieces.filter((piece) => piece.turn === turn && piece.type === 'text.delta').map(({ text }) => text).join('');

test('a turn is seen while it streams, and settled when it is whole', async () => {
  fleet.stub.tell({ when: 'a story', turns: [{ text: STORY, paceMs: 120 }] });
  const { pieces, seen } = await follow('Tell a story');
  const deltas = pieces.filter(({ type }) => type === 'text.delta');
  expect(deltas.length).toBeGreaterThan(2);
  expect(deltas.every(({ provisional }) => provisional)).toBe(true);
  expect(textOf(pieces, deltas[0]?.turn)).toBe(STORY);
  expect(pieces.at(-1)).toEqual({ type: 'text.settled', turn: deltas[0]?.turn, provisional: false });
  expect(seen.indexOf('text.delta')).toBeLessThan(seen.lastIndexOf('step.completed'));
});

test('a turn that stalls is withdrawn at once, and the next attempt is a turn of its own', async () => {
  fleet.stub.tell({ when: 'another', turns: [{ text: STORY, paceMs: 120, faults: [{ kind: 'stall_with_pings' }] }] });
  const { pieces, asked } = await follow('Tell another');
  const [first] = pieces;
  expect(textOf(pieces, first?.turn)).toBe('It began well and ');
  const withdrawn = pieces.findIndex(({ type }) => type === 'text.withdrawn');
  expect(pieces[withdrawn]).toEqual({ type: 'text.withdrawn', turn: first?.turn, provisional: false });
  expect(asked[withdrawn]).toBe(1); // not only when the next one began
  expect(new Set(pieces.slice(withdrawn + 1).map(({ turn }) => turn)).size).toBe(1);
  expect(textOf(pieces, pieces.at(-1)?.turn)).toBe(STORY);
});

test('a turn that its limit cut is withdrawn too', async () => {
  fleet.stub.tell({ when: 'cut', turns: [{ text: STORY, paceMs: 120, stopReason: 'max_tokens' }] });
  const { pieces } = await follow('cut', 'cutter');
  expect(pieces.filter(({ type }) => type !== 'text.delta').map(({ type }) => type)).toEqual(['text.withdrawn', 'text.withdrawn', 'text.withdrawn']);
});

test('who did not ask for text gets events only, with the numbers that resume them', async () => {
  fleet.stub.tell({ when: 'quietly', turns: [{ text: STORY, paceMs: 120 }] });
  const { id } = await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'talker', input: { message: 'quietly' } });
  const stream = await openSse(`${api.url}/v1/runs/${publicId('run', id)}/events`, key);
  const events = await stream.rest();
  expect(events.filter(({ event }) => event.startsWith('text.'))).toEqual([]);
  expect(events.map(({ id: seq }) => seq)).toEqual(events.map((_, at) => at + 1));
});

test('nothing of it outlives the run for long, and nothing is in Postgres but the turn itself', async () => {
  fleet.stub.tell({ when: 'briefly', turns: [{ text: STORY, paceMs: 120 }] });
  const { id } = await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'talker', input: { message: 'briefly' } });
  await fleet.ended('acme', id);
  const { keys, redis } = fleet.base;
  expect(await redis.pttl(keys.text(id))).toBeGreaterThan(0);
  expect(await fleet.rows(`SELECT type FROM run_events WHERE run_id = $1 AND type LIKE 'text%'`, [id])).toEqual([]);
});
