// Cancel a run and all it spawned: the one use case behind every door. The mark is committed first, with a line of who asked;
// what nobody is running ends with it. Then workers are told, places in the ready queue are given up and what may go on is
// offered: only hints, since a lease renewal, a claim and maintenance find the same. It answers with the effects whose end
// nobody knows: a cancel stops a run, it does not undo a call that was under way.
import { messageOf } from '../domain/errors.ts';
import type { AgentRun } from '../store/read-runs.ts';
import { cancelRun, type Cancelled } from '../store/engine/control.ts';
import { unsettledCalls, type OpenCall } from '../store/engine/outcomes.ts';
import { auditedRun, hasEnded, noSuchRun, offerHead, offerRun, targetOf, type ControlDeps, type ControlRequest } from './control.ts';

/** Resolves once the mark is committed, with the run's effects of unknown end. Throws `not_found`, also for a run out of scope, and `run_finished`. */
export type CancelRun = (request: ControlRequest) => Promise<{ readonly unsettled: readonly OpenCall[] }>;

export function makeCancelRun(deps: ControlDeps): CancelRun {
  return async (request) => {
    const run = await auditedRun(deps, request, 'run.cancelled', ({ finishedAt, status }) => { if (finishedAt !== null) throw hasEnded(status); });
    const answer = await cancelRun(deps.engine.pool, targetOf(request));
    if (!answer) throw noSuchRun();
    if (answer.already) throw hasEnded(answer.status);
    await tell(deps, run, answer.runs);
    return { unsettled: await unsettledCalls(deps.engine.pool, run.tenantId, run.id) };
  };
}

/** Never rejects. */
async function tell(deps: ControlDeps, run: AgentRun, cancelled: Cancelled['runs']): Promise<void> {
  const { redis, keys, dispatcher, log } = deps;
  try {
    for (const one of cancelled) {
      if (one.ended) await dispatcher.withdraw(one.pool, run.tenantId, one.id);
      else await redis.publish(keys.cancelChannel, one.id); // its worker is told now, or by its next lease renewal
    }
  } catch (error) {
    log.debug({ run: run.id, error: messageOf(error) }, 'cancelled, but nobody was told: the lease and maintenance tell');
  }
  if (run.parentId !== null && run.parentPath !== null) await offerRun(deps, run.tenantId, run.parentId);
  await offerHead(deps, run.tenantId, run.userId, run.sessionId);
}
