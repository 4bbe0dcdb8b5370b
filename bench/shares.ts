// W6, the shares: who gets how much of a worker's ten places while all of them have runs waiting. Shares are of slot time, from
// first line to end of the runs, between the last submit and the last begin of whoever runs dry first. First in, first out
// gives all to who came first.
import { pause } from '../src/clock.ts';
import type { Host, Measurement } from './measurement.ts';
import { WEIGHTS } from './peer.ts';
import { ended, latest, warm, type Metrics } from './work.ts';

const WORK_MS = 20;
const LONG_MS = 2_000;
const JAIN_TENANTS = 100;
const JAIN_RUNS_EACH = 20;
const MANY_TENANTS = 1_000;

interface Span { readonly fromMs: number; readonly toMs: number }

async function spansOf(worker: Host, prefix: string): Promise<Span[]> {
  const ends = new Map(await worker.call('records', { what: 'ends', prefix }));
  return (await worker.call('records', { what: 'begins', prefix })).map(([id, fromMs]) => ({ fromMs, toMs: ends.get(id) ?? Infinity }));
}

/** Share of the first in the slot time of both, while both had runs waiting. */
async function shareOf(worker: Host, first: string, second: string, submittedMs: number): Promise<number> {
  const [one, two] = [await spansOf(worker, first), await spansOf(worker, second)];
  const overMs = Math.min(...[one, two].map((spans) => Math.max(...spans.map(({ fromMs }) => fromMs))));
  const slotMs = (spans: readonly Span[]): number => spans.reduce((sum, { fromMs, toMs }) => sum + Math.max(0, Math.min(toMs, overMs) - Math.max(fromMs, submittedMs)), 0);
  return slotMs(one) / (slotMs(one) + slotMs(two));
}

/** Weights 3 : 1, the heavy one first in line: three quarters are its due. */
async function weighted(m: Measurement): Promise<Metrics> {
  const { worker, producer } = await warm(m, 'noop', 25, { concurrency: 10 }, ['heavy', 'light']);
  const count = m.size('W6jobs');
  await producer.call('submit', { prefix: 'h-', count, kind: 'work', tenant: 'heavy', bulk: 500 });
  const { endMs } = await producer.call('submit', { prefix: 'l-', count: count / 2, kind: 'work', tenant: 'light', bulk: 500 });
  await ended(worker, 'h-', count);
  await ended(worker, 'l-', count / 2);
  const share = await shareOf(worker, 'h-', 'l-', endMs);
  return { heavyShare: share, heavyOverDue: (share / (1 - share)) / WEIGHTS.heavy };
}

/** Runs of two seconds against runs of 20 ms, equal weights: half of the time is each one's due. */
async function longAndShort(m: Measurement): Promise<Metrics> {
  const { worker, producer } = await warm(m, 'noop', 25, { concurrency: 10 }, ['A', 'B']);
  const long = m.size('W6longRuns');
  const short = (long * LONG_MS) / WORK_MS;
  await producer.call('submit', { prefix: 'long-', count: long, kind: 'work', tenant: 'A', ms: LONG_MS, bulk: 500 });
  const { endMs } = await producer.call('submit', { prefix: 'short-', count: short, kind: 'work', tenant: 'B', bulk: 500 });
  await ended(worker, 'long-', long);
  await ended(worker, 'short-', short);
  return { longShare: await shareOf(worker, 'long-', 'short-', endMs) };
}

/** A hundred tenants one after the other in line while no worker is there: Jain's index of what each has got when half of all is done.
 *  One was there before: some peers take nothing until a worker has told them what there is. */
async function evenly(m: Measurement): Promise<Metrics> {
  const { worker: first, producer } = await warm(m, 'noop', 25, { concurrency: 10 });
  await first.end();
  for (let t = 0; t < JAIN_TENANTS; t++) await producer.call('submit', { prefix: `j${t}-`, count: JAIN_RUNS_EACH, kind: 'work', tenant: `j${t}`, bulk: 500 });
  const worker = await m.worker({ concurrency: 10, recovering: true });
  const all = await ended(worker, 'j', JAIN_TENANTS * JAIN_RUNS_EACH);
  const early = all.toSorted(([, a], [, b]) => a - b).slice(0, all.length / 2);
  const got = Array.from({ length: JAIN_TENANTS }, (_, t) => early.filter(([id]) => id.startsWith(`j${t}-`)).length);
  return { jainOf100: got.reduce((sum, n) => sum + n, 0) ** 2 / (JAIN_TENANTS * got.reduce((sum, n) => sum + n * n, 0)) };
}

/** A tenant that worked, then was idle, comes back to one with a backlog: half is its due from then on, no more. */
async function cameBack(m: Measurement): Promise<Metrics> {
  const { worker, producer } = await warm(m, 'noop', 25, { concurrency: 10 }, ['A', 'B']);
  const count = m.size('W6jobs');
  await producer.call('submit', { prefix: 'a-', count, kind: 'work', tenant: 'A', bulk: 500 });
  await pause(1_000);
  const { endMs } = await producer.call('submit', { prefix: 'b-', count: count / 5, kind: 'work', tenant: 'B', bulk: 500 });
  await ended(worker, 'b-', count / 5);
  await ended(worker, 'a-', count);
  return { backShare: await shareOf(worker, 'b-', 'a-', endMs) };
}

/** Empty runs of one tenant, then of a thousand. */
async function manyTenants(m: Measurement): Promise<Metrics> {
  const { worker, producer } = await warm(m, 'noop', 200);
  const count = m.size('W6jobs');
  const perSecond = async (prefix: string, tenants: number): Promise<number> => {
    const { startMs } = await producer.call('submit', { prefix, count, kind: 'noop', tenants, bulk: 500 });
    return (count / (latest(await ended(worker, prefix, count)) - startMs)) * 1_000;
  };
  const [one, many] = [await perSecond('one-', 1), await perSecond('many-', MANY_TENANTS)];
  return { oneTenantPerSecond: one, thousandTenantsPerSecond: many, thousandOverOne: many / one };
}

export const SHARES = [weighted, longAndShort, evenly, cameBack, manyTenants];
