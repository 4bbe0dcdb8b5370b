// A claim that Postgres refused, though the ready queue handed the run out: Redis forgot or never knew who is running. It is told
// here what Postgres knows, or it would hand out the same run again at once, thousands of times a second. Only hints: whatever
// fails or is lost here maintenance finds.
import { SWEEP_MS } from '../domain/tunables.ts';
import type { Taken } from '../queue/ready-queue.ts';
import type { EnginePool } from '../store/engine/pool.ts';
import { permitHolders, refusedRun, stillRunning } from '../store/engine/permits.ts';
import { asOffer, type PoolQueue } from './offer-run.ts';

export interface Refusal {
  /** The run is running elsewhere: its slots must stay its holder's. */
  readonly keepSlot: boolean;
  /** Runs of dead workers that hold the permits it lacks: whoever takes one of them over frees the way. */
  readonly instead: readonly Taken[];
  /** It is for workers of another build, who should have their turn: this one stands back for a moment. */
  readonly standBack?: boolean;
}

const NOTHING: Refusal = { keepSlot: false, instead: [] };
/** A store was away: the slots run out by themselves, should nobody hold them. */
export const UNANSWERED: Refusal = { keepSlot: true, instead: [] };

/** A run of another build goes back into the ready queue at once: while a deploy is under way half of the workers know it. So
 *  does a run under a limit that these machines could run but for it; the ready queue learns first who holds its permits. */
export async function answerRefusal(pool: EnginePool, { ready }: PoolQueue, { tenant, run }: Taken, machines: readonly string[]): Promise<Refusal> {
  const refused = await refusedRun(pool, tenant, run, machines);
  if (!refused) return NOTHING;
  if (refused.isRunning) return { keepSlot: true, instead: [] };
  if (refused.isForeign) {
    await ready.offer(asOffer(refused));
    return { ...NOTHING, standBack: true };
  }
  if (!refused.isRunnable || (refused.cap === null && refused.limits === '')) return NOTHING;
  const holders = await permitHolders(pool, tenant, run);
  // A dead one's slot runs out by the next sweep: if nobody here can take it over, its limit is looked at once a second.
  await ready.holdSlots(tenant, holders.map(({ id, leftMs, limits }) => ({ run: id, leftMs: leftMs > 0 ? leftMs : SWEEP_MS, limits })));
  // Told, then looked: one that ended in between gave its slot back before it was told of.
  const running = await stillRunning(pool, tenant, holders.map(({ id }) => id));
  await ready.freeSlots(holders.filter(({ id }) => !running.has(id)).map(({ id, limits }) => ({ tenant, run: id, limits })));
  await ready.offer(asOffer(refused));
  return { keepSlot: false, instead: holders.filter(({ leftMs }) => leftMs === 0).map(({ id, limits }) => ({ tenant, run: id, chargedMs: 0, limits })) };
}
