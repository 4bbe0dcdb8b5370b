// What the provider caches is a prefix by its bytes. Tools and instructions are the same bytes in every call of an agent, over turns,
// runs, users and however its tools were registered; within a run each call begins with all the one before it said.
import { expect, test } from '@jest/globals';
import type { WireRequest } from '../../src/dev/model-stub/wire.ts';
import { agent, askedOf, look, post } from '../support/agents.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const stack = await useStack();
const instructions = 'You are a patient assistant of a small company. '.repeat(60);
const fleet = await startFleet(stack, [agent({ instructions }), agent({ name: 'turned', instructions, tools: [post, look] })]);
await fleet.worker();

/** The request as the cache reads it, without its marks: tools, the stable part of the system, the volatile part, each message. */
function partsOf(request: WireRequest | undefined): { stable: string; messages: string[] } {
  const system = (request?.system ?? []) as readonly unknown[];
  const plain = (value: unknown): string => JSON.stringify(value, (name, inner: unknown) => (name === 'cache_control' ? undefined : inner));
  return { stable: JSON.stringify([request?.tools, system[0]]), messages: (request?.messages ?? []).flatMap(({ content }) => (content as readonly unknown[]).map(plain)) };
}

test('the stable part is the same bytes over turns, runs, users and orders of tools, and only its first call pays for it', async () => {
  fleet.stub.tell({ when: 'look at', turns: [{ toolUses: [{ name: 'look', input: { what: 'a' } }, { name: 'look', input: { what: 'b' } }] }, { toolUses: [{ name: 'post', input: { line: 'c' } }] }, { text: 'Done.' }] });
  for (const [name, user] of [['talker', 'ada'], ['talker', 'bob'], ['turned', 'cyd']] as const) {
    const { id } = await fleet.base.submit({ tenant: 'acme', door: 'test', agent: name, user, input: { message: `look at things of ${user}` } });
    expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed' });
  }
  const calls = askedOf(fleet, 'look at things');
  expect(calls).toHaveLength(9);
  expect(new Set(calls.map(({ request }) => partsOf(request).stable)).size).toBe(1);
  const [first, ...rest] = calls.map(({ usage }) => usage);
  expect(first?.cache_read_input_tokens).toBe(0);
  for (const usage of rest) expect(usage?.cache_read_input_tokens).toBeGreaterThan(500);
});

test('within a run each call begins with all of the one before, and reads it from the cache', async () => {
  const calls = askedOf(fleet, 'look at things of ada');
  for (const [at, call] of calls.entries()) {
    if (at === 0) continue;
    const before = calls[at - 1];
    const [shorter, longer] = [partsOf(before?.request), partsOf(call.request)];
    expect(longer.messages.slice(0, shorter.messages.length)).toEqual(shorter.messages);
    const written = (before?.usage?.cache_read_input_tokens ?? 0) + (before?.usage?.cache_creation_input_tokens ?? 0);
    expect(call.usage?.cache_read_input_tokens).toBe(written);
  }
});
