// Cancel a run: the one use case behind every door. The mark is committed first, with a line of who asked; a run that nobody
// is running ends with it. Then its worker is told, its place in the ready queue is given up and the next run of its session
// is offered: all of that is only a hint, since a lease renewal, a claim and maintenance find the same.
import type { Redis } from 'ioredis';
import { MainstayError, messageOf } from '../domain/errors.ts';
import { publicId } from '../ids.ts';
import type { Log } from '../log.ts';
import type { RedisKeys } from '../redis.ts';
import type { AppStore, Scope } from '../store/app-store.ts';
import { audit } from '../store/audit.ts';
import type { Engine } from '../store/engine/engine.ts';
import { cancelRun, type Cancelled } from '../store/engine/control.ts';
import { readyRun, sessionHead } from '../store/engine/sweeps.ts';
import { getRun, type AgentRun } from '../store/read-runs.ts';
import type { Dispatcher } from './offer-run.ts';

export interface CancelDeps {
  readonly store: AppStore;
  readonly engine: Engine;
  readonly dispatcher: Dispatcher;
  /** A `fast` client. */
  readonly redis: Redis;
  readonly keys: RedisKeys;
  readonly log: Log;
}

export interface CancelRequest {
  /** Whose runs the caller may see. */
  readonly scope: Scope;
  /** uuid */
  readonly id: string;
  /** `key:<id>` or `cli`. */
  readonly actor: string;
}

/** Resolves once the mark is committed. Throws `not_found`, also for a run out of scope, and `run_finished`. */
export type CancelRun = (request: CancelRequest) => Promise<void>;

export function makeCancelRun(deps: CancelDeps): CancelRun {
  return async ({ scope, id, actor }) => {
    const run = await deps.store.withTenant(scope, async (tx) => {
      const found = await getRun(tx, id);
      if (!found) throw new MainstayError('not_found', 'There is no such run.');
      if (found.finishedAt !== null) throw finished(found.status);
      await audit(tx, { actor, userId: found.userId, action: 'run.cancelled', objectType: 'run', objectId: publicId('run', id), allowed: true });
      return found;
    });
    const answer = await cancelRun(deps.engine.pool, { tenant: scope.tenant, id, user: scope.user });
    if (!answer) throw new MainstayError('not_found', 'There is no such run.');
    if (answer.already) throw finished(answer.status);
    await tell(deps, run, answer.runs);
  };
}

const finished = (status: string): MainstayError => new MainstayError('run_finished', `The run has already ended: ${status}.`);

/** Commit, then look: never rejects. */
async function tell({ redis, keys, engine, dispatcher, log }: CancelDeps, run: AgentRun, cancelled: Cancelled['runs']): Promise<void> {
  try {
    for (const one of cancelled) {
      if (one.ended) await dispatcher.withdraw(one.pool, run.tenantId, one.id);
      else await redis.publish(keys.cancelChannel, one.id); // its worker is told now, or by its next lease renewal
    }
    if (run.parentId !== null && run.parentPath !== null) {
      const parent = await readyRun(engine.pool, run.tenantId, run.parentId);
      if (parent) await dispatcher.offer(parent, parent.dueInMs);
    }
    if (run.userId === null || run.sessionId === null) return;
    const head = await sessionHead(engine.pool, run.tenantId, run.userId, run.sessionId);
    const ready = head && (await readyRun(engine.pool, run.tenantId, head.id)); // the head may be running, or wait for a person
    if (ready) await dispatcher.offer(ready, ready.dueInMs);
  } catch (error) {
    log.debug({ run: run.id, error: messageOf(error) }, 'cancelled, but nobody was told: the lease and maintenance tell');
  }
}
