// A schedule's occurrence is fired once, whoever looks: several sweeps at once, after a crash, after a wiped Redis. A run that is
// still at it is respected as the overlap policy says; what was missed is made up as the misfire policy says, and recorded.
import { beforeEach, expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { occurrencesAfter, type Misfire, type Overlap } from '../../src/domain/schedule.ts';
import { newId } from '../../src/ids.ts';
import { makeCancelRun } from '../../src/run/cancel-run.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { fireSchedules, runNow } from '../../src/run/fire-schedules.ts';
import { openAppStore } from '../../src/store/app-store.ts';
import { createSchedule } from '../../src/store/schedules.ts';
import { startFleet } from '../support/fleet.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

const machine = defineMachine({
  name: 'report', version: 1, input: z.strictObject({ hold: z.boolean() }), start: 'go', remembers: false,
  steps: { go: async (step: Step<{ hold: boolean }>) => { if (step.input.hold) await step.waitForSignal('never'); return step.done('done'); } },
});
const stack = await useStack();
const fleet = await startFleet(stack, [machine]);
const { base } = fleet;
const store = openAppStore({ url: base.config.DATABASE_URL, asRole: true, log: base.log });
atFileEnd(() => store.close());
await fleet.worker();
const deps = { ...base, defaultModel: 'claude-sonnet-5-5', cancel: makeCancelRun({ store, ...base }) };
/** Hourly, at a minute half an hour from now: no occurrence comes due while the tests run. */
const hourly = { cron: `${(new Date().getUTCMinutes() + 30) % 60} * * * *`, zone: 'UTC' };
const [due = 0] = occurrencesAfter(hourly, Date.now() - 3_600_000, 1);

interface Policy { overlap?: Overlap; misfire?: Misfire; agent?: string; hold?: boolean; lateHours?: number }
/** A schedule whose next occurrence was `lateHours` full hours ago. Its grace is an hour, so that at any minute the latest occurrence alone is on time. */
async function schedule({ overlap = 'skip', misfire = 'fire_once', agent = 'report', hold = false, lateHours = 0 }: Policy = {}): Promise<string> {
  const id = newId();
  const next = due - lateHours * 3_600_000;
  const made = await store.withTenant({ tenant: 'acme' }, (tx) => createSchedule(tx, {
    id, name: id, user: null, session: null, agent, input: JSON.stringify({ hold }), metadata: '{}', priority: 0, time: hourly, overlap, misfire, graceMs: 3_600_000, endsMs: null, nextMs: next, createdBy: 'test',
  }));
  expect(made).toBe(true);
  return id;
}
const occurrences = (id: string) => fleet.rows<{ at: string; outcome: string; reason: string | null; run: string | null }>(`SELECT to_char(occurrence AT TIME ZONE 'UTC', 'HH24:MI') AS at, outcome::text, reason, run_id AS run FROM schedule_occurrences WHERE schedule_id = $1 ORDER BY occurrence`, [id]);
/** As if the last occurrence had been two hours earlier: the latest is due again. */
const again = async (id: string): Promise<void> => {
  await fleet.rows(`UPDATE schedule_occurrences SET occurrence = occurrence - interval '2 hours' WHERE schedule_id = $1`, [id]);
  await fleet.rows(`UPDATE schedules SET next_at = to_timestamp($2::float8 / 1000) WHERE id = $1`, [id, due]);
};
beforeEach(() => fleet.rows(`UPDATE schedules SET paused_at = now()`));

test('twenty sweeps at once fire one due occurrence once', async () => {
  const id = await schedule();
  await Promise.all(Array.from({ length: 20 }, () => fireSchedules(deps, 10)));
  const [fired, ...others] = await occurrences(id);
  expect([fired?.outcome, others]).toEqual(['fired', []]);
  expect(await fleet.ended('acme', fired?.run ?? '')).toMatchObject({ status: 'completed' });
  expect((await fleet.rows<{ next: boolean }>(`SELECT next_at > now() AS next FROM schedules WHERE id = $1`, [id]))[0]).toEqual({ next: true });
});

test('an occurrence on record is not fired again, whatever the row says', async () => {
  const id = await schedule();
  await fireSchedules(deps, 10);
  await fleet.rows(`UPDATE schedules SET next_at = to_timestamp($2::float8 / 1000) WHERE id = $1`, [id, due]);
  expect(await fireSchedules(deps, 10)).toBe(0);
  expect(await occurrences(id)).toHaveLength(1);
});

test('a Redis that forgot everything changes nothing: the schedule is in Postgres', async () => {
  const id = await schedule();
  const keys = await base.redis.keys(`*${stack.redisPrefix}*`);
  if (keys.length > 0) await base.redis.del(...keys);
  expect(await fireSchedules(deps, 10)).toBe(1);
  expect(await fleet.ended('acme', (await occurrences(id))[0]?.run ?? '')).toMatchObject({ status: 'completed' });
});

test.each<[Misfire, number, number]>([['skip', 1, 5], ['fire_once', 1, 5], ['fire_all', 6, 0]])('away for six hours, %s: %i fired, %i recorded as missed', async (misfire, fired, skipped) => {
  const id = await schedule({ misfire, lateHours: 5, overlap: 'enqueue' });
  await fireSchedules(deps, 10);
  const all = await occurrences(id);
  expect([all.filter(({ outcome }) => outcome === 'fired').length, all.filter(({ reason }) => reason === 'missed').length]).toEqual([fired, skipped]);
});

test('overlap: skip leaves the running one alone, enqueue begins another, cancel_previous ends it', async () => {
  for (const [overlap, outcome, earlier] of [['skip', 'skipped', 'waiting'], ['enqueue', 'fired', 'waiting'], ['cancel_previous', 'fired', 'cancelled']] as const) {
    const id = await schedule({ overlap, hold: true });
    await fireSchedules(deps, 10);
    const [first] = await occurrences(id);
    await fleet.until('acme', first?.run ?? '', (run) => run.status === 'waiting');
    await again(id);
    await fireSchedules(deps, 10);
    expect((await occurrences(id)).filter(({ run }) => run !== first?.run).map((one) => one.outcome)).toEqual([outcome]);
    expect([overlap, (await fleet.run('acme', first?.run ?? '')).status]).toEqual([overlap, earlier]);
    await fleet.rows(`UPDATE schedules SET paused_at = now() WHERE id = $1`, [id]);
  }
});

test('an agent that is not there any more skips its occurrence with the reason, and the schedule goes on', async () => {
  const id = await schedule({ agent: 'gone' });
  expect(await fireSchedules(deps, 10)).toBe(0);
  expect((await occurrences(id)).map(({ outcome, reason }) => [outcome, reason])).toEqual([['skipped', 'agent_unknown']]);
});

test('run now is one run besides its occurrences', async () => {
  const id = await schedule({ lateHours: -2 });
  const run = await runNow(deps, { tenant: 'acme', id, user: undefined });
  expect(await fleet.ended('acme', run ?? '')).toMatchObject({ status: 'completed' });
  expect((await occurrences(id)).map(({ outcome, reason }) => [outcome, reason])).toEqual([['fired', 'run_now']]);
  expect(await runNow(deps, { tenant: 'globex', id, user: undefined })).toBeUndefined();
});
