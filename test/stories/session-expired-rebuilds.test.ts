// A session's state lives in Redis for its time and in Postgres for good: gone, older or unreadable in Redis, the next run
// gets the same state and the same messages; runs of a session go one at a time, in the order of their submission.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { eventually } from '../support/agent-process.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

interface Seen { notes: unknown; runs: number; intent: string | null; history: string[] }
let atOnce = 0;
let mostAtOnce = 0;
const order: string[] = [];
const machine = defineMachine({
  name: 'talk', version: 1, input: z.strictObject({ say: z.string() }), start: 'look', remembers: false,
  steps: {
    look: async (step: Step<{ say: string }>) => {
      mostAtOnce = Math.max(mostAtOnce, ++atOnce);
      order.push(step.input.say);
      const session = step.session;
      if (!session) throw new Error('no session');
      const seen: Seen = { notes: { ...session.scratchpad }, runs: session.conversation.runs, intent: session.intent, history: (await step.history()).map((message) => `${message.role}: ${message.content}`) };
      session.scratchpad[step.input.say] = true;
      session.intent = step.input.say;
      return step.next('end', { seen });
    },
    end: (step: Step<{ say: string }, { seen: Seen }>) => {
      atOnce--;
      return Promise.resolve(step.done(step.data.seen, [{ role: 'user', content: step.input.say }, { role: 'assistant', content: `heard ${step.input.say}` }]));
    },
  },
});
const stack = await useStack();
const fleet = await startFleet(stack, [machine]);
const { base } = fleet;
await fleet.worker();
const submit = async (say: string, session: string, user = 'ann'): Promise<string> => (await base.submit({ tenant: 'acme', door: 'test', agent: 'talk', input: { say }, user, session })).id;
const say = async (text: string, session: string, user = 'ann'): Promise<Seen> => (await fleet.ended('acme', await submit(text, session, user))).output as Seen;
const key = (session: string): string => base.keys.session('acme', 'ann', session);

test('the second run finds the state the first left, from Redis', async () => {
  expect(await say('one', 's')).toEqual({ notes: {}, runs: 0, intent: null, history: [] });
  const copy = await eventually('the copy in Redis, written after the commit', () => base.redis.get(key('s')).then((text) => text ?? undefined));
  expect(JSON.parse(copy)).toMatchObject({ version: 1, scratchpad: { one: true } });
  expect(await base.redis.ttl(key('s'))).toBeGreaterThan(3_500);
  expect(await say('two', 's')).toEqual({ notes: { one: true }, runs: 1, intent: 'one', history: ['user: one', 'assistant: heard one'] });
});

test.each([
  ['gone', async (): Promise<unknown> => base.redis.del(key('s'))],
  ['older than the row', async (): Promise<unknown> => base.redis.set(key('s'), JSON.stringify({ ...JSON.parse((await base.redis.get(key('s'))) ?? '{}') as object, version: 1, scratchpad: { stale: true } }))],
  ['not readable', async (): Promise<unknown> => base.redis.set(key('s'), '{"version":')],
])('where the copy in Redis is %s it is rebuilt from Postgres', async (name, spoil) => {
  await spoil();
  const seen = await say(name, 's');
  expect(seen.notes).toMatchObject({ one: true, two: true });
  expect(seen.notes).not.toHaveProperty('stale');
  expect(seen.history.slice(0, 4)).toEqual(['user: one', 'assistant: heard one', 'user: two', 'assistant: heard two']);
});

test('another user with the same session name has another session', async () => {
  expect(await say('hello', 's', 'bob')).toEqual({ notes: {}, runs: 0, intent: null, history: [] });
});

test('ten runs submitted at once go one at a time, in order', async () => {
  order.length = 0;
  mostAtOnce = 0;
  const ids: string[] = [];
  for (let n = 0; n < 10; n++) ids.push(await submit(`m${n}`, 'queue'));
  for (const id of ids) expect((await fleet.ended('acme', id)).status).toBe('completed');
  expect(order).toEqual(Array.from({ length: 10 }, (_, n) => `m${n}`));
  expect(mostAtOnce).toBe(1);
});

test('`reject` refuses a second message while the session is busy, and nothing is enqueued', async () => {
  const late = (await base.submit({ tenant: 'acme', door: 'test', agent: 'talk', input: { say: 'later' }, user: 'ann', session: 'r', delayMs: 60_000 })).id;
  await expect(base.submit({ tenant: 'acme', door: 'test', agent: 'talk', input: { say: 'now' }, user: 'ann', session: 'r', multitaskStrategy: 'reject' })).rejects.toMatchObject({ code: 'session_busy' });
  expect((await fleet.run('acme', late)).status).toBe('queued');
});
