// Commit, then look: what a run that was left has made ready is offered at once, itself, the next of its session or the run that
// spawned it. Only hints: maintenance finds the same in Postgres.
import { isTerminal } from '../domain/status.ts';
import type { ClaimedRun } from '../store/engine/claim.ts';
import type { Engine } from '../store/engine/engine.ts';
import { readyRun, sessionHead } from '../store/engine/sweeps.ts';
import type { Dispatcher } from './offer-run.ts';

/** A run that is to move later than this from now is offered by maintenance when its time has come. */
const SOON_MS = 60_000;

/** `wakeInMs` null: no time wakes the run. Rejects when a store does not answer. */
export async function offerFollowUps({ engine, dispatcher }: { readonly engine: Engine; readonly dispatcher: Dispatcher }, run: ClaimedRun, status: string, wakeInMs: number | null): Promise<void> {
  const { pool } = engine;
  if (status === 'queued' || status === 'waiting') {
    const ready = wakeInMs !== null && wakeInMs < SOON_MS ? await readyRun(pool, run.tenant, run.id) : undefined;
    if (ready) await dispatcher.offer(ready, ready.dueInMs);
  } else if (isTerminal(status as never)) {
    const head = run.session !== null && run.user !== null ? await sessionHead(pool, run.tenant, run.user, run.session) : undefined;
    if (head) await dispatcher.offer(head, head.dueInMs);
    const parent = run.parent !== null && run.parentPath !== null && await engine.wakeIfAnswered(run.tenant, run.parent) ? await readyRun(pool, run.tenant, run.parent) : undefined;
    if (parent) await dispatcher.offer(parent, parent.dueInMs);
  }
}
