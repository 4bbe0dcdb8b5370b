// What several workloads begin and end with: a warm worker and its producer, and the wait until all of a kind have ended.
import { pause } from '../src/clock.ts';
import type { Host, Measurement } from './measurement.ts';
import type { Job, Place } from './peer.ts';

export type Metrics = Record<string, number>;

const LIMIT_MS = 180_000;

export async function warm(m: Measurement, kind: Job['kind'], count: number, change: Partial<Place> = {}, tenants: readonly string[] = []): Promise<{ worker: Host; producer: Host }> {
  const worker = await m.worker(change);
  const producer = await m.producer();
  const prefixes = (tenants.length > 0 ? tenants : [undefined]).map((tenant) => ({ prefix: `warm-${tenant ?? ''}-`, tenant }));
  for (const { prefix, tenant } of prefixes) await producer.call('submit', { prefix, count, kind, ...(tenant === undefined ? {} : { tenant }) });
  if (!(await worker.call('reached', { what: 'ends', prefix: 'warm-', count: count * prefixes.length, limitMs: 60_000 }))) throw new Error('the warm-up did not finish');
  await pause(300);
  return { worker, producer };
}

export const latest = (records: readonly (readonly [string, number])[]): number => records.reduce((most, [, atMs]) => Math.max(most, atMs), 0);

export async function ended(worker: Host, prefix: string, count: number): Promise<[string, number][]> {
  const all = await worker.call('reached', { what: 'ends', prefix, count, limitMs: LIMIT_MS });
  const ends = await worker.call('records', { what: 'ends', prefix });
  if (!all) throw new Error(`only ${ends.length} of ${count} ended`);
  return ends;
}
