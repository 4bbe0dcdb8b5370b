// How a worker hears that runs of its own are to end: Redis tells it at once, and Postgres is asked once a second for what
// Redis has not told.
import type { Redis } from 'ioredis';
import { pause } from '../clock.ts';
import { CANCEL_POLL_MS } from '../domain/tunables.ts';
import type { RedisKeys } from '../redis.ts';
import type { EnginePool } from '../store/engine/pool.ts';
import { cancelledRuns } from '../store/engine/workers.ts';
import { tellRuns, type Active } from './active-run.ts';

/** subscriber: a blocking client, which hears from now on until it is disconnected. */
export async function hearCancels(subscriber: Redis, keys: RedisKeys, active: ReadonlySet<Active>): Promise<void> {
  subscriber.on('message', (_channel, told) => tellRuns(active, told));
  await subscriber.subscribe(keys.cancelChannel);
}

/** Ends once `stopping` is aborted and the last run has gone. incarnation: undefined while the worker has no lease. */
export async function pollCancels(pool: EnginePool, incarnation: () => string | undefined, active: ReadonlySet<Active>, stopping: AbortSignal): Promise<void> {
  while (!stopping.aborted || active.size > 0) {
    await pause(CANCEL_POLL_MS, stopping.aborted ? undefined : stopping);
    const holder = incarnation();
    if (holder === undefined || active.size === 0) continue;
    const runs = await cancelledRuns(pool, holder).catch(() => []); // the next renewal says that Postgres is away
    for (const told of runs) tellRuns(active, told);
  }
}
