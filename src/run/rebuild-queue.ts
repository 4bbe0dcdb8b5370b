// Fills the ready queue of a pool from Postgres: maintenance does it every second with what was lost, and whole after a wipe;
// an operator does it by `mainstay rebuild queue`. Safe while workers run: what they take meanwhile is decided by the claim,
// a run already held keeps its place, and of two rebuilds at once the later one counts.
import { pause } from '../clock.ts';
import { CLAIMED_WITHIN_MS, READY_OFFER_MAX, SWEEP_PAGES } from '../domain/tunables.ts';
import type { EnginePool } from '../store/engine/pool.ts';
import { runningSlots } from '../store/engine/running-slots.ts';
import { abandonedRuns, duePage, FIRST_DUE, latestDue, stillDue, type Ready } from '../store/engine/sweeps.ts';
import { asOffer, type PoolQueue } from './offer-run.ts';

export interface Rebuilt {
  readonly pool: string;
  /** Runs the ready queue held before. */
  readonly heldBefore: number;
  /** Due runs that Postgres had for it. */
  readonly offered: number;
  /** Running runs under a limit, whose slots it was told. */
  readonly slots: number;
  /** False: another rebuild, or a wipe of Redis, came between; that one or the next sweep of maintenance completes it. */
  readonly isKnown: boolean;
}

type Place = typeof FIRST_DUE;

/** What a sweep offers: runs of dead workers, those that became due last, and so much of the backlog from `after` on, which a long one
 *  is not read whole every second. Answers how many runs the ready queue did not hold, and where the next sweep goes on. */
export async function offerSomeDue(pool: EnginePool, name: string, queue: PoolQueue, after: Place): Promise<{ readonly found: number; readonly after: Place }> {
  const lost: Ready[] = [];
  const look = async (runs: readonly Ready[]): Promise<number> => {
    const missed = await queue.ready.offerHeld(runs.map(asOffer));
    lost.push(...runs.filter(({ id }) => missed.has(id)));
    return 0;
  };
  await look(await latestDue(pool, name, READY_OFFER_MAX));
  const rest = await offerDue(pool, name, queue, after, SWEEP_PAGES, look);
  if (lost.length === 0) return rest;
  // Or taken since Postgres was asked: each of these, offered again, would be claimed for nothing.
  await pause(CLAIMED_WITHIN_MS);
  return { found: rest.found + await offerAll(queue, await stillDue(pool, lost)), after: rest.after };
}

/** Offers runs of dead workers, then at most so many pages of what is due; `after` begins anew once all is read. */
async function offerDue(pool: EnginePool, name: string, queue: PoolQueue, after: Place, pages: number, offer: (runs: readonly Ready[]) => Promise<number>, signal?: AbortSignal): Promise<{ readonly found: number; readonly after: Place }> {
  let found = await offerAll(queue, await abandonedRuns(pool, name));
  for (let read = 0; read < pages && !signal?.aborted; read++) {
    const page = await duePage(pool, name, after, READY_OFFER_MAX);
    found += await offer(page);
    const last = page.at(-1);
    if (!last || page.length < READY_OFFER_MAX) return { found, after: FIRST_DUE };
    after = last;
  }
  return { found, after };
}

const offerAll = ({ ready }: PoolQueue, runs: readonly Ready[]): Promise<number> => ready.offerMany(runs.map(asOffer));

/** Slots first, then runs, then the mark that says it is whole. Rejects when Redis or Postgres does not answer. */
export async function fillQueue(pool: EnginePool, name: string, queue: PoolQueue, signal?: AbortSignal): Promise<Pick<Rebuilt, 'offered' | 'slots' | 'isKnown'>> {
  let [offered, slots] = [0, 0];
  const isKnown = await queue.ready.rebuild(async () => {
    const running = Map.groupBy(await runningSlots(pool, name), ({ tenant }) => tenant);
    for (const [tenant, held] of running) {
      await queue.ready.holdSlots(tenant, held);
      slots += held.length;
    }
    offered = (await offerDue(pool, name, queue, FIRST_DUE, Infinity, (runs) => offerAll(queue, runs), signal)).found;
  });
  await queue.ready.ring();
  return { offered, slots, isKnown };
}

/** Drops what the ready queue holds, then fills it again. */
export async function rebuildQueue(pool: EnginePool, name: string, queue: PoolQueue): Promise<Rebuilt> {
  const { held: heldBefore } = await queue.ready.depth();
  await queue.ready.wipe();
  return { pool: name, heldBefore, ...(await fillQueue(pool, name, queue)) };
}
