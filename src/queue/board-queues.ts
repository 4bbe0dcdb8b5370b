// The BullMQ queues the Bull Board shows: wake-ups of each pool and the intake of each source. Only src/queue/ makes BullMQ
// objects; src/api/ puts these behind a login. What a person can press on them is harmless: a retried wake-up is one more
// wake-up, a retried intake job is the same run again by its idempotency key.
import type { Queue } from 'bullmq';
import type { Redis } from 'ioredis';
import { QUEUE_CLOSE_MS } from '../domain/tunables.ts';
import type { Log } from '../log.ts';
import type { RedisKeys } from '../redis.ts';
import { within } from '../service.ts';
import { intakeQueueName, openQueue, wakeUpQueueName } from './bull-queue.ts';

export interface BoardQueues {
  readonly queues: readonly Queue[];
  close(): Promise<void>;
}

/** redis: a `fast` client, left open by `close`. */
export function boardQueues(options: { redis: Redis; keys: RedisKeys; pools: readonly string[]; sources: readonly string[]; log: Log }): BoardQueues {
  const names = [...options.pools.map(wakeUpQueueName), ...options.sources.map(intakeQueueName)];
  const queues = names.map((name) => openQueue(name, options.redis, options.keys, options.log));
  return {
    queues,
    close: async () => { await Promise.all(queues.map((queue) => within(queue.close(), QUEUE_CLOSE_MS))); },
  };
}
