// What a sweep offers to the ready queue: what it has lost, and not what a worker has just taken and is about to claim, which would be handed out
// and refused once more.
import { expect, jest, test } from '@jest/globals';
import { FIRST_DUE } from '../src/store/engine/sweeps.ts';
import { claimRuns } from '../src/store/engine/claim.ts';
import { submitRuns } from '../src/store/engine/submit.ts';
import { Maintenance } from '../src/run/maintain.ts';
import { offerSomeDue } from '../src/run/rebuild-queue.ts';
import { asOffer, type PoolQueue } from '../src/run/offer-run.ts';
import { readyRuns } from '../src/store/engine/sweeps.ts';
import { startFleet } from './support/fleet.ts';
import { MACHINES, newRun, newWorker, TENANT } from './support/run-bench.ts';
import { useStack } from './support/stack.ts';

const stack = await useStack();
const { base } = await startFleet(stack, []);
const { pool } = base.engine;
const queue = base.queues.get('agent')!;
const worker = await newWorker(pool);

/** Submits runs and offers them; answers their ids, first to last. */
async function held(count: number): Promise<string[]> {
  const runs = Array.from({ length: count }, () => newRun());
  await submitRuns(pool, runs);
  await queue.ready.offerMany((await readyRuns(pool, TENANT, runs.map(({ id }) => id))).map(asOffer));
  return runs.map(({ id }) => id);
}
const takeAll = async (): Promise<string[]> => {
  const all: string[] = [];
  for (let taken = await queue.ready.take(); taken; taken = await queue.ready.take()) all.push(taken.run);
  return all.sort();
};
/** The queue, with something that happens once it was asked what it holds. */
const then = (happens: () => Promise<unknown>): PoolQueue => ({
  ...queue, ready: new Proxy(queue.ready, { get: (ready, name) => (name === 'offerHeld'
    ? async (...[runs]: Parameters<typeof ready.offerHeld>) => { const missed = await ready.offerHeld(runs); await happens(); return missed; }
    : (Reflect.get(ready, name, ready) as (...given: unknown[]) => unknown).bind(ready)) }),
});

test('a run that was lost is offered, what is held keeps its place, and what was taken and is claimed in a moment is not', async () => {
  const ids = await held(3);
  const taken = await queue.ready.take();
  const [lost = '', kept = ''] = ids.filter((id) => id !== taken?.run);
  expect(await queue.ready.remove(TENANT, lost)).toBe(true);
  const { found } = await offerSomeDue(pool, 'agent', then(() => claimRuns(pool, [{ tenant: TENANT, id: taken!.run }], worker, MACHINES, 600_000)), FIRST_DUE);
  expect(found).toBeGreaterThan(0);
  expect(await takeAll()).toEqual([lost, kept].sort());
  expect((await claimRuns(pool, [{ tenant: TENANT, id: lost }, { tenant: TENANT, id: kept }], worker, MACHINES, 600_000)).length).toBe(2);
});

test('a run that was taken by a worker that is gone before its claim is offered by the same sweep', async () => {
  const [only] = await held(1);
  expect((await queue.ready.take())?.run).toBe(only);
  await offerSomeDue(pool, 'agent', queue, FIRST_DUE);
  expect(await takeAll()).toEqual([only]);
});

test('a delayed job that a clock standing ahead has put too far off is removed by a sweep', async () => {
  const now = Date.now;
  jest.spyOn(Date, 'now').mockImplementation(() => now() + 600_000);
  await queue.wakeUps.offerLater({ tenant: TENANT, run: 'run-1' }, 10);
  jest.restoreAllMocks();
  expect(await queue.wakeUps.counts()).toMatchObject({ delayed: 1 });
  await new Maintenance({ ...base, fire: () => Promise.resolve(), remember: () => Promise.resolve(), index: () => Promise.resolve(0) }).sweep();
  expect(await queue.wakeUps.counts()).toMatchObject({ delayed: 0 });
});
