// One BullMQ Worker as a service. It starts and stops by the common contract: `stop` takes no more jobs, tells those in hand,
// waits for them up to a deadline, and then cuts the connections, because BullMQ's own close hangs while Redis is away.
// BullMQ decides nothing here: jobs may come twice, and its errors are said at most once a second.
import { Worker, type Job } from 'bullmq';
import type { Log } from '../log.ts';
import type { RedisKeys } from '../redis.ts';
import type { Service } from '../service.ts';
import { openBlockingConnection, sampledWarning, within, type BlockingConnection, type Keeps } from './bull-queue.ts';

export interface BullWorkerOptions {
  readonly queue: string;
  readonly url: string;
  readonly keys: RedisKeys;
  readonly concurrency: number;
  readonly log: Log;
  /** Longest that `stop` waits for jobs in hand. */
  readonly drainMs: number;
}

export interface InHand {
  readonly job: Job;
  readonly token: string | undefined;
  /** Aborts when the worker stops. */
  readonly signal: AbortSignal;
  /** Says an error in the log, sampled. */
  warn(error: unknown): void;
}

export function makeBullWorker(options: BullWorkerOptions, keeps: Keeps, answer: (inHand: InHand) => Promise<unknown>): Service {
  const stopping = new AbortController();
  const warn = sampledWarning(options.log, `worker of ${options.queue}`);
  let open: { worker: Worker; connection: BlockingConnection } | undefined;
  return {
    name: `worker of ${options.queue}`,
    async start() {
      const connection = openBlockingConnection(options.url, options.log);
      const worker = new Worker(options.queue, (job, token) => answer({ job, token, signal: stopping.signal, warn }), {
        connection: connection.redis,
        prefix: options.keys.bull,
        concurrency: options.concurrency,
        skipVersionCheck: true,
        // A stall is the crash of a worker and says nothing about the job: Postgres counts what counts.
        maxStalledCount: Number.MAX_SAFE_INTEGER,
        ...keeps,
      });
      worker.on('error', (error) => { if (!stopping.signal.aborted) warn(error); });
      open = { worker, connection };
    },
    async stop() {
      stopping.abort();
      if (!open) return;
      const { worker, connection } = open;
      open = undefined;
      const clean = await within(worker.close(), options.drainMs);
      if (!clean) options.log.warn({ queue: options.queue, drainMs: options.drainMs }, 'jobs did not end in time, connections are cut');
      connection.cut();
    },
  };
}
