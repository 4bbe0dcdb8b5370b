// What a peer is to the bench: one module that starts its worker and its producer and runs the user's code (`Tasks`) through
// its own durable primitives. Ours is bench/mainstay.ts; the others are bench/peers/*.mjs, whose packages are installed there
// on first use. A peer must keep the meaning of `Durable` and `Producer`: a promise resolves only once the thing is durable.
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Tasks } from './tasks.ts';

export const WORKLOADS = ['W1', 'W2', 'W3', 'W4', 'W5', 'W6'] as const;
export type Workload = (typeof WORKLOADS)[number];

export interface Job {
  readonly id: string;
  readonly kind: 'noop' | 'steps' | 'sleep' | 'work';
  readonly tenant?: string | undefined;
  /** Of a `sleep`, and of `work`: 20 unless told. */
  readonly ms?: number | undefined;
}

export interface Durable {
  /** Calls `body` unless step `k` of this run is recorded, and resolves once its result is. */
  step(k: number, body: () => Promise<unknown>): Promise<unknown>;
  sleep(ms: number): Promise<unknown>;
}

/** What a peer's processes are told; it crosses a process boundary as JSON. */
export interface Place {
  readonly workload: Workload;
  /** For files of this measurement. */
  readonly dir: string;
  readonly redisUrl: string;
  /** A database of its own, empty unless `prepare` filled it. */
  readonly databaseUrl: string;
  readonly concurrency: number;
  /** The variant's options. */
  readonly options: Readonly<Record<string, unknown>>;
  /** What `prepare` added. */
  readonly more: Readonly<Record<string, unknown>>;
  /** The second worker of W3. */
  readonly recovering: boolean;
}

export interface Servers {
  readonly dir: string;
  readonly redisUrl: string;
  readonly redisPid: number;
  readonly postgresPid: number;
  /** A database of its own, all others of the bench dropped; `migrated`: with our schema. */
  freshDatabase(options?: { migrated?: boolean; synchronousCommit?: boolean }): Promise<string>;
  freshRedis(): Promise<void>;
}

export interface Prepared {
  readonly databaseUrl?: string;
  readonly more?: Readonly<Record<string, unknown>>;
  /** Processes whose CPU time is the server's. */
  readonly serverPids: readonly number[];
  /** Starts a third process, `startAside`, which counts as server. */
  readonly aside?: boolean;
  stop?(): Promise<void>;
}

export interface Variant {
  readonly options: Readonly<Record<string, unknown>>;
  /** Other sizes for what is too slow for the usual ones. */
  readonly sizes?: Readonly<Partial<Record<SizeName, number>>>;
  /** False: two workers of it cannot be up at once here. */
  readonly standsBy?: boolean;
}

/** Resolves once the job is accepted durably. */
export interface Producer { submit(job: Job): Promise<unknown>; submitMany?(jobs: readonly Job[]): Promise<unknown>; close(): Promise<unknown> }
export interface Stoppable { stop(): Promise<unknown> }

export interface Peer {
  readonly variants: Readonly<Record<string, Variant>>;
  /** The variant that is meant when none is named. */
  readonly usual: string;
  /** Flags of node that its processes have in production. */
  readonly nodeFlags?: readonly string[];
  prepare(servers: Servers, options: Readonly<Record<string, unknown>>, workload: Workload): Promise<Prepared>;
  startWorker(place: Place, tasks: Tasks): Promise<Stoppable>;
  startProducer(place: Place): Promise<Producer>;
  startAside?(place: Place): Promise<Stoppable>;
  /** Bytes the peer's servers hold, by store. */
  serverBytes(place: Place): Promise<Record<string, number>>;
}

/** Tenants whose weight is not 1, where a peer knows weights: W6 measures what they get. */
export const WEIGHTS = { heavy: 3 };

/** How much of each workload; `--set name=number` overrides. */
export const SIZES = { W1jobs: 5_000, W2runs: 500, W3limitMs: 120_000, W4jobs: 200, W5runs: 10_000, W6jobs: 2_000, W6longRuns: 60, A1turns: 2_000 };
export type SizeName = keyof typeof SIZES;

/** `mainstay@DIR` is the product of another checkout, to measure a change beside what was before. */
export async function loadPeer(name: string): Promise<Peer> {
  const [ours, dir] = name.split('@');
  if (ours !== 'mainstay') return (await import(`./peers/${name}.mjs`)) as Peer;
  return (await import(dir === undefined ? './mainstay.ts' : pathToFileURL(resolve(dir, 'bench/mainstay.ts')).href)) as Peer;
}
