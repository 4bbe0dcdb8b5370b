// What a worker learns of a claim that Postgres refused, and what the ready queue is told: whose slot it is, who holds the permits,
// and whose run to take over in its place. Afterwards the same run is not handed out again at once.
import { beforeEach, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import type { Taken } from '../src/queue/ready-queue.ts';
import { answerRefusal } from '../src/run/refused-claim.ts';
import { createTenant } from '../src/store/engine/api-keys.ts';
import { setTenant } from '../src/store/engine/limits.ts';
import { registerWorker, retireWorker } from '../src/store/engine/workers.ts';
import { startFleet } from './support/fleet.ts';
import { scriptMachine } from './support/script-machine.ts';
import { useStack } from './support/stack.ts';

const fleet = await startFleet(await useStack(), [scriptMachine]);
const { base } = fleet;
const { pool } = base.engine;
const queue = base.queues.get('agent')!;
const MACHINES = ['script@1'];
let tenant = '';
let made = 0;
beforeEach(async () => {
  tenant = `t${++made}`;
  await createTenant(pool, tenant);
  await setTenant(pool, tenant, { maxRunning: 1 }, 'test');
});

const submit = async (): Promise<string> => (await base.submit({ tenant, door: 'test', agent: 'script', input: { journal: 'none', steps: [[]] } })).id;
async function claimed(run: string): Promise<string> {
  const incarnation = randomUUID();
  await registerWorker(pool, { incarnation, name: 'w', pool: 'agent', machines: MACHINES, leaseMs: 60_000 });
  expect((await base.engine.claimer(incarnation, MACHINES, 'agent', 60_000).claim(tenant, run))?.id).toBe(run);
  return incarnation;
}
/** As Redis hands out a run while it does not know who is running. */
async function taken(run: string): Promise<Taken> {
  await queue.ready.wipe();
  await queue.ready.offer({ tenant, run, order: 1, cap: 1 });
  const one = await queue.ready.take();
  expect(one?.run).toBe(run);
  return one!;
}

test('a run that is running elsewhere: its slot stays', async () => {
  const run = await submit();
  await claimed(run);
  expect(await answerRefusal(pool, queue, await taken(run), MACHINES)).toEqual({ keepSlot: true, instead: [] });
});

test('a run of another build goes back to those who know its version; where nobody lives who does, it is dropped', async () => {
  const run = await submit();
  const one = await taken(run);
  await fleet.rows(`UPDATE workers SET ended_at = now()`);
  expect(await answerRefusal(pool, queue, one, ['script@9'])).toEqual({ keepSlot: false, instead: [] });
  expect(await queue.ready.depth()).toMatchObject({ held: 0 });
  await registerWorker(pool, { incarnation: randomUUID(), name: 'new', pool: 'agent', machines: MACHINES, leaseMs: 60_000 });
  expect(await answerRefusal(pool, queue, one, ['script@9'])).toEqual({ keepSlot: false, instead: [], standBack: true });
  await queue.ready.settle({ ...one, realMs: 0 });
  expect((await queue.ready.take())?.run).toBe(run);
});

test('a run that ended is dropped', async () => {
  const run = await submit();
  const one = await taken(run);
  await fleet.rows(`UPDATE agent_runs SET status = 'cancelled', finished_at = now() WHERE id = $1`, [run]);
  expect(await answerRefusal(pool, queue, one, MACHINES)).toEqual({ keepSlot: false, instead: [] });
  await queue.ready.settle({ ...one, realMs: 0 });
  expect(await queue.ready.depth()).toMatchObject({ held: 0 });
});

test('a full limit: the run is held again, and handed out when the holder has ended', async () => {
  const [holder, waiting] = [await submit(), await submit()];
  await claimed(holder);
  const one = await taken(waiting);
  expect(await answerRefusal(pool, queue, one, MACHINES)).toEqual({ keepSlot: false, instead: [] });
  await queue.ready.settle({ ...one, realMs: 0 });
  expect(await queue.ready.take()).toBeUndefined();
  expect(await queue.ready.depth()).toMatchObject({ held: 1 });
  await queue.ready.freeSlots([{ tenant, run: holder, limits: '' }]);
  expect((await queue.ready.take())?.run).toBe(waiting);
});

test('a dead holder: its run is to be taken over in place of the other', async () => {
  const [holder, waiting] = [await submit(), await submit()];
  await retireWorker(pool, await claimed(holder));
  const one = await taken(waiting);
  expect(await answerRefusal(pool, queue, one, MACHINES)).toEqual({ keepSlot: false, instead: [{ tenant, run: holder, chargedMs: 0, limits: '' }] });
  await queue.ready.settle({ ...one, realMs: 0 });
  expect(await queue.ready.take()).toBeUndefined(); // not at once again
});
