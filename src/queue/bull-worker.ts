// One BullMQ Worker as a service. It starts and stops by the common contract: `stop` takes no more jobs, tells those in hand,
// waits for them up to a deadline, and then cuts the connections, because BullMQ's own close hangs while Redis is away.
// BullMQ decides nothing here: jobs may come twice, and its errors are said at most once a second.
import { Worker, type Job, type WorkerOptions } from 'bullmq';
import { pause } from '../clock.ts';
import { FULL_REST_MS, QUEUE_CLOSE_MS, REDIS_BLOCK_S, REDIS_RETRY_MS } from '../domain/tunables.ts';
import type { Log } from '../log.ts';
import type { RedisKeys } from '../redis.ts';
import { within, type Service } from '../service.ts';
import { openBlockingConnection, sampledWarning, type BlockingConnection, type Keeps } from './bull-queue.ts';

export interface BullWorkerOptions {
  readonly queue: string;
  readonly url: string;
  readonly keys: RedisKeys;
  readonly concurrency: number;
  readonly log: Log;
  /** Longest that `stop` waits for jobs in hand. */
  readonly drainMs: number;
  /** Called before BullMQ is asked for a job, which waits for it: what needs no job can be begun. Must not reject. */
  readonly beforeFetch?: () => Promise<void>;
}

export interface InHand {
  readonly job: Job;
  readonly token: string | undefined;
  /** Aborts when the worker stops. */
  readonly signal: AbortSignal;
  /** Says an error in the log, sampled. */
  warn(error: unknown): void;
}

/** BullMQ blocks for up to 10 s while a delayed job lies further away than that, and its option for the block is of the empty queue only. */
class PromptWorker extends Worker {
  readonly #beforeFetch: BullWorkerOptions['beforeFetch'];

  constructor(name: string, answer: (job: Job, token?: string) => Promise<unknown>, beforeFetch: BullWorkerOptions['beforeFetch'], options: WorkerOptions) {
    super(name, answer, { ...options, autorun: false });
    this.#beforeFetch = beforeFetch;
  }

  override get maximumBlockTimeout(): number { return REDIS_BLOCK_S; }

  protected override async moveToActive(token: string, name?: string): Promise<Job> {
    await this.#beforeFetch?.();
    return super.moveToActive(token, name);
  }
}

export function makeBullWorker(options: BullWorkerOptions, keeps: Keeps, answer: (inHand: InHand) => Promise<unknown>): Service {
  const stopping = new AbortController();
  const warn = sampledWarning(options.log, `worker of ${options.queue}`);
  const answers = new Set<Promise<unknown>>();
  const tracked = (inHand: InHand): Promise<unknown> => {
    const given = answer(inHand);
    answers.add(given);
    return given.finally(() => answers.delete(given));
  };
  let open: { worker: Worker; connection: BlockingConnection } | undefined;
  return {
    name: `worker of ${options.queue}`,
    async start() {
      const connection = openBlockingConnection(options.url, options.log);
      const worker = new PromptWorker(options.queue, (job, token) => tracked({ job, token, signal: stopping.signal, warn }), options.beforeFetch, {
        connection: connection.redis,
        prefix: options.keys.bull,
        concurrency: options.concurrency,
        // A stall is the crash of a worker and says nothing about the job: Postgres counts what counts.
        maxStalledCount: Number.MAX_SAFE_INTEGER,
        drainDelay: REDIS_BLOCK_S,
        runRetryDelay: REDIS_RETRY_MS,
        ...keeps,
      });
      const rest = restWhileFull(worker, stopping.signal);
      worker.on('error', (error) => {
        if (stopping.signal.aborted) return;
        warn(error);
        if (/\bOOM\b/.test(error.message)) rest();
      });
      void worker.run().catch((error: unknown) => worker.emit('error', error as Error));
      open = { worker, connection };
      // A worker closed in the turn it began to run starts its lock timer afterwards and never ends it.
      await new Promise((resolve) => { setImmediate(resolve); });
    },
    async stop() {
      stopping.abort();
      if (!open) return;
      const { worker, connection } = open;
      open = undefined;
      await endWorker(worker, answers, options);
      connection.cut();
    },
  };
}

/** A full Redis refuses at once, and BullMQ would ask again at once: some thousand times a second. It fetches nothing for a while. */
function restWhileFull(worker: Worker, stopping: AbortSignal): () => void {
  let rests = false;
  return () => {
    if (rests) return;
    rests = true;
    void worker.pause(true).catch(() => undefined) // asks Redis nothing: it marks the worker
      .then(() => pause(FULL_REST_MS, stopping))
      .then(async () => { rests = false; if (!stopping.aborted) await worker.resume(); })
      .catch(() => undefined); // BullMQ says its errors by the event above
  };
}

/**
 * Ends a worker in bounded time: no new jobs, the answers in hand until the drain deadline, BullMQ's acknowledgements for
 * a moment more. Only a pause can be given up and followed by a forced close; a plain close cannot.
 */
async function endWorker(worker: Worker, answers: ReadonlySet<Promise<unknown>>, options: BullWorkerOptions): Promise<void> {
  const acknowledged = worker.pause().catch(() => undefined); // cut connections may fail it when nobody waits any more
  const answered = await within(Promise.allSettled(answers), options.drainMs);
  if (!answered) options.log.warn({ queue: options.queue, drainMs: options.drainMs, inHand: answers.size }, 'jobs did not end in time, connections are cut');
  const clean = answered && (await within(acknowledged, Math.min(options.drainMs, QUEUE_CLOSE_MS)));
  await within(worker.close(!clean), QUEUE_CLOSE_MS);
}
