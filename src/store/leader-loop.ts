// A service whose work one process of the fleet does at a time, again and again until it is stopped. What a round could not do it
// finds again: a round that fails is told, and the next one comes.
import { pause } from '../clock.ts';
import { messageOf } from '../domain/errors.ts';
import type { Log } from '../log.ts';
import type { Service } from '../service.ts';
import { asLeader, type EnginePool } from './engine/pool.ts';

export interface LeaderWork {
  readonly name: string;
  readonly pool: EnginePool;
  readonly log: Log;
  /** First key of the leader's advisory lock; each kind of work has its own. */
  readonly lockClass: number;
  /** Between two rounds. */
  readonly everyMs: number;
  /** What the log says of a round that failed. */
  readonly failed: string;
  /** `signal`: the service stops; a long round ends at its next good place. */
  round(signal: AbortSignal): Promise<void>;
}

export function leaderLoop({ name, pool, log, lockClass, everyMs, failed, round }: LeaderWork): Service {
  const stopping = new AbortController();
  let loop: Promise<void> = Promise.resolve();
  const run = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      await asLeader(pool, lockClass, () => round(stopping.signal)).catch((error: unknown) => log.warn({ error: messageOf(error) }, failed));
      await pause(everyMs, stopping.signal);
    }
  };
  return {
    name,
    start: () => { loop = run(); return Promise.resolve(); },
    stop: async () => { stopping.abort(); await loop; },
  };
}
