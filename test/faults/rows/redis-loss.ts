// Redis loses what it holds: wiped, killed, frozen, or back from an old copy. Postgres knows what there is to do; what is lost
// with Redis are seconds.
import { monoMs, pause } from '../../../src/clock.ts';
import { check } from '../check.ts';
import type { Ground } from '../ground.ts';
import type { FleetProcess } from '../fleet-process.ts';
import { defineRow, holds, type Claim } from '../row.ts';

const effects = (n: number): { do: 'keyed'; line: string }[] => [{ do: 'keyed', line: `effect ${n}` }];

/** Wake-ups rung now are consumed: BullMQ is at work again, not only alive. Milliseconds it took. */
export async function canary(ground: Ground, withinMs: number): Promise<number> {
  const startMs = monoMs();
  const queue = (await ground.base()).queues.get('agent');
  if (!queue) throw new Error('no pool agent');
  await ground.until('a wake-up is consumed', async () => {
    const before = await queue.wakeUps.counts();
    if (before.waiting === 0) await queue.wakeUps.ring(1);
    await pause(150);
    return queue.wakeUps.counts();
  }, ({ waiting }) => waiting === 0, withinMs);
  return monoMs() - startMs;
}

/** At most so many warnings in any second of a worker's life. */
export function calmLogs(workers: readonly FleetProcess[], sinceMs: number, perSecond: number): Claim {
  const seconds = Math.max(1, (monoMs() - sinceMs) / 1_000);
  const rates = workers.map((worker) => worker.warnings(sinceMs).length / seconds);
  return holds(`no error storm: at most ${perSecond} warnings a second and worker`, rates.every((rate) => rate <= perSecond), `${rates.map((rate) => rate.toFixed(1)).join(', ')} a second over ${seconds.toFixed(0)} s`);
}

/** A healthy worker writes two lines a run at info; warnings come from the client, the queue, the wake-ups and the poll. */
const CALM = 5;

export const R4 = defineRow({
  id: 'R4', title: 'Redis frozen with runs under way',
  short: { running: 6, submitted: 6, frozenMs: 2_500 }, full: { running: 50, submitted: 50, frozenMs: 12_000 },
  async inject(ground, { running, submitted, frozenMs }) {
    const workers = await ground.workers(2, { concurrency: running });
    await ground.maintenance();
    ground.sink.hold(({ line }) => line === 'inside');
    const inside = ground.sink.next(({ line }) => line === 'inside', running);
    await ground.submitMany(running, (n) => [[{ do: 'keyed', line: `before ${n}` }], [{ do: 'note', line: 'inside' }, ...effects(n)], [{ do: 'keyed', line: `after ${n}` }]]);
    await inside;
    const startMs = monoMs();
    ground.redis.freeze();
    ground.sink.release();
    const meanwhile = await ground.submitMany(submitted, (n) => [effects(n)]);
    const ended = ground.until('runs go on without Redis', () => ground.runs(meanwhile), (runs) => runs.every(({ status }) => status === 'completed'));
    await pause(frozenMs);
    const endedFrozen = (await ground.runs()).filter(({ status }) => status === 'completed').length;
    ground.redis.thaw();
    await ended;
    await ground.rest();
    const canaryMs = await canary(ground, ground.patienceMs);
    return {
      landed: { 'runs under way in the freeze': running, 'ms frozen': Math.round(monoMs() - startMs > frozenMs ? frozenMs : 0) },
      held: [holds('runs went on and ended while Redis was frozen', endedFrozen > 0, `${endedFrozen} of ${running + submitted}`), holds('wake-ups are consumed afterwards', true, `${Math.round(canaryMs)} ms`), calmLogs(workers, startMs, CALM), ...(await check(ground))],
    };
  },
});

export const R5 = defineRow({
  id: 'R5', title: 'Redis killed and started again',
  short: { runs: 20, outagesMs: [1_500] }, full: { runs: 200, outagesMs: [15_000, 1_000, 6_000, 60_000, 120_000] },
  async inject(ground, { runs, outagesMs }) {
    const workers = await ground.workers(2);
    await ground.maintenance();
    const backMs: number[] = [];
    const startMs = monoMs();
    for (const outageMs of outagesMs) {
      await ground.submitMany(runs / 2, (n) => [[{ do: 'work', ms: 300 }, ...effects(n)], [{ do: 'keyed', line: `second ${n}` }]]);
      await ground.redis.kill();
      const during = ground.submitMany(runs / 2, (n) => [effects(n)]);
      await pause(outageMs);
      await during;
      await ground.redis.launch();
      backMs.push(await canary(ground, ground.patienceMs));
      await ground.rest();
    }
    const limitMs = ground.form === 'short' ? 20_000 : 10_000;
    return {
      landed: { kills: outagesMs.length, 'runs accepted': ground.accepts.length },
      held: [
        holds(`consuming again within ${limitMs} ms of its return`, backMs.every((ms) => ms <= limitMs), `outages of ${outagesMs.join(', ')} ms: consuming after ${backMs.map(Math.round).join(', ')} ms`),
        holds('the same workers live on', workers.every(({ alive }) => alive), workers.map(({ pid }) => pid)), calmLogs(workers, startMs, CALM), ...(await check(ground)),
      ],
    };
  },
});

export const R6 = defineRow({
  id: 'R6', title: 'FLUSHALL with queued, running, timers and schedules',
  short: { queued: 40, running: 6, timers: 5, timerMs: 1_500, everyMs: 1_000, withinMs: 30_000 }, full: { queued: 1_000, running: 50, timers: 50, timerMs: 10_000, everyMs: 5_000, withinMs: 30_000 },
  async inject(ground, { queued, running, timers, timerMs, everyMs, withinMs }) {
    await ground.maintenance();
    await ground.workers(2, { concurrency: Math.ceil((running + timers) / 2) });
    ground.sink.hold(({ line }) => line === 'inside');
    const inside = ground.sink.next(({ line }) => line === 'inside', running);
    const parked = await ground.submitMany(timers, [[{ do: 'keyed', line: 'before the timer' }, { do: 'wait', ms: timerMs }, { do: 'keyed', line: 'after the timer' }]]);
    await ground.until('timers wait', () => ground.runs(parked), (rows) => rows.every(({ wait_reason }) => wait_reason === 'timer'));
    await ground.submitMany(running, (n) => [[{ do: 'note', line: 'inside' }], effects(n)]);
    await inside;
    await ground.submitMany(running, [[{ do: 'note', line: 'inside' }]]); // what places are left is filled, so that the rest stays queued
    await ground.submitMany(queued, (n) => [effects(n)]);
    await ground.rows(`INSERT INTO schedules (tenant_id, id, name, agent, input, every_ms, overlap, misfire, grace_ms, next_at, created_by) VALUES ('acme', gen_random_uuid(), 'tick', 'fault', $1, $2, 'enqueue', 'fire_all', 600000, now(), 'test')`,
      [JSON.stringify({ sink: ground.sink.url, plan: [[{ do: 'keyed', line: 'tick' }]], mark: 'tick' }), everyMs]);
    await ground.until('the schedule fires', () => occurrences(ground), (seen) => seen.length > 0);
    const lostKeys = await ground.redis.client.dbsize();
    await ground.redis.client.flushall();
    const flushedMs = monoMs();
    const waiting = (): Promise<number> => ground.rows<{ n: number }>(`SELECT count(*)::int AS n FROM agent_runs WHERE status IN ('queued', 'waiting') AND wake_at <= now()`).then(([row]) => row?.n ?? 0);
    const held = async (): Promise<number> => (await (await ground.base()).queues.get('agent')?.ready.depth())?.held ?? 0;
    await ground.until('the ready queue holds what is due', async () => ({ due: await waiting(), held: await held() }), (seen) => seen.held >= seen.due && seen.held > 0);
    const rebuiltMs = monoMs() - flushedMs;
    const before = (await occurrences(ground)).length;
    await ground.until('the schedule goes on', () => occurrences(ground), (seen) => seen.length >= before + 2);
    await ground.rows(`UPDATE schedules SET paused_at = now()`);
    ground.sink.release();
    const fired = await ground.until('all its runs are there', () => occurrences(ground), (seen) => seen.length > 0);
    for (const { run, at } of fired) if (run !== null) ground.accepts.push({ tenant: 'acme', key: `schedule ${at}`, id: run, atMs: flushedMs });
    await ground.rest();
    const gaps = fired.slice(1).filter(({ at }, n) => Math.abs(at - (fired[n]?.at ?? 0) - everyMs) > 1);
    return {
      landed: { 'keys wiped': lostKeys, 'runs queued': queued, 'runs running': running, 'timers waiting': timers, 'occurrences of the schedule': fired.length },
      held: [holds(`all is offered again within ${withinMs} ms`, rebuiltMs <= withinMs, `${Math.round(rebuiltMs)} ms`), holds('I19 each occurrence of the schedule was fired once, none left out', gaps.length === 0, `${fired.length} occurrences, ${gaps.length} gaps`), ...(await check(ground))],
    };
  },
});

/** What the schedules of this row have fired or skipped, oldest first. */
const occurrences = (ground: Ground): Promise<{ at: number; run: string | null }[]> =>
  ground.rows<{ at: number; run: string | null }>(`SELECT (extract(epoch FROM occurrence) * 1000)::float8 AS at, run_id AS run FROM schedule_occurrences ORDER BY occurrence`);

export const R8 = defineRow({
  id: 'R8', title: 'Redis back from an old copy', needs: { redisProxy: true },
  short: { runs: 30 }, full: { runs: 500 },
  async inject(ground, { runs }) {
    await ground.submitMany(runs, (n) => [effects(n)]); // offered, and nobody there to take them
    await ground.redis.saveAside();
    await ground.workers(2);
    await ground.maintenance();
    await ground.rest();
    const before = ground.sink.requests.length;
    ground.redisProxy?.refuse();
    await ground.redis.kill();
    ground.redis.restore();
    await ground.redis.launch();
    const keys = await ground.redis.client.keys('*ready*q:*');
    const stale = (await Promise.all(keys.map((key) => ground.redis.client.zcard(key)))).reduce((sum, n) => sum + n, 0);
    ground.redisProxy?.pass();
    const queue = (await ground.base()).queues.get('agent');
    await ground.until('stale hints are dropped', () => queue?.ready.depth(), (depth) => depth?.held === 0);
    await ground.submitMany(5, (n) => [effects(n)]);
    await ground.rest();
    return {
      landed: { 'finished runs held again': stale },
      held: [holds('finished runs were not asked for anything', ground.sink.requests.length === before + 5, `${ground.sink.requests.length - before} requests, 5 of them new runs`), ...(await check(ground))],
    };
  },
});
