// The six workloads. Each takes a measurement, lets the peer's processes work and answers named numbers, units last. A job's
// start is the first line of the user's code; warm-up jobs come first and are not counted.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pause } from '../src/clock.ts';
import type { Workload } from './peer.ts';
import type { Cpu, Host, Measurement } from './measurement.ts';
import { SHARES } from './shares.ts';
import { ended, latest, warm, type Metrics } from './work.ts';
import { median, nowMs, percentile, STEPS } from './tasks.ts';

const W5_WARM_UP = 10_000;

/** What is measured of a workload, each with fresh processes and an empty database; the first number is the one of the ratio. */
export const workloads: Readonly<Record<Workload, readonly ((m: Measurement) => Promise<Metrics>)[]>> = {
  W1: [emptyRuns], W2: [tenSteps], W3: [(m) => killed(m, true), (m) => killed(m, false)], W4: [pickup], W5: [sleepers], W6: [noisyNeighbour, ...SHARES],
};

const per1000 = (before: Cpu, after: Cpu, count: number): Metrics => ({
  cpuServerMsPer1000: ((after.server - before.server) / count) * 1_000,
  cpuWorkerMsPer1000: ((after.worker - before.worker) / count) * 1_000,
  cpuProducerMsPer1000: ((after.producer - before.producer) / count) * 1_000,
});

/** W1: empty runs, one producer with 50 single submits outstanding, one worker, concurrency 50. */
async function emptyRuns(m: Measurement): Promise<Metrics> {
  const count = m.size('W1jobs');
  const { worker, producer } = await warm(m, 'noop', 200);
  const before = m.cpu(worker, producer);
  const submitted = await producer.call('submit', { prefix: 'j', count, kind: 'noop' });
  const ends = await ended(worker, 'j', count);
  return {
    jobsPerSecond: (count / (latest(ends) - submitted.startMs)) * 1_000, submitsPerSecond: (count / (submitted.endMs - submitted.startMs)) * 1_000,
    submitP50Ms: submitted.p50Ms, submitP99Ms: submitted.p99Ms, ...per1000(before, m.cpu(worker, producer), count),
  };
}

/** W2: runs of ten steps, each step's 1 KB durable before the next begins, concurrency 50. */
async function tenSteps(m: Measurement): Promise<Metrics> {
  const count = m.size('W2runs');
  const { worker, producer } = await warm(m, 'steps', 20);
  const before = m.cpu(worker, producer);
  await producer.call('submit', { prefix: 'j', count, kind: 'steps' });
  const ends = await ended(worker, 'j', count);
  const after = m.cpu(worker, producer);
  const begins = new Map(await worker.call('records', { what: 'begins', prefix: 'j' }));
  const tookMs = ends.map(([id, atMs]) => atMs - (begins.get(id) ?? NaN));
  return {
    stepsPerSecond: ((count * STEPS) / (latest(ends) - Math.min(...begins.values()))) * 1_000,
    runP50Ms: percentile(tookMs, 0.5), runP99Ms: percentile(tookMs, 0.99), ...per1000(before, after, count * STEPS),
  };
}

/** W3: twenty runs inside step 6, kill -9; another worker stands by, or is spawned then. */
async function killed(m: Measurement, standby: boolean): Promise<Metrics> {
  const how = standby ? 'standby' : 'spawned';
  if (standby && !m.standsBy) return {};
  const runs = 20;
  const logFile = join(m.dir, `w3-${how}-${nowMs()}.log`);
  const first = await m.worker({}, { logFile, stepMs: 20, holdStep: 6 });
  const producer = await m.producer();
  await producer.call('submit', { prefix: 'j', count: runs, kind: 'steps' });
  const inStep6 = (): boolean => new Set(eventsOf(logFile).filter((one) => one.event === 'step-start' && one.step === 6).map((one) => one.id)).size === runs;
  if (!(await until(inStep6, 60_000))) throw new Error('not all runs came to step 6');
  const second = (): Promise<Host> => m.worker({ recovering: true }, { logFile, stepMs: 20 });
  if (standby) await second();
  await pause(500); // its idle state
  const killedMs = nowMs();
  first.kill();
  if (!standby) await second();
  const finished = (): number => new Set(eventsOf(logFile).filter((one) => one.event === 'end').map((one) => one.id)).size;
  await until(() => finished() === runs, m.size('W3limitMs'));
  const events = eventsOf(logFile);
  const endMs = Math.max(...events.filter((one) => one.event === 'end').map((one) => one.atMs));
  return { [`${how}Ms`]: finished() === runs ? endMs - killedMs : NaN, [`${how}RunAgain`]: ranAgain(events), [`${how}Lost`]: runs - finished() };
}

interface Event { readonly atMs: number; readonly event: string; readonly id: string; readonly step: number }

function eventsOf(file: string): Event[] {
  let text = '';
  try { text = readFileSync(file, 'utf8'); } catch { /* nothing happened yet */ }
  return text.split('\n').filter(Boolean).map((line) => {
    const [atMs, , event = '', id = '', step] = line.split(' ');
    return { atMs: Number(atMs), event, id, step: Number(step) };
  });
}

/** Step bodies that had returned and ran again. */
function ranAgain(events: readonly Event[]): number {
  const done = new Set<string>();
  let again = 0;
  for (const { event, id, step } of events) {
    if (event === 'step-end') done.add(`${id}/${step}`);
    if (event === 'step-start' && done.has(`${id}/${step}`)) again++;
  }
  return again;
}

async function until(done: () => boolean, limitMs: number): Promise<boolean> {
  for (const endMs = nowMs() + limitMs; nowMs() < endMs; await pause(20)) if (done()) return true;
  return false;
}

/** W4: nothing else going on, one submit every 20 ms: from the call to the first line of the run's code. */
async function pickup(m: Measurement): Promise<Metrics> {
  const count = m.size('W4jobs');
  const { worker, producer } = await warm(m, 'noop', 50);
  await pause(1_500);
  const submitted = await producer.call('submit', { prefix: 'j', count, kind: 'noop', everyMs: 20 });
  await ended(worker, 'j', count);
  const waits = (await worker.call('records', { what: 'begins', prefix: 'j' })).map(([id, atMs]) => atMs - (submitted.atMs[id] ?? NaN));
  return { pickupP50Ms: percentile(waits, 0.5), pickupP99Ms: percentile(waits, 0.99), submitP50Ms: submitted.p50Ms, submitP99Ms: submitted.p99Ms };
}

/** W5: what a run costs that sleeps for an hour. */
async function sleepers(m: Measurement): Promise<Metrics> {
  const count = m.size('W5runs');
  const worker = await m.worker();
  const producer = await m.producer();
  // a process grows with its first thousands of runs, whatever becomes of them: that is not what is asked
  await producer.call('submit', { prefix: 'warm', count: W5_WARM_UP, kind: 'sleep', ms: 3_600_000, bulk: 500 });
  await worker.call('reached', { what: 'begins', prefix: 'warm', count: W5_WARM_UP, limitMs: 15_000 });
  await pause(500);
  const before: Record<string, number> = { ...await worker.call('memory', undefined), ...await m.serverBytes() };
  await producer.call('submit', { prefix: 'j', count, kind: 'sleep', ms: 3_600_000, bulk: 500 });
  // those that never call the user's code before the sleep is over begin none; they are given the same time
  await worker.call('reached', { what: 'begins', prefix: 'j', count, limitMs: 30_000 });
  await pause(10_000);
  const idle = m.cpu(worker, producer);
  await pause(5_000);
  const idleAfter = m.cpu(worker, producer);
  const after: Record<string, number> = { ...await worker.call('memory', undefined), ...await m.serverBytes() };
  return {
    ...Object.fromEntries(Object.entries(before).map(([store, bytes]) => [`${store}BytesPerRun`, ((after[store] ?? NaN) - bytes) / count])),
    idleWorkerCpuPercent: (idleAfter.worker - idle.worker) / 50, idleServerCpuPercent: (idleAfter.server - idle.server) / 50,
  };
}

/** W6: concurrency 10; tenant A alone, then A's jobs of 20 ms and after them twenty of tenant B. */
async function noisyNeighbour(m: Measurement): Promise<Metrics> {
  const count = m.size('W6jobs');
  const { worker, producer } = await warm(m, 'noop', 25, { concurrency: 10 }, ['A', 'B']);
  const alone = await producer.call('submit', { prefix: 'alone', count, kind: 'work', tenant: 'A', bulk: 500 });
  const aAloneMs = latest(await ended(worker, 'alone', count)) - alone.startMs;
  const a = await producer.call('submit', { prefix: 'a-', count, kind: 'work', tenant: 'A', bulk: 500 });
  const b = await producer.call('submit', { prefix: 'b-', count: 20, kind: 'work', tenant: 'B', bulk: 500 });
  await ended(worker, 'b-', 20);
  const aTotalMs = latest(await ended(worker, 'a-', count)) - a.startMs;
  const waits = (await worker.call('records', { what: 'begins', prefix: 'b-' })).map(([id, atMs]) => atMs - (b.atMs[id] ?? NaN));
  return { bWaitP50Ms: median(waits), bWaitMaxMs: Math.max(...waits), aTotalMs, aAloneMs, aTotalOverAlone: aTotalMs / aAloneMs };
}
