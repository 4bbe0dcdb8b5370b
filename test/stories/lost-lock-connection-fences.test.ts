// The backend that holds a worker's session lock is terminated: the server lives on, so others may take the worker for dead
// within a tenth of a second. It fences itself before they do, gives its runs back and registers anew; no crash is counted.
import { expect, test } from '@jest/globals';
import { eventually, startAgent } from '../support/agent-process.ts';
import { startFleet } from '../support/fleet.ts';
import { startJournal } from '../support/journal.ts';
import { scriptMachine } from '../support/script-machine.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

const stack = await useStack();
const fleet = await startFleet(stack, [scriptMachine]);
const journal = await startJournal();
atFileEnd(() => journal.close());

test('a worker that lost its lock aborts its runs, and goes on under another incarnation', async () => {
  const agent = await startAgent(stack);
  const inside = journal.hold('note:in');
  const { id } = await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'script', input: { journal: journal.url, steps: [['note:in'], ['note:out']] } });
  await inside;
  const before = await fleet.run('acme', id);
  const terminated = await fleet.rows<{ done: boolean }>(`SELECT pg_terminate_backend(pid) AS done FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND classid = 28023`);
  expect(terminated).toEqual([{ done: true }]);
  await agent.said('fenced: this worker writes nothing more');
  await agent.said('worker registered', 2);
  await eventually('the step runs again', () => journal.asked.filter((one) => one === 'note:in').length === 2);
  const again = await fleet.run('acme', id);
  expect(again).toMatchObject({ status: 'running', crashes: 0 });
  expect(BigInt(again.fence)).toBeGreaterThan(BigInt(before.fence));
  journal.release();
  expect((await fleet.ended('acme', id)).status).toBe('completed');
  const workers = await fleet.rows(`SELECT ended_at IS NULL AS alive FROM workers ORDER BY id`);
  expect(workers).toEqual([{ alive: false }, { alive: true }]);
  agent.kill('SIGTERM');
  expect(await agent.ended).toBe(0);
}, 60_000);
