// Wake-ups: BullMQ jobs that tell a worker of a pool that there is work. They name no run, are exchangeable, and may be lost
// or doubled freely; Postgres and the ready queue know what there is to do. Delayed jobs name a run that becomes due soon;
// they are a hint as well, its row holds the time. So nothing here ever rejects: a failed call costs a sweep of maintenance,
// not a run, and is said in the log at most once a second.
import { randomInt } from 'node:crypto';
import type { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { DELAYED_JOB_MS, HINT_SKEW_MS, QUEUE_CLOSE_MS } from '../domain/tunables.ts';
import type { Log } from '../log.ts';
import type { RedisKeys } from '../redis.ts';
import { within } from '../service.ts';
import { openQueue, sampledWarning, wakeUpKeeps, wakeUpQueueName } from './bull-queue.ts';

/** Names of the two kinds of job in the queue `wake-<pool>`; any other is a wake-up too. */
export const WAKE_UP_JOB = 'wake-up';
export const OFFER_JOB = 'offer';

/** BullMQ's scores of delayed jobs: milliseconds, each with room for so many jobs in their order. */
const SCORES_PER_MS = 0x1000;
const STRAYS_MAX = 1_000;

export interface WakeUpCounts { waiting: number; delayed: number; active: number }

export class WakeUps {
  /** BullMQ's list of waiting wake-ups: the ready queue's scripts ask for its length. */
  readonly waitKey: string;
  /** What BullMQ's idle workers wait for: whatever stands here has one of them look. */
  readonly markerKey: string;
  readonly #redis: Redis;
  readonly #queue: Queue;
  readonly #warn: (error: unknown) => void;

  /** redis: a `fast` client, left open by `close`. */
  constructor(options: { redis: Redis; keys: RedisKeys; pool: string; log: Log }) {
    this.#redis = options.redis;
    this.#queue = openQueue(wakeUpQueueName(options.pool), options.redis, options.keys, options.log);
    this.waitKey = this.#queue.toKey('wait');
    this.markerKey = this.#queue.toKey('marker');
    this.#warn = sampledWarning(options.log, 'wake-ups');
  }

  /** Adds `n` wake-ups. Never rejects. */
  async ring(n: number): Promise<void> {
    if (n <= 0) return;
    const wakeUp = { name: WAKE_UP_JOB, data: {}, opts: wakeUpKeeps };
    await (n === 1 ? this.#queue.add(wakeUp.name, wakeUp.data, wakeUp.opts) : this.#queue.addBulk(Array.from({ length: n }, () => wakeUp))).catch(this.#warn);
  }

  /**
   * Has the run offered again in `delayMs`. The job's id carries a number of its own: BullMQ silently drops a job whose id it
   * still knows, and a run may wait many times. Never rejects.
   */
  async offerLater(run: { tenant: string; run: string }, delayMs: number): Promise<void> {
    const { name, data, opts } = delayed({ ...run, delayMs });
    await this.#queue.add(name, data, opts).catch(this.#warn);
  }

  /** The same of many, in one call. Never rejects. */
  async offerManyLater(runs: readonly { tenant: string; run: string; delayMs: number }[]): Promise<void> {
    if (runs.length > 0) await this.#queue.addBulk(runs.map(delayed)).catch(this.#warn);
  }

  /**
   * Removes delayed jobs that lie further ahead than any should, and answers how many: BullMQ goes by the clock of the process that
   * delays a job, and one that stood ahead left them there. Their runs are offered when they are due. Rejects when Redis does not answer.
   */
  async dropStrays(): Promise<number> {
    const [seconds] = await this.#redis.time();
    const latestMs = Number(seconds) * 1_000 + DELAYED_JOB_MS + HINT_SKEW_MS;
    const strays = await this.#redis.zrangebyscore(this.#queue.toKey('delayed'), latestMs * SCORES_PER_MS, '+inf', 'LIMIT', 0, STRAYS_MAX);
    await Promise.all(strays.map((id) => this.#queue.remove(id)));
    return strays.length;
  }

  /** Rejects when Redis does not answer. */
  async counts(): Promise<WakeUpCounts> {
    const counts = await this.#queue.getJobCounts('wait', 'prioritized', 'delayed', 'active');
    return { waiting: (counts['wait'] ?? 0) + (counts['prioritized'] ?? 0), delayed: counts['delayed'] ?? 0, active: counts['active'] ?? 0 };
  }

  async close(): Promise<void> {
    await within(this.#queue.close(), QUEUE_CLOSE_MS);
  }
}

const delayed = ({ tenant, run, delayMs }: { tenant: string; run: string; delayMs: number }) =>
  ({ name: OFFER_JOB, data: { tenant, run }, opts: { ...wakeUpKeeps, jobId: `${run}-${randomInt(2 ** 47)}`, delay: Math.max(0, Math.ceil(delayMs)) } });
