// Runs submitted by SQL are offered as soon as their transaction commits: Postgres tells, on a connection of its own. Only a
// hint: what is not heard (a restart, a lost connection) the sweep finds within a second.
import { pause } from '../clock.ts';
import { messageOf } from '../domain/errors.ts';
import type { Log } from '../log.ts';
import type { Service } from '../service.ts';
import type { EnginePool } from '../store/engine/pool.ts';
import { listenForSubmissions } from '../store/engine/submit-sql.ts';
import { readyRun } from '../store/engine/sweeps.ts';
import type { Dispatcher } from './offer-run.ts';

/** After a lost connection the ear is back after this; the sweep stands in meanwhile. */
const RECONNECT_MS = 2_000;

export function hearSubmissions({ pool, dispatcher, log }: { readonly pool: EnginePool; readonly dispatcher: Dispatcher; readonly log: Log }): Service {
  const stopping = new AbortController();
  let loop: Promise<void> = Promise.resolve();
  const offer = async (tenant: string, run: string): Promise<void> => {
    const ready = await readyRun(pool, tenant, run);
    if (ready) await dispatcher.offer(ready, ready.dueInMs);
  };
  const heard = (tenant: string, run: string): void => {
    void offer(tenant, run).catch((error: unknown) => log.debug({ error: messageOf(error) }, 'not offered: the sweep will'));
  };
  return {
    name: 'hear-submissions',
    start: () => {
      loop = (async () => {
        while (!stopping.signal.aborted) {
          await listenForSubmissions(pool, heard, stopping.signal)
            .catch((error: unknown) => log.warn({ error: messageOf(error) }, 'submissions by SQL are not heard: the sweep finds them'));
          await pause(RECONNECT_MS, stopping.signal);
        }
      })();
      return Promise.resolve();
    },
    stop: async () => { stopping.abort(); await loop; },
  };
}
