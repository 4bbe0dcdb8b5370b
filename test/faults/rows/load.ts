// Runs that hurt others: one that kills its worker each time, and a tenant that submits without end. The first ends as poison
// after three crashes of its own, the second waits behind itself.
import { monoMs, pause } from '../../../src/clock.ts';
import { CRASH_LIMIT } from '../../../src/domain/tunables.ts';
import { check } from '../check.ts';
import type { FleetProcess } from '../fleet-process.ts';
import type { Accepted, Ground } from '../ground.ts';
import { defineRow, holds } from '../row.ts';

/** Starts another worker for each that ends, as an orchestrator does, until told to stop. */
function supervise(ground: Ground, count: number, stop: AbortSignal): { deaths: () => number; done: Promise<unknown> } {
  let deaths = 0;
  const lane = async (): Promise<void> => {
    while (!stop.aborted) {
      const worker: FleetProcess = ground.launch({ role: 'worker', env: { CONCURRENCY: '4' } });
      await Promise.race([worker.exited, new Promise((resolve) => { stop.addEventListener('abort', resolve, { once: true }); })]);
      if (!stop.aborted) deaths++;
    }
  };
  return { deaths: () => deaths, done: Promise.all(Array.from({ length: count }, lane)) };
}

export const R27 = defineRow({
  id: 'R27', title: 'a run that kills its worker each time',
  short: { poison: 1, others: 12 }, full: { poison: 5, others: 300 },
  async inject(ground, { poison, others }) {
    await ground.maintenance();
    const stop = new AbortController();
    const fleet = supervise(ground, 2, stop.signal);
    const bad = await ground.submitMany(poison, [[{ do: 'keyed', line: 'before it kills' }], [{ do: 'work', ms: 50 }, { do: 'die' }]]);
    const good = await ground.submitMany(others, (n) => [[{ do: 'work', ms: 200 }, { do: 'keyed', line: `a${n}` }], [{ do: 'work', ms: 200 }, { do: 'keyed', line: `b${n}` }]]);
    await ground.rest();
    const ends = await ground.runs(bad);
    const innocents = await ground.runs(good);
    stop.abort();
    const alone = await ground.rows<{ n: number }>(`SELECT crashes_alone AS n FROM agent_runs WHERE error_code = 'poison'`);
    await fleet.done;
    return {
      landed: { 'workers killed': fleet.deaths(), 'poison runs': poison },
      held: [
        holds(`poison after ${CRASH_LIMIT} crashes alone`, ends.every(({ status, error_code }) => status === 'failed' && error_code === 'poison') && alone.every(({ n }) => n === CRASH_LIMIT), ends.map(({ status, error_code, crashes }) => `${status} ${error_code} after ${crashes} crashes`)),
        holds('others are unaffected', innocents.every(({ status }) => status === 'completed'), `${innocents.filter(({ status }) => status === 'completed').length} of ${others}`),
        holds('the fleet was not brought down', fleet.deaths() <= poison * (CRASH_LIMIT + 3), `${fleet.deaths()} deaths for ${poison} runs`), ...(await check(ground)),
      ],
    };
  },
});

const p95 = (times: readonly number[]): number => times.toSorted((a, b) => a - b)[Math.min(times.length - 1, Math.floor(times.length * 0.95))] ?? Infinity;

/** Start delays of `count` runs of quiet tenants, one after another, by the database's clock. */
async function startDelays(ground: Ground, count: number, everyMs: number): Promise<number[]> {
  const runs: Accepted[] = [];
  for (let n = 0; n < count; n++) {
    runs.push(await ground.submit([[{ do: 'work', ms: 20 }]], { tenant: n % 2 === 0 ? 'globex' : 'initech' }));
    await pause(everyMs);
  }
  const rows = await ground.until('quiet tenants have started', () => ground.runs(runs), (seen) => seen.every(({ started_ms }) => started_ms !== null));
  return rows.map(({ started_ms, created_ms }) => (started_ms ?? Infinity) - created_ms);
}

export const R47 = defineRow({
  id: 'R47', title: 'a noisy tenant',
  short: { noise: 2_000, quiet: 20, everyMs: 60, boundMs: 2_000 }, full: { noise: 100_000, quiet: 200, everyMs: 250, boundMs: 100 },
  async inject(ground, { noise, quiet, everyMs, boundMs }) {
    if (noise > 10_000) await ground.watch.stop(); // looking at a hundred thousand runs would be the load
    await ground.workers(2, { leaseMs: 15_000 });
    await ground.maintenance();
    await startDelays(ground, 5, everyMs); // warm
    const idle = p95(await startDelays(ground, quiet, everyMs));
    const startMs = monoMs();
    let accepted = 0;
    const flood = (async () => {
      for (let n = 0; n < noise; n += 500) accepted += (await ground.submitMany(Math.min(500, noise - n), [[{ do: 'work', ms: 20 }]], { tenant: 'acme' })).length;
    })();
    await ground.until('the noise is there', () => accepted, (n) => n >= Math.min(noise, 1_000));
    const backlog = async (): Promise<number> => (await ground.rows<{ n: number }>(`SELECT count(*)::int AS n FROM agent_runs WHERE tenant_id = 'acme' AND status = 'queued'`))[0]?.n ?? 0;
    const behind = await backlog();
    const busy = p95(await startDelays(ground, quiet, everyMs));
    const left = await backlog();
    await flood;
    await ground.rest(new Set(), ground.form === 'short' ? ground.patienceMs : 1_800_000);
    return {
      landed: { 'runs of the noisy tenant': accepted, 'of them waiting at first': behind },
      held: [
        holds('what the noisy tenant submits is accepted', accepted === noise, `${accepted} in ${Math.round(monoMs() - startMs)} ms`),
        holds(`others’ p95 start delay is within twice the idle one and ${boundMs} ms`, busy <= 2 * idle + boundMs, `idle ${Math.round(idle)} ms, beside ${behind} to ${left} waiting ${Math.round(busy)} ms`), ...(await check(ground)),
      ],
    };
  },
});
