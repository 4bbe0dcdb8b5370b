// Redis is there and not itself: failed over without its last writes, full, evicting, half-open, resetting its connections.
// The product refuses what it must not stand on, says so in few words, and goes on by itself when the trouble is over.
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { monoMs, pause } from '../../../src/clock.ts';
import { LEASE_MS } from '../../../src/domain/tunables.ts';
import { check } from '../check.ts';
import { Proxy } from '../proxy.ts';
import { defineRow, holds } from '../row.ts';
import { FaultRedis } from '../servers.ts';
import { calmLogs, canary } from './redis-loss.ts';
import { openDoor, post, uuidOf } from './submits.ts';

/** Runs the ready queue holds, by its own keys, whatever its counter says. */
export async function readyHeld(client: Redis): Promise<number> {
  const keys = await client.keys('*ready*q:*');
  return (await Promise.all(keys.map((key) => client.zcard(key)))).reduce((sum, n) => sum + n, 0);
}

const infoOf = async (client: Redis, section: string, field: string): Promise<string> => new RegExp(`^${field}:(.*?)\\r?$`, 'm').exec(await client.info(section))?.[1] ?? '';
const settingOf = (client: Redis, name: string, value: string): Promise<unknown> => client.config('SET', name, value);

export const R7 = defineRow({
  id: 'R7', title: 'failover to a replica that lacks the last writes', needs: { redisProxy: true },
  short: { running: 4, before: 10, after: 15 }, full: { running: 50, before: 200, after: 300 },
  async inject(ground, { running, before, after }) {
    const link = await Proxy.open(ground.redis.port, ground.random);
    const replica = await FaultRedis.start(join(ground.dir, 'replica'), ['--replicaof', '127.0.0.1', String(link.port)]);
    try {
      await ground.workers(2, { concurrency: running / 2 });
      await ground.maintenance();
      ground.sink.hold(({ line }) => line === 'inside');
      const inside = ground.sink.next(({ line }) => line === 'inside', running);
      await ground.submitMany(running, [[{ do: 'note', line: 'inside' }, { do: 'keyed', line: 'effect' }], [{ do: 'keyed', line: 'last' }]]);
      await inside;
      await ground.submitMany(running, [[{ do: 'note', line: 'inside' }]]); // what places are left is filled, so that the rest stays queued
      await ground.submitMany(before, [[{ do: 'keyed', line: 'effect' }]]);
      await ground.until('the replica follows', async () => [await infoOf(replica.client, 'replication', 'master_link_status'), await readyHeld(replica.client)], ([state, held]) => state === 'up' && Number(held) >= before);
      link.blackhole('all');
      await ground.submitMany(after, [[{ do: 'keyed', line: 'effect' }]]);
      const lacking = (await readyHeld(ground.redis.client)) - (await readyHeld(replica.client));
      await ground.redis.kill();
      await replica.client.replicaof('NO', 'ONE');
      ground.redisProxy?.target(replica.port);
      ground.sink.release();
      await ground.rest();
      const canaryMs = await canary(ground, ground.patienceMs);
      return {
        landed: { 'runs whose hint the new primary lacks': lacking, 'runs inside a step': running },
        held: [holds('wake-ups are consumed from the new primary', true, `${Math.round(canaryMs)} ms`), ...(await check(ground))],
      };
    } finally {
      await link.close();
      await replica.stop();
    }
  },
});

/** Which commands were refused, by Redis's own statistics. */
async function refusals(client: Redis): Promise<string> {
  const lines = (await client.info('commandstats')).split(/\r?\n/).map((line) => /^cmdstat_(\w+):calls=(\d+).*rejected_calls=(\d+),failed_calls=(\d+)/.exec(line));
  return lines.filter((found) => found && Number(found[3]) + Number(found[4]) > 20).map((found) => `${found?.[1]} ${Number(found?.[3]) + Number(found?.[4])}`).join(', ');
}

export const R9 = defineRow({
  id: 'R9', title: 'Redis full (maxmemory, noeviction)',
  short: { runs: 10, fullMs: 3_000 }, full: { runs: 200, fullMs: 30_000 },
  async inject(ground, { runs, fullMs }) {
    const door = await openDoor(ground);
    try {
      const workers = await ground.workers(2);
      await ground.maintenance();
      await ground.submitMany(runs, (n) => [[{ do: 'work', ms: 500 }, { do: 'keyed', line: `effect ${n}` }], [{ do: 'keyed', line: 'last' }]]);
      await settingOf(ground.redis.client, 'maxmemory', '1');
      const startMs = monoMs();
      const answers = await Promise.all(Array.from({ length: runs }, (_, n) => post(door.port, door.key, `full-${n}`, { agent: 'fault', input: { sink: ground.sink.url, plan: [[{ do: 'keyed', line: 'effect' }]], mark: `full-${n}` } }, ground.patienceMs)));
      for (const [n, answer] of answers.entries()) {
        if (answer?.id !== undefined) ground.accepts.push({ tenant: 'acme', key: `full-${n}`, id: uuidOf(answer.id), atMs: monoMs() });
        else ground.lost.push({ tenant: 'acme', key: `full-${n}` }); // the caller does not know whether it is there
      }
      await pause(Math.max(0, fullMs - (monoMs() - startMs)));
      const refused = Number(/count=(\d+)/.exec(await infoOf(ground.redis.client, 'errorstats', 'errorstat_OOM'))?.[1] ?? 0);
      const calm = calmLogs(workers, startMs, 3);
      await settingOf(ground.redis.client, 'maxmemory', '0');
      const canaryMs = await canary(ground, ground.patienceMs);
      await ground.rest();
      return {
        landed: { 'commands refused for memory': refused, 'posts meanwhile': answers.length },
        held: [
          holds('POST answers 202, or 503 with Retry-After; never 500', answers.every((one) => one?.status === 202 || (one?.status === 503 && one.retryAfter !== null)), [...new Set(answers.map((one) => one?.status))]),
          holds('Redis was not asked without end (a plain BullMQ worker: 7,700 a second)', refused < (fullMs / 1_000) * workers.length * 100, `${Math.round(refused / (fullMs / 1_000))} refusals a second: ${await refusals(ground.redis.client)}`), calm, holds('resumes unaided', true, `wake-ups are consumed after ${Math.round(canaryMs)} ms`), ...(await check(ground)),
        ],
      };
    } finally {
      await door.close();
    }
  },
});

export const R10 = defineRow({
  id: 'R10', title: 'eviction policy changed at run time',
  short: { runs: 10, alarmMs: 0 }, full: { runs: 100, alarmMs: 60_000 },
  async inject(ground, { runs, alarmMs }) {
    const [worker] = await ground.workers(1, { concurrency: runs });
    await ground.maintenance();
    ground.sink.hold(({ line }) => line === 'inside');
    const inside = ground.sink.next(({ line }) => line === 'inside', runs);
    await ground.submitMany(runs, [[{ do: 'keyed', line: 'before' }, { do: 'note', line: 'inside' }, { do: 'keyed', line: 'effect' }]]);
    await inside;
    const { client } = ground.redis;
    const startMs = monoMs();
    await settingOf(client, 'maxmemory-policy', 'allkeys-lru');
    await settingOf(client, 'maxmemory', String(Number(await infoOf(client, 'memory', 'used_memory')) - 200_000));
    for (let n = 0; n < 200; n++) await client.set(`ballast:${n}`, 'x'.repeat(4_096), 'EX', 60).catch(() => undefined); // full: that is the point
    const evicted = Number(await infoOf(client, 'stats', 'evicted_keys'));
    const refused = ground.launch({ role: 'worker' });
    const code = await Promise.race([refused.exited, pause(ground.patienceMs).then(() => 'runs')]);
    const alarm = alarmMs > 0 ? await ground.until('the alarm', () => worker?.said(/may evict keys/, startMs) ?? [], (lines) => lines.length > 0, alarmMs + 5_000) : [];
    ground.sink.release();
    await ground.rest();
    return {
      landed: { 'keys evicted': evicted },
      held: [
        holds('a process refuses to start on it, and says why', code === 1 && refused.said(/may evict keys/).length > 0, { code, said: refused.lines.at(-1)?.text.slice(0, 300) }),
        ...(alarmMs > 0 ? [holds(`alarm within ${alarmMs} ms`, alarm.length > 0 && (alarm[0]?.atMs ?? Infinity) - startMs <= alarmMs, `${Math.round((alarm[0]?.atMs ?? 0) - startMs)} ms`)] : []), ...(await check(ground)),
      ],
    };
  },
});

export const R11 = defineRow({
  id: 'R11', title: 'Redis half-open: bytes are swallowed, no reset (by our proxy, in place of dropped packets)', needs: { redisProxy: true },
  short: { runs: 10, detectMs: 20_000 }, full: { runs: 100, detectMs: 5_000 },
  async inject(ground, { runs, detectMs }) {
    const workers = await ground.workers(2);
    await ground.maintenance();
    await ground.submitMany(runs, (n) => [[{ do: 'work', ms: 200 }, { do: 'keyed', line: `effect ${n}` }]]);
    const proxy = ground.redisProxy;
    if (!proxy) throw new Error('no proxy');
    const accepted = proxy.counts.accepted;
    const startMs = monoMs();
    const stood = proxy.blackhole('standing');
    const during = ground.submitMany(runs, (n) => [[{ do: 'keyed', line: `effect ${n}` }]]);
    await ground.until('new sockets', () => proxy.counts.accepted - accepted, (n) => n > 0).catch(() => undefined);
    const newMs = monoMs() - startMs;
    await during;
    await ground.rest();
    const canaryMs = await canary(ground, ground.patienceMs).catch(() => Infinity);
    const usedMs = monoMs() - startMs;
    return {
      landed: { 'connections made half-open': stood, 'bytes swallowed': proxy.counts.bytesSwallowed },
      held: [
        holds(`found out, and a new socket opened, within ${detectMs} ms`, newMs <= detectMs, `first after ${Math.round(newMs)} ms; ${proxy.counts.accepted - accepted} of ${stood} in all`),
        holds('wake-ups are consumed again without a restart', canaryMs < Infinity, `${Math.round(usedMs)} ms after the cut`), calmLogs(workers, startMs, 5), ...(await check(ground)),
      ],
    };
  },
});

export const R12 = defineRow({
  id: 'R12', title: 'connections reset again and again', needs: { redisProxy: true },
  short: { storms: 5, everyMs: 500, runs: 6 }, full: { storms: 60, everyMs: 2_000, runs: 20 },
  async inject(ground, { storms, everyMs, runs }) {
    const workers = await ground.workers(2, { leaseMs: LEASE_MS, nodeArgs: ['--max-old-space-size=96', '--max-semi-space-size=4'] }); // none is to be taken over, however slow the machine; a small heap: what grows then is no garbage
    await ground.maintenance();
    await ground.submitMany(runs, [[{ do: 'keyed', line: 'warm up' }]]);
    await ground.rest();
    let before: number[] = [];
    const proxy = ground.redisProxy;
    for (let n = 0; n < storms; n++) {
      if (n === Math.floor(storms / 2)) before = workers.map((worker) => worker.residentKiB()); // the first half is for the heap to find its size
      const accepted = ground.submitMany(runs, (at) => [[{ do: 'note', line: 'ran' }, { do: 'keyed', line: `effect ${at}` }], [{ do: 'work', ms: 100 }]]);
      await pause(everyMs * (0.5 + ground.random()));
      if (n % 3 === 2) proxy?.halfClose(); else proxy?.reset(0.8);
      await accepted;
    }
    await ground.rest();
    const canaryMs = await canary(ground, ground.patienceMs);
    const grown = workers.map((worker, n) => worker.residentKiB() - (before[n] ?? 0));
    const limitKiB = 24 * 1_024;
    return {
      landed: { 'connections reset': proxy?.counts.resets ?? 0, 'connections opened': proxy?.counts.accepted ?? 0 },
      held: [
        holds('no listener leaks', workers.every(({ stderr }) => !/MaxListenersExceeded/.test(stderr)), workers.map(({ stderr }) => stderr.slice(0, 200))), holds(`memory grows by less than ${limitKiB} KiB in the second half`, grown.every((kiB) => kiB < limitKiB), grown),
        holds('each run was executed once', ground.sink.of({ kind: 'note' }).length === storms * runs, `${ground.sink.of({ kind: 'note' }).length} executions of ${storms * runs}`), holds('wake-ups are consumed afterwards', true, `${Math.round(canaryMs)} ms`), ...(await check(ground)),
      ],
    };
  },
});
