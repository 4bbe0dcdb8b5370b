// How every BullMQ queue of ours is opened and closed. Names and options stand here once, so that producers, workers and the
// board mean the same keys. BullMQ may neither fill the log nor hang a shutdown: errors are sampled, closing has a deadline.
import { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { monoMs } from '../clock.ts';
import { messageOf } from '../domain/errors.ts';
import { INTAKE_KEPT, INTAKE_KEPT_S, QUEUE_EVENTS_KEPT, WAKE_UPS_KEPT } from '../domain/tunables.ts';
import type { Log } from '../log.ts';
import { openRedis, type RedisKeys } from '../redis.ts';

export const wakeUpQueueName = (pool: string): string => `wake-${pool}`;
export const intakeQueueName = (source: string): string => `intake-${source}`;

/** How many finished jobs are kept, and for how many seconds; BullMQ's default is all, for ever, which fills Redis. */
export interface Keeps {
  readonly removeOnComplete: { count: number; age?: number };
  readonly removeOnFail: { count: number; age?: number };
}

export const wakeUpKeeps: Keeps = { removeOnComplete: { count: WAKE_UPS_KEPT }, removeOnFail: { count: WAKE_UPS_KEPT } };
export const intakeKeeps: Keeps = {
  removeOnComplete: { count: INTAKE_KEPT, age: INTAKE_KEPT_S },
  removeOnFail: { count: INTAKE_KEPT, age: 7 * INTAKE_KEPT_S },
};

/**
 * A queue over a client of the caller's, which `close` leaves open. It asks Redis nothing while it is being made, so that a
 * process may start, and fails its calls as fast as the client does, while Redis is away.
 */
export function openQueue(name: string, redis: Redis, keys: RedisKeys, log: Log): Queue {
  const queue = new Queue(name, {
    connection: redis,
    prefix: keys.bull,
    skipVersionCheck: true,
    skipWaitingForReady: true,
    streams: { events: { maxLen: QUEUE_EVENTS_KEPT } },
  });
  queue.on('error', sampledWarning(log, `queue ${name}`));
  return queue;
}

/** A listener for error events that writes at most one line a second and counts the rest (BullMQ sent 7,700/s, measured). */
export function sampledWarning(log: Log, what: string): (error: unknown) => void {
  let nextMonoMs = 0;
  let unsaid = 0;
  return (error) => {
    if (monoMs() < nextMonoMs) { unsaid++; return; }
    nextMonoMs = monoMs() + 1_000;
    log.warn({ what, error: messageOf(error), unsaid }, 'queue error');
    unsaid = 0;
  };
}

export interface BlockingConnection {
  readonly redis: Redis;
  /** Cuts the client and every copy BullMQ made of it. */
  cut(): void;
}

/**
 * A client for a BullMQ Worker. The copies are remembered, because a Worker whose Redis is gone never lets go of its own
 * (taskforcesh/bullmq#4656) and an open socket keeps the process alive.
 */
export function openBlockingConnection(url: string, log: Log): BlockingConnection {
  const redis = openRedis(url, 'blocking', log);
  const clients = [redis];
  const duplicate = redis.duplicate.bind(redis);
  redis.duplicate = (override) => {
    const copy = duplicate(override);
    clients.push(copy);
    return copy;
  };
  return { redis, cut: () => clients.forEach(cutForGood) };
}

/** A loop of BullMQ's that is still winding down would connect again, and with our retries keep the process alive for ever. */
function cutForGood(client: Redis): void {
  client.options.retryStrategy = () => null;
  client.connect = () => Promise.reject(new Error('Connection is closed.'));
  if (client.status !== 'end') client.disconnect(); // a second time would only leave a timer behind
}
