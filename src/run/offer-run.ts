// Offers a run to the ready queue of its pool, or leaves word for later. Only a hint: never rejects, and whatever is lost
// here maintenance finds in Postgres.
import { DELAYED_JOB_MS } from '../domain/tunables.ts';
import { messageOf } from '../domain/errors.ts';
import type { Log } from '../log.ts';
import { orderOf, type Offer, type ReadyQueue } from '../queue/ready-queue.ts';
import type { WakeUps } from '../queue/wake-ups.ts';
import type { Ready } from '../store/engine/sweeps.ts';

export interface PoolQueue { readonly ready: ReadyQueue; readonly wakeUps: WakeUps }

export const asOffer = (run: Ready): Offer => ({ tenant: run.tenant, run: run.id, order: orderOf(run.priority, run.createdMs), weight: run.weight, cap: run.cap ?? undefined, limits: run.limits });

export class Dispatcher {
  readonly #queues: ReadonlyMap<string, PoolQueue>;
  readonly #log: Log;

  constructor(queues: ReadonlyMap<string, PoolQueue>, log: Log) {
    this.#queues = queues;
    this.#log = log;
  }

  async offer(run: Ready, dueInMs: number): Promise<void> {
    const queue = this.#queues.get(run.pool);
    if (!queue) return;
    try {
      if (dueInMs <= 0) await queue.ready.offer(asOffer(run));
      else if (dueInMs <= DELAYED_JOB_MS) await queue.wakeUps.offerLater({ tenant: run.tenant, run: run.id }, dueInMs);
    } catch (error) {
      this.#log.debug({ run: run.id, error: messageOf(error) }, 'not offered: maintenance will');
    }
  }

  /** Many at once, in few calls of Redis. */
  async offerMany(runs: readonly (Ready & { readonly dueInMs: number })[]): Promise<void> {
    for (const [pool, some] of Map.groupBy(runs, (run) => run.pool)) {
      const queue = this.#queues.get(pool);
      if (!queue) continue;
      try {
        await queue.ready.offerMany(some.filter(({ dueInMs }) => dueInMs <= 0).map(asOffer));
        await queue.wakeUps.offerManyLater(some.filter(({ dueInMs }) => dueInMs > 0 && dueInMs <= DELAYED_JOB_MS).map(({ tenant, id, dueInMs }) => ({ tenant, run: id, delayMs: dueInMs })));
      } catch (error) {
        this.#log.debug({ runs: some.length, error: messageOf(error) }, 'not offered: maintenance will');
      }
    }
  }

  async withdraw(pool: string, tenant: string, run: string): Promise<void> {
    await this.#queues.get(pool)?.ready.remove(tenant, run).catch(() => undefined); // a refused claim does the same
  }
}
