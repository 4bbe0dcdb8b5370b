// Clocks that jump: a worker's, and the Redis host's. Leases and timers go by the database's clock and by monotonic ones, so a
// jump costs at most wasted work. The worker's clock is shifted by a preload. Redis has no such door: where libfaketime is
// installed its server runs under it, elsewhere what a jump does to it is done by hand (every key with a life ends, or never does).
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { monoMs, pause } from '../../../src/clock.ts';
import { check } from '../check.ts';
import { defineRow, holds } from '../row.ts';

export const R16 = defineRow({
  id: 'R16', title: 'wall clock of one worker jumps by -60 s and +10 min',
  short: { runs: 3, eachMs: 5_000, timerMs: 2_500 }, full: { runs: 10, eachMs: 75_000, timerMs: 20_000 },
  async inject(ground, { runs, eachMs, timerMs }) {
    const file = join(ground.dir, 'clock');
    writeFileSync(file, '0');
    const shifted = await ground.worker({ concurrency: runs * 3, nodeArgs: ['--import', './test/faults/shift-clock.mjs'], env: { FAULT_CLOCK_FILE: file } });
    ground.sink.hold(({ line }) => line === 'inside');
    const inside = ground.sink.next(({ line }) => line === 'inside', runs);
    const busy = await ground.submitMany(runs, [[{ do: 'note', line: 'inside' }, { do: 'keyed', line: 'effect' }], [{ do: 'keyed', line: 'last' }]]);
    await inside;
    const timers = [];
    for (const offsetMs of [-60_000, 600_000]) {
      writeFileSync(file, String(offsetMs));
      await pause(200); // the preload looks every 50 ms
      timers.push(...(await ground.submitMany(runs, [[{ do: 'wait', ms: timerMs }, { do: 'keyed', line: 'after the timer' }]])));
      if (offsetMs < 0) await ground.worker({ concurrency: runs * 3 }); // one that would take what looks dead
      await pause(eachMs);
    }
    const seen = await ground.runs(busy);
    ground.sink.release();
    await ground.maintenance();
    await ground.rest();
    const waited = (await ground.runs(timers)).map(({ started_ms, finished_ms }) => (finished_ms ?? 0) - (started_ms ?? 0));
    return {
      landed: { jumps: 2, 'runs inside a step': runs, 'lines with a shifted time': shifted.lines.filter(({ text }) => Math.abs(timeOf(text) - wallNow()) > 30_000).length },
      held: [
        holds('no run was taken from the shifted worker', seen.every(({ crashes, step_claims, status }) => crashes === 0 && step_claims === 1 && status === 'running') && new Set(ground.sink.of({ line: 'inside' }).map(({ pid }) => pid)).size === 1, seen.map(({ status, crashes, step_claims }) => ({ status, crashes, step_claims }))),
        holds('no timer fired early or ten minutes late', waited.every((ms) => ms >= timerMs - 5 && ms < timerMs + ground.patienceMs), waited.map(Math.round)), ...(await check(ground)),
      ],
    };
  },
});

const wallNow = (): number => Date.now();
const timeOf = (text: string): number => { try { return (JSON.parse(text) as { time?: number }).time ?? wallNow(); } catch { return wallNow(); } };

/** The library where Debian's package puts it. */
function faketime(): string | undefined {
  const roots = ['/usr/lib', '/usr/lib64'].filter((dir) => existsSync(dir));
  const dirs = roots.flatMap((root) => readdirSync(root).map((name) => join(root, name, 'faketime', 'libfaketime.so.1')));
  return dirs.find((file) => existsSync(file));
}

export const R17 = defineRow({
  id: 'R17', title: 'wall clock of the Redis host jumps (under libfaketime, else its keys are expired by hand)',
  short: { runs: 6, pauseMs: 1_500 }, full: { runs: 50, pauseMs: 35_000 },
  async inject(ground, { runs, pauseMs }) {
    const { redis } = ground;
    const library = faketime();
    const file = join(ground.dir, 'faketime');
    writeFileSync(file, '+0\n');
    if (library !== undefined) {
      await redis.kill();
      await redis.launch({ LD_PRELOAD: library, FAKETIME_TIMESTAMP_FILE: file, FAKETIME_NO_CACHE: '1', FAKETIME_DONT_FAKE_MONOTONIC: '1' });
    }
    await ground.workers(2, { concurrency: runs });
    await ground.maintenance();
    ground.sink.hold(({ line }) => line === 'inside');
    const inside = ground.sink.next(({ line }) => line === 'inside', runs);
    await ground.submitMany(runs, [[{ do: 'note', line: 'inside' }, { do: 'keyed', line: 'effect' }], [{ do: 'keyed', line: 'last' }]]);
    await inside;
    await ground.until('running wake-ups have their keys', () => redis.client.dbsize(), (n) => n > 5);
    let touched = 0;
    for (const jump of ['+10m', '-10m']) {
      if (library !== undefined) { writeFileSync(file, `${jump}\n`); touched++; }
      else touched += await jumpByHand(ground.redis.client, jump === '+10m');
      await ground.submitMany(runs, [[{ do: 'keyed', line: 'meanwhile' }]]);
      const startMs = monoMs();
      await pause(pauseMs);
      if (monoMs() - startMs < pauseMs - 50) throw new Error('the harness’s own clock jumped');
    }
    ground.sink.release();
    await ground.rest();
    return { landed: { 'runs inside a step': runs, [library === undefined ? 'keys ended or made endless by hand' : 'jumps']: touched }, held: [...(await check(ground))] };
  },
});

/** Forward: every key that has a life ends. Backward: none ends any more. Answers how many. */
async function jumpByHand(client: import('ioredis').Redis, forward: boolean): Promise<number> {
  let touched = 0;
  for (const key of await client.keys('*')) {
    if ((await client.pttl(key)) < 0) continue;
    touched += forward ? await client.pexpire(key, 1) : await client.persist(key);
  }
  return touched;
}
