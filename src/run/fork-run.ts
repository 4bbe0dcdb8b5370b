// Begin a new run with the first steps of another: from any checkpoint (fork), or from the last one of a run that did not
// complete (retry). Recorded steps are taken over and never run again. What the origin did after that point is known to the
// new run: an effect that succeeded in the very step that failed is returned, any other is asked about before it is repeated.
import { MainstayError } from '../domain/errors.ts';
import { requestDigest } from '../domain/json.ts';
import { newId } from '../ids.ts';
import { forkRun, type Fork } from '../store/engine/control.ts';
import { isUniqueViolation } from '../store/engine/pool.ts';
import { firstStep, runOfKey } from '../store/read-control.ts';
import type { AgentRun } from '../store/read-runs.ts';
import { auditedRun, noSuchRun, offerRun, targetOf, type ControlDeps, type ControlRequest } from './control.ts';

export interface RetryRequest extends ControlRequest { readonly idempotencyKey: string | undefined }
export interface ForkRequest extends RetryRequest {
  /** Steps to take over; 0 = from the start. */
  readonly fromStep: number;
}

/** `id`: uuid of the new run; `created` false: the same key has made it before. */
export interface Forked { readonly id: string; readonly created: boolean }

/** Throws `not_found`, `not_retryable` and `idempotency_conflict`. */
export type RetryRun = (request: RetryRequest) => Promise<Forked>;
/** Throws `not_found`, `no_such_checkpoint` and `idempotency_conflict`. */
export type ForkRun = (request: ForkRequest) => Promise<Forked>;

export function makeRetryRun(deps: ControlDeps): RetryRun {
  return (request) => fork(deps, request, 'run.retried', undefined, ({ status }) => {
    if (status !== 'failed' && status !== 'cancelled' && status !== 'expired') throw new MainstayError('not_retryable', `The run is ${status}.`);
  });
}

export function makeForkRun(deps: ControlDeps): ForkRun {
  return (request) => fork(deps, request, 'run.forked', request.fromStep, ({ stepSeq, status }) => {
    const isEnd = status === 'completed' && request.fromStep === stepSeq;
    if (request.fromStep > stepSeq || isEnd) throw noCheckpoint(request.fromStep);
  });
}

const noCheckpoint = (step: number): MainstayError => new MainstayError('no_such_checkpoint', `No run can go on after step ${step} of this one.`);

async function fork(deps: ControlDeps, request: RetryRequest, action: string, seq: number | undefined, refuse: (run: AgentRun) => void): Promise<Forked> {
  const { id, scope, idempotencyKey } = request;
  const requestHash = requestDigest({ fork: id, seq: seq ?? null });
  const before = idempotencyKey === undefined ? undefined : await deps.store.withTenant(scope, (tx) => runOfKey(tx, idempotencyKey));
  if (before) return sameRequest({ ...before, created: false }, requestHash);
  let start = '';
  const { agent } = await auditedRun(deps, request, action, async (run, tx) => {
    refuse(run);
    start = deps.registry.get(run.agent, run.version)?.start ?? (await firstStep(tx, id)) ?? run.nextStep; // an older version may be unknown here
  }, seq === undefined ? {} : { fromStep: seq });
  const made = await makeOnce(deps, { origin: targetOf(request), id: newId(), seq, start, idempotencyKey, requestHash });
  if (made === undefined) throw noSuchRun();
  if (made === 'no_checkpoint') throw noCheckpoint(seq ?? 0);
  if (made.created) {
    deps.metrics.runsSubmitted.inc({ agent: deps.metrics.bound('agent', agent), door: deps.metrics.bound('door', seq === undefined ? 'retry' : 'fork') });
    await offerRun(deps, scope.tenant, made.id);
  }
  return sameRequest(made, requestHash);
}

function sameRequest({ id, created, requestHash }: Forked & { readonly requestHash: string }, asked: string): Forked {
  if (requestHash !== asked) throw new MainstayError('idempotency_conflict', 'The idempotency key was used before with another request.');
  return { id, created };
}

/** Of two at once with one key the second finds the first's run when it looks again. */
async function makeOnce({ engine }: ControlDeps, wanted: Fork): ReturnType<typeof forkRun> {
  try {
    return await forkRun(engine.pool, wanted);
  } catch (error) {
    if (wanted.idempotencyKey === undefined || !isUniqueViolation(error)) throw error;
    return forkRun(engine.pool, wanted);
  }
}
