// Workers that come and go on purpose: stopped without Redis, deployed again and again, scaled to nothing, and deployed with
// another version of a machine. No run fails for it, none is stranded, none changes its version.
import { monoMs, pause } from '../../../src/clock.ts';
import { workOf } from '../../../src/store/engine/work.ts';
import { check } from '../check.ts';
import { machinesOf } from '../machines.ts';
import { defineRow, holds } from '../row.ts';

export const R13 = defineRow({
  id: 'R13', title: 'SIGTERM with Redis down',
  short: { runs: 6 }, full: { runs: 50 },
  async inject(ground, { runs }) {
    const [leaving] = await ground.workers(1, { concurrency: runs });
    ground.sink.hold(({ line, pid }) => line === 'inside' && pid === leaving?.pid);
    const inside = ground.sink.next(({ line }) => line === 'inside', runs);
    const accepted = await ground.submitMany(runs, (n) => [[{ do: 'note', line: 'inside' }, { do: 'keyed', line: `effect ${n}` }]]);
    await inside;
    await ground.redis.kill();
    const ended = await leaving?.stop();
    const graceMs = 5_000 + (ground.form === 'short' ? 15_000 : 5_000); // DRAIN_MS and what closing may take
    const workers = await ground.rows<{ retired: boolean; held: number }>(`SELECT ended_at IS NOT NULL AS retired, (SELECT count(*)::int FROM agent_runs r WHERE r.claimed_by = w.incarnation) AS held FROM workers w`);
    const back = await ground.runs(accepted);
    ground.sink.release();
    await ground.worker();
    await ground.rest();
    await ground.redis.launch();
    return {
      landed: { 'runs inside a step at SIGTERM': back.length, 'stopped without Redis': 1 },
      held: [
        holds(`gone within ${graceMs} ms, by itself`, ended?.by === 0 && ended.tookMs <= graceMs, { ...ended, said: leaving?.stderr.slice(-1_500) }), holds('its lease is released in Postgres and it holds no run', workers.every(({ retired, held }) => retired && held === 0), workers),
        holds('a drain is no crash', (await ground.runs()).every(({ crashes, status, attempt }) => crashes === 0 && attempt === 0 && status === 'completed'), 'crashes and attempts of all runs are 0'), ...(await check(ground)),
      ],
    };
  },
});

export const R14 = defineRow({
  id: 'R14', title: 'rolling deploys',
  short: { deploys: 3, everyMs: 300, batch: 8, workMs: 1_200 }, full: { deploys: 30, everyMs: 20_000, batch: 40, workMs: 6_000 },
  async inject(ground, { deploys, everyMs, batch, workMs }) {
    await ground.maintenance();
    let worker = await ground.worker({ concurrency: 2 * batch });
    const exits: unknown[] = [];
    for (let n = 0; n < deploys; n++) {
      await ground.submitMany(batch, (at) => [[{ do: 'work', ms: workMs }], [{ do: 'keyed', line: `a${at}` }, { do: 'work', ms: workMs }], [{ do: 'work', ms: workMs }], [{ do: 'work', ms: workMs }, { do: 'keyed', line: `b${at}` }]]);
      await pause(everyMs);
      const next = await ground.worker({ concurrency: 2 * batch });
      exits.push((await worker.stop()).by);
      worker = next;
    }
    await ground.rest();
    const rows = await ground.runs();
    const wrong = rows.filter(({ status, attempt, crashes }) => status !== 'completed' || attempt !== 0 || crashes !== 0);
    const shared = await ground.rows<{ n: number }>(`SELECT count(DISTINCT fence)::int AS n FROM run_steps GROUP BY run_id HAVING count(DISTINCT fence) > 1`);
    return {
      landed: { deploys, 'runs handed from one worker to another': shared.length },
      held: [holds('no run failed, no attempt was counted, no crash', wrong.length === 0, wrong.length === 0 ? `${rows.length} runs` : wrong.slice(0, 3)), holds('each stopped worker ended with code 0', exits.every((by) => by === 0), exits), ...(await check(ground))],
    };
  },
});

export const R15 = defineRow({
  id: 'R15', title: 'scaled to zero with active, queued and delayed runs',
  short: { each: 4, delayMs: 4_000 }, full: { each: 50, delayMs: 30_000 },
  async inject(ground, { each, delayMs }) {
    const [worker] = await ground.workers(1, { concurrency: each });
    ground.sink.hold(({ line, pid }) => line === 'inside' && pid === worker?.pid);
    const inside = ground.sink.next(({ line }) => line === 'inside', each);
    await ground.submitMany(each, [[{ do: 'note', line: 'inside' }, { do: 'keyed', line: 'active' }]]);
    await inside;
    await ground.submitMany(each, [[{ do: 'keyed', line: 'queued' }]]);
    await ground.submitMany(each, [[{ do: 'keyed', line: 'first' }]], { priority: 5 });
    await ground.submitMany(each, [[{ do: 'keyed', line: 'delayed' }]], { delayMs });
    await worker?.kill();
    ground.sink.release();
    const { engine } = await ground.base();
    const counted = await workOf(engine.pool, 'agent');
    await pause(ground.leaseMs + 500); // also long after the worker's lease is over
    const later = await workOf(engine.pool, 'agent');
    await ground.worker({ concurrency: each });
    await ground.rest();
    const empty = await workOf(engine.pool, 'agent');
    const all = (work: typeof counted): number => work.runnable + work.running + work.dueSoon;
    return {
      landed: { 'active at the kill': each, 'queued at the kill': 2 * each, 'due within a minute': counted.dueSoon },
      held: [
        holds('what the fleet is scaled by counts all of it', all(counted) === 4 * each && all(later) === 4 * each, { counted, later }), holds('and is zero when nothing is left', all(empty) === 0, empty),
        ...(await check(ground)),
      ],
    };
  },
});

export const R52 = defineRow({
  id: 'R52', title: 'an old and a new build at once',
  short: { runs: 6 }, full: { runs: 200 },
  async inject(ground, { runs }) {
    const old = await ground.worker({ env: { FAULT_BUILD: '1' } });
    ground.sink.hold(({ line, pid }) => line === 'first of 1' && pid === old.pid);
    const inside = ground.sink.next(({ line }) => line === 'first of 1');
    // accepted by a process of the old build: the version is that process' newest
    const oldRequests = Array.from({ length: runs }, (_, n) => ({ tenant: 'acme', door: 'test', agent: 'versioned', idempotencyKey: `old-${n}`, input: { sink: ground.sink.url, plan: [], mark: `old-${n}` } }));
    const submitter = await ground.process({ role: 'submit', args: [JSON.stringify(oldRequests)], env: { FAULT_BUILD: '1' } });
    submitter.tell('go');
    await submitter.exited;
    for (const [n, line] of submitter.lines.filter(({ text }) => text.startsWith('accepted ')).entries()) ground.accepts.push({ tenant: 'acme', key: `old-${n}`, id: line.text.slice(9), atMs: monoMs() });
    const pinned = [...ground.accepts];
    await inside;
    await ground.worker({ env: { FAULT_BUILD: '2' } });
    await ground.maintenance();
    const fresh = await ground.submitMany(runs, [], { agent: 'versioned' });
    await ground.until('new runs end on the new build', () => ground.runs(fresh), (rows) => rows.every(({ status }) => status === 'completed'));
    await old.kill();
    ground.sink.release();
    await pause(ground.leaseMs + 1_000); // the new build has every chance to take what the old one left
    const stranded = await ground.runs(pinned);
    const moved = stranded.filter(({ version, status }) => version !== 1 || (status !== 'completed' && status !== 'running' && status !== 'queued'));
    await ground.worker({ env: { FAULT_BUILD: '1' } });
    await ground.rest();
    const ends = await ground.rows<{ version: number; output: { version: number }; names: string[] }>(`SELECT version, output, (SELECT array_agg(name ORDER BY seq) FROM run_steps s WHERE s.run_id = r.id) AS names FROM agent_runs r WHERE agent = 'versioned'`);
    const crossed = ends.filter(({ version, output, names }) => output?.version !== version || names.join() !== `first,second-of-${version}`);
    return {
      landed: { 'runs pinned to the old build': pinned.length, 'left without their build': stranded.filter(({ status }) => status !== 'completed').length },
      held: [
        holds('the new build moved no run of the old one', moved.length === 0, moved.slice(0, 3)), holds('each run took the steps of its own version only', crossed.length === 0 && ends.length === 2 * runs, crossed.length === 0 ? `${ends.length} runs` : crossed.slice(0, 3)),
        holds('stored steps still name steps of their build', ends.every(({ version, names }) => names.every((name) => name in (machinesOf(String(version)).find((one) => one.name === 'versioned')?.steps ?? {}))), 'every name is known'), ...(await check(ground)),
      ],
    };
  },
});
