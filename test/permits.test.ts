// Permits by the statements alone: however many claims there are at once, no more runs of a limit are running than it allows;
// whatever ends `running` frees what the row held, and a limit that is new or lowered harms nobody.
import { beforeEach, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { createTenant } from '../src/store/engine/api-keys.ts';
import { claimDue, claimRuns } from '../src/store/engine/claim.ts';
import { cancelRun, pauseRun } from '../src/store/engine/control.ts';
import { setAgentLimit, setTenant } from '../src/store/engine/limits.ts';
import { permitHolders, refusedRun, seatRunning } from '../src/store/engine/permits.ts';
import { submitRuns, type NewRun } from '../src/store/engine/submit.ts';
import { handBackIfHeld } from '../src/store/engine/suspects.ts';
import { registerWorker, retireWorker } from '../src/store/engine/workers.ts';
import { commitRunsIfHeld } from '../src/store/engine/commit.ts';
import { commitOf, MACHINES, newRun, newWorker, openBench, TENANT } from './support/run-bench.ts';
import { useStack } from './support/stack.ts';

const stack = await useStack();
const { pool } = await openBench(stack, 12);
const ACTOR = 'test';
let tenant = TENANT;
let made = 0;
beforeEach(async () => {
  tenant = `t${++made}`;
  await createTenant(pool, tenant);
});

async function submit(count: number, change: Partial<NewRun> = {}): Promise<NewRun[]> {
  const runs = Array.from({ length: count }, () => newRun({ tenant, ...change }));
  await submitRuns(pool, runs);
  return runs;
}
const claim = async (runs: readonly NewRun[], worker?: string) => (await claimRuns(pool, runs.map((run) => ({ tenant, id: run.id })), worker ?? await newWorker(pool), MACHINES, 60_000)).flatMap((run) => (run ? [run] : []));
type Permits = { id: string; tenant: string | null; agent: string | null; key: string | null };
const running = async (): Promise<Permits[]> => (await pool.query<Permits>(`SELECT id, tenant_permit::text AS tenant, agent_permit::text AS agent, key_permit::text AS key FROM agent_runs WHERE tenant_id = $1 AND status = 'running' ORDER BY 2, 3, 4`, [tenant])).rows;
const finish = async (holder: string, claimed: { id: string; fence: bigint }): Promise<void> => {
  const [done] = await commitRunsIfHeld(pool, [{ ...commitOf({ id: claimed.id, holder, fence: claimed.fence, inboxRead: 0 }, { status: 'completed' }), tenant }]);
  expect(done).toMatchObject({ fenced: false });
};

test('a run without limits holds no permit', async () => {
  const [run] = await claim(await submit(1));
  expect(run?.limits).toBeNull();
  expect(await running()).toMatchObject([{ tenant: null, agent: null, key: null }]);
});

test('a run that is asked for twice in a group is claimed by one of them, with a permit or without', async () => {
  const [free, limited] = [...await submit(1), ...await submit(1, { concurrencyKey: 'k', concurrencyLimit: 1 })];
  expect((await claim([free!, limited!, free!, limited!])).map(({ id }) => id)).toEqual([free!.id, limited!.id]);
});

test('a group of claims gets numbers of its own from 1 to the limit, and no more than there are', async () => {
  await setTenant(pool, tenant, { maxRunning: 5 }, ACTOR);
  await setAgentLimit(pool, tenant, 'still', 3, ACTOR);
  const claimed = await claim(await submit(8));
  expect(claimed).toHaveLength(3);
  expect(claimed[0]?.limits).toBe('3 agent:still');
  const held = await running();
  expect(held.map(({ agent }) => agent).sort()).toEqual(['1', '2', '3']);
  expect(new Set(held.map((one) => one.tenant)).size).toBe(3);
});

test('forty claims at once, one by one and in groups, by many workers: never more than the limit', async () => {
  await setTenant(pool, tenant, { maxRunning: 7 }, ACTOR);
  const runs = await submit(40, { concurrencyKey: 'k', concurrencyLimit: 9 });
  const workers = await Promise.all(Array.from({ length: 4 }, () => newWorker(pool)));
  const groups = Array.from({ length: 20 }, (_, n) => runs.slice(n * 2, n * 2 + 1 + n % 2));
  const claimed = (await Promise.all(groups.map((group, n) => claim(group, workers[n % 4])))).flat();
  const due = await Promise.all(workers.map((worker) => claimDue(pool, 'agent', 10, worker, MACHINES, 60_000)));
  expect(claimed.length + due.flat().filter((run) => run.tenant === tenant).length).toBe(7);
  expect((await running()).map((one) => Number(one.tenant)).sort()).toEqual([1, 2, 3, 4, 5, 6, 7]);
});

test('finish, hand-back, cancel and pause free a permit by the row itself', async () => {
  const runs = await submit(6, { concurrencyKey: 'one', concurrencyLimit: 1 });
  const worker = await newWorker(pool);
  const next = async () => { const [run, ...more] = await claim(runs, worker); expect(more).toEqual([]); return run!; };
  const first = await next();
  expect(await claim(runs)).toEqual([]);
  await finish(worker, first);
  const second = await next();
  expect(await handBackIfHeld(pool, { tenant, id: second.id, fence: second.fence, claimedBy: worker }, 60_000)).toBe(true);
  const third = await next();
  await cancelRun(pool, { tenant, id: third.id, user: undefined });
  expect(await claim(runs)).toEqual([]); // it is running until its worker has ended it
  await finish(worker, third);
  const fourth = await next();
  await pauseRun(pool, { tenant, id: fourth.id, user: undefined });
  const [parked] = await commitRunsIfHeld(pool, [{ ...commitOf({ id: fourth.id, holder: worker, fence: fourth.fence, inboxRead: 0 }, { status: 'queued', wakeInMs: 0 }), tenant }]);
  expect(parked).toMatchObject({ status: 'waiting' });
  expect(await next()).toBeDefined();
});

test('a dead worker’s run keeps its permit until it is taken over, and then it is the same one', async () => {
  await setTenant(pool, tenant, { maxRunning: 1 }, ACTOR);
  const dying = randomUUID();
  await registerWorker(pool, { incarnation: dying, name: 'w', pool: 'agent', machines: MACHINES, leaseMs: 60_000 });
  const [one, two] = await submit(2);
  await claim([one!], dying);
  await retireWorker(pool, dying);
  expect(await claim([two!])).toEqual([]);
  expect((await claim([one!, two!])).map(({ id }) => id)).toEqual([one!.id]);
  expect(await running()).toMatchObject([{ id: one!.id, tenant: '1' }]);
});

test('a limit that is lowered harms no running run, and holds back others until enough have ended', async () => {
  await setTenant(pool, tenant, { maxRunning: 4 }, ACTOR);
  const worker = await newWorker(pool);
  const held = await claim(await submit(4), worker);
  await setTenant(pool, tenant, { maxRunning: 2 }, ACTOR);
  const waiting = await submit(3);
  for (const done of held.slice(0, 2)) {
    expect(await claim(waiting)).toEqual([]);
    await finish(worker, done);
  }
  expect(await running()).toHaveLength(2);
  await finish(worker, held[2]!);
  expect(await claim(waiting)).toHaveLength(1);
  await setTenant(pool, tenant, { maxRunning: null }, ACTOR);
  expect(await claim(waiting)).toHaveLength(2);
});

test('runs that were running when the limit came count from then on', async () => {
  const worker = await newWorker(pool);
  const held = await claim(await submit(3), worker);
  await setAgentLimit(pool, tenant, 'still', 2, ACTOR);
  expect((await running()).every(({ agent }) => Number(agent) > 1e12)).toBe(true);
  const waiting = await submit(2);
  for (const done of held.slice(0, 2)) {
    expect(await claim(waiting)).toEqual([]);
    await finish(worker, done);
  }
  expect(await claim(waiting)).toHaveLength(1);
  expect(await seatRunning(pool)).toBe(0);
  await setAgentLimit(pool, tenant, 'still', null, ACTOR);
  expect(await claim(waiting)).toHaveLength(1);
});

test('each run of a key goes by its own limit', async () => {
  const [wide] = await submit(1, { concurrencyKey: 'k', concurrencyLimit: 3 });
  const [narrow] = await submit(1, { concurrencyKey: 'k', concurrencyLimit: 1 });
  const [other] = await submit(1, { concurrencyKey: 'other', concurrencyLimit: 1 });
  expect(await claim([wide!])).toHaveLength(1);
  expect((await claim([narrow!, other!])).map(({ id }) => id)).toEqual([other!.id]);
});

test('without the ready queue: the oldest due runs of a full limit stand in nobody’s way', async () => {
  await setTenant(pool, tenant, { maxRunning: 1 }, ACTOR);
  const poolName = `pool-${tenant}`;
  await submit(20, { pool: poolName });
  const keyed = await submit(10, { pool: poolName, tenant: `${tenant}-b`, concurrencyKey: 'k', concurrencyLimit: 2 });
  const free = await submit(3, { pool: poolName, tenant: `${tenant}-c` });
  const worker = await newWorker(pool);
  const first: { tenant: string }[] = [];
  for (let round = 0; first.length < 6 && round < 6; round++) first.push(...await claimDue(pool, poolName, 6 - first.length, worker, MACHINES, 60_000));
  const ofTenant = (name: string): number => first.filter((run) => run.tenant === name).length;
  expect([ofTenant(tenant), ofTenant(keyed[0]!.tenant), ofTenant(free[0]!.tenant)]).toEqual([1, 2, 3]);
  expect(await claimDue(pool, poolName, 6, worker, MACHINES, 60_000)).toEqual([]);
});

test('the product’s own runs need no permit of the tenant', async () => {
  await setTenant(pool, tenant, { maxRunning: 1 }, ACTOR);
  expect(await claim([...await submit(1), ...await submit(2, { visible: false })])).toHaveLength(3);
});

test('who holds what a refused run lacks', async () => {
  await setTenant(pool, tenant, { maxRunning: 2 }, ACTOR);
  const [one, two, three] = await submit(3, { concurrencyKey: 'k', concurrencyLimit: 5 });
  const dying = randomUUID();
  await registerWorker(pool, { incarnation: dying, name: 'w', pool: 'agent', machines: MACHINES, leaseMs: 60_000 });
  await claim([one!]);
  await claim([two!], dying);
  await retireWorker(pool, dying);
  expect(await refusedRun(pool, tenant, one!.id, MACHINES)).toMatchObject({ isRunning: true, isRunnable: false });
  expect(await refusedRun(pool, tenant, three!.id, MACHINES)).toMatchObject({ isRunning: false, isRunnable: true, cap: 2, limits: '5 key:k' });
  expect(await refusedRun(pool, tenant, three!.id, ['other@1'])).toMatchObject({ isRunnable: false });
  const holders = await permitHolders(pool, tenant, three!.id);
  expect(holders.map(({ id, leftMs }) => [id, leftMs > 0]).sort()).toEqual([[one!.id, true], [two!.id, false]].sort());
});
