// Runs submitted by SQL are offered as soon as their transaction commits: Postgres tells, on a connection of its own. Only a
// hint: what is not heard (a restart, a lost connection) the sweep finds within a second.
import type pg from 'pg';
import { pause } from '../clock.ts';
import { messageOf } from '../domain/errors.ts';
import type { Log } from '../log.ts';
import type { Service } from '../service.ts';
import type { EnginePool } from '../store/engine/pool.ts';
import { readyRun } from '../store/engine/sweeps.ts';
import type { Dispatcher } from './offer-run.ts';

export const SUBMITTED_CHANNEL = 'mainstay_submitted';
/** After a lost connection the ear is back after this; the sweep stands in meanwhile. */
const RECONNECT_MS = 2_000;

export function hearSubmissions({ pool, dispatcher, log }: { readonly pool: EnginePool; readonly dispatcher: Dispatcher; readonly log: Log }): Service {
  const stopping = new AbortController();
  let client: pg.PoolClient | undefined;
  let loop: Promise<void> = Promise.resolve();
  const offer = async (payload: string): Promise<void> => {
    const [tenant, run] = JSON.parse(payload) as [string, string];
    const ready = await readyRun(pool, tenant, run);
    if (ready) await dispatcher.offer(ready, ready.dueInMs);
  };
  const listen = async (): Promise<void> => {
    const own = client = await pool.connect();
    const lost = new Promise<void>((resolve) => { own.once('end', resolve); own.once('error', () => resolve()); });
    own.on('notification', ({ payload }) => { void offer(payload ?? '').catch((error: unknown) => log.debug({ error: messageOf(error) }, 'not offered: the sweep will')); });
    await own.query(`LISTEN ${SUBMITTED_CHANNEL}`);
    await Promise.race([lost, new Promise<void>((resolve) => stopping.signal.addEventListener('abort', () => resolve(), { once: true }))]);
    own.release(true); // a connection that listens is of no use to anybody else
  };
  return {
    name: 'hear-submissions',
    start: () => {
      loop = (async () => {
        while (!stopping.signal.aborted) {
          await listen().catch((error: unknown) => log.warn({ error: messageOf(error) }, 'submissions by SQL are not heard: the sweep finds them'));
          await pause(RECONNECT_MS, stopping.signal);
        }
      })();
      return Promise.resolve();
    },
    stop: async () => { stopping.abort(); await loop; client = undefined; },
  };
}
