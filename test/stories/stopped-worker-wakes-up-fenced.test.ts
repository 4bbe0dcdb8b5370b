// A worker is stopped (SIGSTOP) inside a step for twice its lease and then continued: another has finished its run meanwhile,
// what it writes is refused, its effect stays one, and it says that it was fenced.
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
const LEASE_MS = '1500';

test('its commit is refused, and the effect was keyed once', async () => {
  const stopped = await startAgent(stack, { LEASE_MS });
  const inside = journal.hold('note:in');
  const { id } = await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'script', input: { journal: journal.url, steps: [['keyed:x', 'note:in']] } });
  await inside;
  stopped.kill('SIGSTOP');
  const other = await startAgent(stack, { LEASE_MS });
  await eventually('the other runs the step', () => journal.asked.filter((one) => one === 'note:in').length === 2);
  journal.release(); // to both: the stopped one finds its answer when it wakes up
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', step_seq: 1 });
  const row = await fleet.rows(`SELECT to_jsonb(r) AS run FROM agent_runs r WHERE id = $1`, [id]);
  await eventually('it has been stopped for two leases', async () => (await fleet.rows<{ over: boolean }>(`SELECT bool_or(lease_until < now() - interval '1500 ms') AS over FROM workers`))[0]?.over);
  stopped.kill('SIGCONT');
  await stopped.said('fenced: another worker holds the run');
  await stopped.said('fenced: this worker writes nothing more');
  await stopped.said('worker registered', 2);
  expect(await fleet.rows(`SELECT to_jsonb(r) AS run FROM agent_runs r WHERE id = $1`, [id])).toEqual(row);
  expect(journal.lines).toHaveLength(1);
  for (const agent of [stopped, other]) agent.kill('SIGTERM');
  expect(await Promise.all([stopped.ended, other.ended])).toEqual([0, 0]);
}, 60_000);
