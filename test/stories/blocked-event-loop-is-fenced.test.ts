// A step keeps its process from doing anything else for longer than the lease. When it gets on, no timer has fired yet: the
// worker must see by the clock alone that it may no longer call a tool, and what was under way is done again from its top.
import { expect, test } from '@jest/globals';
import { startAgent } from '../support/agent-process.ts';
import { startFleet } from '../support/fleet.ts';
import { startJournal } from '../support/journal.ts';
import { scriptMachine } from '../support/script-machine.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

const stack = await useStack();
const fleet = await startFleet(stack, [scriptMachine]);
const journal = await startJournal();
atFileEnd(() => journal.close());

test('after the block neither tool nor commit leaves under the old lease', async () => {
  const agent = await startAgent(stack, { LEASE_MS: '1500' });
  const { id } = await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'script', input: { journal: journal.url, steps: [['note:before', 'block:2500', 'keyed:x', 'note:after']] } });
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', step_seq: 1, crashes: 0 });
  expect(journal.asked).toEqual(['note:before', 'note:before', 'keyed', 'note:after']);
  expect(await fleet.rows(`SELECT attempts, status::text FROM tool_calls`)).toEqual([{ attempts: 1, status: 'succeeded' }]);
  await agent.said('fenced: this worker writes nothing more');
  agent.kill('SIGTERM');
  expect(await agent.ended).toBe(0);
}, 60_000);
