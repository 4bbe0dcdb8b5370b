// Workers are killed with SIGKILL while their leases have 15 s left: others go on with their runs at once, because the dead
// ones' session locks are free. A dead worker's row is retired only when it holds nothing.
import { expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { monoMs } from '../../src/clock.ts';
import { registerWorker, retireDeadWorkers } from '../../src/store/engine/workers.ts';
import { eventually, startAgent } from '../support/agent-process.ts';
import { startFleet } from '../support/fleet.ts';
import { startJournal } from '../support/journal.ts';
import { scriptMachine } from '../support/script-machine.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

const stack = await useStack();
const fleet = await startFleet(stack, [scriptMachine], { LEASE_MS: '15000' });
const { engine } = fleet.base;
const journal = await startJournal();
atFileEnd(() => journal.close());
const submit = (...steps: string[][]): Promise<{ id: string }> => fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'script', input: { journal: journal.url, steps } });
const times = (what: string): number => journal.asked.filter((one) => one === what).length;
const endedWorkers = async (): Promise<{ held: number }[]> => fleet.rows(`SELECT (SELECT count(*)::int FROM agent_runs r WHERE r.claimed_by = w.incarnation) AS held FROM workers w WHERE ended_at IS NOT NULL`);

test('a neighbour goes on within two seconds, and two workers that die at once leave nothing behind', async () => {
  const first = await startAgent(stack);
  const inside = journal.hold('note:one');
  const { id } = await submit(['note:one'], ['note:two']);
  await inside;
  const [second, third] = await Promise.all([startAgent(stack), startAgent(stack)]);
  const killedMs = monoMs();
  first.kill('SIGKILL');
  await eventually('another has begun the step', () => times('note:one') === 2);
  expect(monoMs() - killedMs).toBeLessThan(2_000);
  expect(await fleet.run('acme', id)).toMatchObject({ status: 'running', crashes: 1 });
  const [fourth] = await Promise.all([startAgent(stack), first.ended]);
  const againMs = monoMs();
  second.kill('SIGKILL');
  third.kill('SIGKILL');
  await eventually('the last one has begun the step', () => times('note:one') === 3);
  expect(monoMs() - againMs).toBeLessThan(2_000);
  journal.release();
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', step_seq: 2 });
  await eventually('the dead are retired, and hold nothing', async () => (await endedWorkers()).length === 3);
  expect((await endedWorkers()).map(({ held }) => held)).toEqual([0, 0, 0]);
  fourth.kill('SIGTERM');
  expect(await fourth.ended).toBe(0);
}, 60_000);

test('with nobody left, the next worker that starts goes on at once', async () => {
  const lone = await startAgent(stack);
  const inside = journal.hold('note:alone');
  const { id } = await submit(['note:alone']);
  await inside;
  lone.kill('SIGKILL');
  await lone.ended;
  journal.release();
  await fleet.worker();
  const registeredMs = monoMs();
  expect((await fleet.ended('acme', id)).status).toBe('completed');
  expect(monoMs() - registeredMs).toBeLessThan(2_000);
}, 60_000);

test('a dead worker is retired only when it holds nothing', async () => {
  for (const worker of fleet.workers) await worker.stop();
  const incarnation = randomUUID();
  await registerWorker(engine.pool, { incarnation, name: 'w', pool: 'agent', machines: ['script@1'], leaseMs: 60_000 });
  const { id } = await submit(['note:never']);
  expect((await engine.claimer(incarnation, ['script@1'], 'agent', 60_000).claim('acme', id))?.id).toBe(id);
  await fleet.rows(`UPDATE workers SET lease_until = now() - interval '1 second' WHERE incarnation = $1`, [incarnation]);
  const ended = async (): Promise<unknown> => (await fleet.rows<{ ended: boolean }>(`SELECT ended_at IS NOT NULL AS ended FROM workers WHERE incarnation = $1`, [incarnation]))[0]?.ended;
  await retireDeadWorkers(engine.pool);
  expect(await ended()).toBe(false);
  await fleet.rows(`UPDATE agent_runs SET status = 'queued', claimed_by = NULL, fence = -fence WHERE id = $1`, [id]);
  await retireDeadWorkers(engine.pool);
  expect(await ended()).toBe(true);
}, 60_000);
