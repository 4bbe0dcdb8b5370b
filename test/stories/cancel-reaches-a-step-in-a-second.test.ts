// A cancel that Redis tells nobody of (it is away, or the message got lost) reaches the running step's AbortSignal within a
// second of its commit: the worker asks Postgres.
import { expect, test } from '@jest/globals';
import { cancelRun } from '../../src/store/engine/control.ts';
import { startFleet } from '../support/fleet.ts';
import { startJournal } from '../support/journal.ts';
import { scriptMachine } from '../support/script-machine.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

const stack = await useStack();
const fleet = await startFleet(stack, [scriptMachine], { LEASE_MS: '15000' }); // a renewal would come too late
const journal = await startJournal();
atFileEnd(() => journal.close());

test('without a message', async () => {
  await fleet.worker();
  const inside = journal.hold('note:in');
  const { id } = await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'script', input: { journal: journal.url, steps: [['note:in']] } });
  await inside;
  await cancelRun(fleet.base.engine.pool, { tenant: 'acme', id, user: undefined });
  expect((await fleet.ended('acme', id)).status).toBe('cancelled');
  const [took] = await fleet.rows<{ ms: number }>(`SELECT extract(epoch FROM finished_at - cancel_requested_at)::float8 * 1000 AS ms FROM agent_runs WHERE id = $1`, [id]);
  expect(took?.ms).toBeLessThan(1_000);
}, 60_000);
