// While two tenants both have runs waiting, they share the fleet's places by slot time over weight: not by the number of runs,
// whatever a run lasts, and with nothing saved up by one that was idle. Measured through the whole product, as time between
// claim and end by the database's clock, within bounds that a busy machine keeps and a wrong charge does not.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { pause } from '../../src/clock.ts';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const PLACES = 4;
const work = defineMachine<{ ms: number }>({
  name: 'work', version: 1, input: z.strictObject({ ms: z.number() }), start: 'go', remembers: false,
  steps: { go: async (step: Step<{ ms: number }>) => { await pause(step.input.ms, step.signal); return step.done('done'); } },
});
const stack = await useStack();
const fleet = await startFleet(stack, [work], { LEASE_MS: '3000' });

const submit = (tenant: string, count: number, ms: number): Promise<string[]> =>
  Promise.all(Array.from({ length: count }, async () => (await fleet.base.submit({ tenant, door: 'test', agent: 'work', input: { ms } })).id));
const weigh = (tenant: string, weight: number) => fleet.rows(`INSERT INTO tenants (id, weight) VALUES ($1, $2)`, [tenant, weight]);

/** Works until all runs have ended. */
async function workOff(runs: readonly string[]): Promise<void> {
  const worker = await fleet.worker({ concurrency: PLACES });
  for (;;) {
    const [open] = await fleet.rows<{ n: number }>(`SELECT count(*)::int AS n FROM agent_runs WHERE id = ANY ($1::uuid[]) AND finished_at IS NULL`, [runs]);
    if (open?.n === 0) break;
    await pause(50);
  }
  await worker.stop();
}

/** Slot time of `one` over that of `other`, from when both had begun until one of them had begun its last run. */
async function shareOf(one: string, other: string): Promise<number> {
  const [row] = await fleet.rows<{ ratio: number }>(`
    WITH t AS (SELECT tenant_id, min(started_at) AS begun, max(started_at) AS last FROM agent_runs WHERE tenant_id IN ($1, $2) GROUP BY 1),
    w AS (SELECT max(begun) AS begun, min(last) AS over FROM t),
    s AS (SELECT tenant_id, sum(extract(epoch FROM greatest(interval '0', least(finished_at, over) - greatest(started_at, begun)))) AS slots FROM agent_runs, w WHERE tenant_id IN ($1, $2) GROUP BY 1)
    SELECT (SELECT slots FROM s WHERE tenant_id = $1) / (SELECT slots FROM s WHERE tenant_id = $2) AS ratio`, [one, other]);
  return Number(row?.ratio);
}

/** A tenant's tags in the ready queue, in ms of slot time over weight: what it owes, and where its busy period began. */
async function charged(tenant: string): Promise<{ finish: number; began: number }> {
  const [finish, began] = await fleet.base.redis.hmget(`${fleet.base.keys.ready('agent')}t:${tenant}`, 'f', 'a');
  return { finish: Number(finish), began: Number(began) };
}

test('weights 3 : 1 are 3 : 1 of slot time', async () => {
  await weigh('heavy', 3);
  await workOff((await Promise.all([submit('heavy', 180, 50), submit('light', 90, 50)])).flat());
  const ratio = await shareOf('heavy', 'light');
  expect(ratio).toBeGreaterThan(2.5);
  expect(ratio).toBeLessThan(3.5);
}, 60_000);

test('long runs and short ones get the same time, so many more short ones', async () => {
  await workOff((await Promise.all([submit('long', 30, 700), submit('short', 340, 50)])).flat());
  const ratio = await shareOf('long', 'short');
  expect(ratio).toBeGreaterThan(0.75);
  expect(ratio).toBeLessThan(1.33);
}, 60_000);

test('a tenant that was idle gets half from then on, and nothing for the time before', async () => {
  await workOff(await submit('late', 1, 50)); // known, and then idle
  const steady = await submit('steady', 240, 50);
  const working = workOff(steady);
  const begun = (): Promise<{ n: number }[]> => fleet.rows<{ n: number }>(`SELECT count(*)::int AS n FROM agent_runs WHERE tenant_id = 'steady' AND started_at IS NOT NULL`);
  while (((await begun())[0]?.n ?? 0) < 80) await pause(20);
  await fleet.rows(`DELETE FROM agent_runs WHERE tenant_id = 'late'`);
  const late = await submit('late', 80, 50);
  await working;
  await workOff(late);
  const ratio = await shareOf('late', 'steady');
  expect(ratio).toBeGreaterThan(0.7);
  expect(ratio).toBeLessThan(1.4);
}, 60_000);

test('a run that outlives renewals of its lease is charged once for its time', async () => {
  const lasting = await submit('lasting', 1, 1_600);
  await workOff(lasting);
  const { finish, began } = await charged('lasting');
  const [run] = await fleet.rows<{ ms: number }>(`SELECT extract(epoch FROM finished_at - started_at) * 1000 AS ms FROM agent_runs WHERE id = $1`, lasting);
  const usedMs = Number(run?.ms);
  expect(usedMs).toBeGreaterThan(1.5 * fleet.base.config.LEASE_MS / 3); // else it met no renewal for certain
  expect(finish - began).toBeGreaterThan(0.9 * usedMs);
  expect(finish - began).toBeLessThan(1.3 * usedMs);
}, 60_000);
