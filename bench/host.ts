// One process of a measurement: a worker, a producer, or what a peer runs beside them. It does what the bench tells it by
// messages and answers each; when the bench is gone it ends.
import { pause } from '../src/clock.ts';
import { loadPeer, type Job, type Place, type Producer, type Stoppable } from './peer.ts';
import { nowMs, percentile, Tasks, type TaskOptions } from './tasks.ts';
import { residentBytes } from './usage.ts';

export interface SubmitOrder { readonly prefix: string; readonly count: number; readonly kind: Job['kind']; readonly tenant?: string; /** The jobs go round so many tenants. */ readonly tenants?: number; readonly ms?: number; readonly everyMs?: number; readonly bulk?: number }
export interface SubmitAnswer { readonly startMs: number; readonly endMs: number; readonly p50Ms: number; readonly p99Ms: number; readonly atMs: Record<string, number> }

/** Single submits outstanding at a time. */
const OUTSTANDING = 50;

const [role, peerName] = process.argv.slice(2) as ['worker' | 'producer' | 'aside', string];
const peer = await loadPeer(peerName);
let tasks = new Tasks();
let producer: Producer | undefined;
let running: Stoppable | undefined;

const commands = {
  async start({ place, options }: { place: Place; options: TaskOptions }): Promise<void> {
    tasks = new Tasks(options);
    if (role === 'worker') running = await peer.startWorker(place, tasks);
    if (role === 'producer') producer = await peer.startProducer(place);
    if (role === 'aside') running = await peer.startAside?.(place);
  },
  submit,
  reached: ({ what, prefix, count, limitMs }: { what: 'begins' | 'ends'; prefix: string; count: number; limitMs: number }) => tasks.reached(what, prefix, count, limitMs),
  records: ({ what, prefix }: { what: 'begins' | 'ends'; prefix: string }) => Promise.resolve(tasks.records(what, prefix)),
  async memory(): Promise<{ worker: number; workerHeap: number }> {
    for (let i = 0; i < 3; i++) { (globalThis as { gc?: () => void }).gc?.(); await pause(100); }
    return { worker: residentBytes(process.pid), workerHeap: process.memoryUsage().heapUsed };
  },
  async stop(): Promise<void> {
    await Promise.race([Promise.all([running?.stop(), producer?.close()]), pause(5_000)]);
    setTimeout(() => process.exit(0), 50); // the answer goes out first
  },
};

/** Submits with so many calls outstanding, or one every `everyMs`, or in bulk where the peer has a call for it. */
async function submit({ prefix, count, kind, tenant, tenants, ms, everyMs = 0, bulk = 0 }: SubmitOrder): Promise<SubmitAnswer> {
  const jobs = Array.from({ length: count }, (_, i): Job => ({ id: `${prefix}${i}`, kind, tenant: tenants === undefined ? tenant : `t${i % tenants}`, ms }));
  const tookMs: number[] = [];
  const atMs: Record<string, number> = {};
  const timed = async (some: readonly Job[], call: Promise<unknown>, sentMs = nowMs()): Promise<void> => {
    for (const job of some) atMs[job.id] = sentMs;
    await call;
    tookMs.push(nowMs() - sentMs);
  };
  const target = producer as Producer;
  const one = (job: Job, sentMs = nowMs()): Promise<void> => timed([job], target.submit(job), sentMs);
  const startMs = nowMs();
  if (everyMs > 0) {
    const pending: Promise<void>[] = [];
    for (const [i, job] of jobs.entries()) {
      await pause(Math.max(0, startMs + i * everyMs - nowMs()));
      pending.push(one(job));
    }
    await Promise.all(pending);
  } else if (bulk > 0 && target.submitMany) {
    for (let i = 0; i < count; i += bulk) await timed(jobs.slice(i, i + bulk), target.submitMany(jobs.slice(i, i + bulk)));
  } else {
    const left = jobs.values();
    await Promise.all(Array.from({ length: OUTSTANDING }, async () => { for (const job of left) await one(job); }));
  }
  return { startMs, endMs: nowMs(), p50Ms: percentile(tookMs, 0.5), p99Ms: percentile(tookMs, 0.99), atMs };
}

export type Commands = typeof commands;

process.on('unhandledRejection', (error) => console.error('unhandledRejection', error));
process.on('disconnect', () => process.exit(0));
process.on('message', ({ seq, command, argument }: { seq: number; command: keyof Commands; argument: never }) => {
  commands[command](argument).then(
    (value) => process.send?.({ seq, value }),
    (error: unknown) => process.send?.({ seq, error: String(error instanceof Error ? error.stack : error) }),
  );
});
process.send?.({ ready: role });
