// What every use case of control over a run stands on. Each reads the run within the caller's scope, refuses what cannot be
// done, and leaves a line of who asked for what, all in one transaction; only then comes the one statement that decides. What
// it has made ready is offered afterwards, which is only a hint: maintenance finds the same in Postgres.
import type { Redis } from 'ioredis';
import { MainstayError, messageOf } from '../domain/errors.ts';
import { publicId } from '../ids.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { RedisKeys } from '../redis.ts';
import type { AppStore, Scope, TenantTx } from '../store/app-store.ts';
import { audit, type AuditLine } from '../store/audit.ts';
import type { Target } from '../store/engine/control.ts';
import type { Engine } from '../store/engine/engine.ts';
import { readyRun, sessionHead } from '../store/engine/sweeps.ts';
import { getRun, type AgentRun } from '../store/read-runs.ts';
import type { Dispatcher } from './offer-run.ts';
import type { Registry } from './registry.ts';

export interface ControlDeps {
  readonly store: AppStore;
  readonly engine: Engine;
  readonly registry: Registry;
  readonly dispatcher: Dispatcher;
  /** A `fast` client. */
  readonly redis: Redis;
  readonly keys: RedisKeys;
  readonly metrics: Metrics;
  readonly log: Log;
}

export interface ControlRequest {
  /** Whose runs the caller may see. */
  readonly scope: Scope;
  /** uuid of the run */
  readonly id: string;
  /** `key:<id>`, `board:<user>` or `cli`. */
  readonly actor: string;
}

export const noSuchRun = (): MainstayError => new MainstayError('not_found', 'There is no such run.');
export const hasEnded = (status?: string): MainstayError => new MainstayError('run_finished', status === undefined ? 'The run has just ended.' : `The run has already ended: ${status}.`);

export const targetOf = ({ scope, id }: ControlRequest): Target => ({ tenant: scope.tenant, id, user: scope.user });

/** The run, with the line of who asked. `refuse` throws what stands against it: then nothing is written. */
export function auditedRun(deps: ControlDeps, request: ControlRequest, action: string, refuse: (run: AgentRun, tx: TenantTx) => void | Promise<void>, details?: AuditLine['details']): Promise<AgentRun> {
  const { scope, id, actor } = request;
  return deps.store.withTenant(scope, async (tx) => {
    const run = await getRun(tx, id);
    if (!run) throw noSuchRun();
    await refuse(run, tx);
    await audit(tx, { actor, userId: run.userId, action, objectType: 'run', objectId: publicId('run', id), allowed: true, ...(details === undefined ? {} : { details }) });
    return run;
  });
}

/** Commit, then look: offers the run if it may go on now or soon. Never rejects. */
export async function offerRun({ engine, dispatcher, log }: ControlDeps, tenant: string, id: string): Promise<void> {
  try {
    const ready = await readyRun(engine.pool, tenant, id);
    if (ready) await dispatcher.offer(ready, ready.dueInMs);
  } catch (error) {
    log.debug({ run: id, error: messageOf(error) }, 'not offered: maintenance will');
  }
}

/** Offers the run that may go next in a session, where it is one that can. Never rejects. */
export async function offerHead(deps: ControlDeps, tenant: string, user: string | null, session: string | null): Promise<void> {
  if (user === null || session === null) return;
  const head = await sessionHead(deps.engine.pool, tenant, user, session).catch(() => undefined);
  if (head) await offerRun(deps, tenant, head.id); // it may be running, or wait for a person
}
