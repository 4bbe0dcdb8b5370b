// Send a run a named message. It is stored until a wait of the run consumes it, also when it comes before the wait; the same
// key is the same message, also after it was read and after the run has ended, so that a caller may always send it again.
import { MainstayError } from '../domain/errors.ts';
import { canonicalJson, storable } from '../domain/json.ts';
import { MAX_MESSAGE_BYTES } from '../domain/tunables.ts';
import { newId } from '../ids.ts';
import { sendSignal } from '../store/engine/waits.ts';
import { findSignal, type SentSignal } from '../store/read-control.ts';
import { auditedRun, hasEnded, noSuchRun, offerRun, type ControlDeps, type ControlRequest } from './control.ts';

export interface SignalRequest extends ControlRequest {
  readonly name: string;
  readonly payload: unknown;
  readonly idempotencyKey: string | undefined;
}

/** Resolves once it is stored. Throws `not_found`, `run_finished`, `idempotency_conflict`, `data_not_storable`. */
export type SignalRun = (request: SignalRequest) => Promise<{ /** uuid */ readonly id: string; readonly created: boolean }>;

export function makeSignalRun(deps: ControlDeps): SignalRun {
  const before = async (request: SignalRequest): Promise<string | undefined> => {
    const { scope, id, idempotencyKey } = request;
    if (idempotencyKey === undefined) return undefined;
    const sent = await deps.store.withTenant(scope, (tx) => findSignal(tx, id, idempotencyKey));
    return sent && sameAs(sent, request);
  };
  return async (request) => {
    const payload = storable(request.payload, 'payload', MAX_MESSAGE_BYTES);
    const earlier = await before(request);
    if (earlier !== undefined) return { id: earlier, created: false };
    const { scope, id: run, name, actor, idempotencyKey } = request;
    const id = newId();
    await auditedRun(deps, request, 'run.signalled', ({ finishedAt, status }) => { if (finishedAt !== null) throw hasEnded(status); }, { name });
    const answer = await sendSignal(deps.engine.pool, { tenant: scope.tenant, run, user: scope.user, id, name, payload, sentBy: actor, idempotencyKey });
    if (answer === undefined) throw noSuchRun();
    if (answer === 'finished') throw hasEnded();
    if (answer === 'repeated') return { id: (await before(request)) ?? id, created: false }; // two at once with one key
    await offerRun(deps, scope.tenant, run);
    return { id, created: true };
  };
}

/** The id of the message sent before, if it was this one. */
function sameAs(sent: SentSignal, { name, payload }: SignalRequest): string {
  if (sent.name === name && canonicalJson(sent.payload) === canonicalJson(payload ?? null)) return sent.id;
  throw new MainstayError('idempotency_conflict', 'The idempotency key was used before with another signal.');
}
