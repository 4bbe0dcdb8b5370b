// Settle by hand what became of an effect whose end nobody knows, so that its run goes on: it took effect (with its result), or
// it did not. "It did not" is refused while the call may still be under way: it would then be made a second time.
import { MainstayError } from '../domain/errors.ts';
import { storable } from '../domain/json.ts';
import { MAX_MESSAGE_BYTES } from '../domain/tunables.ts';
import { settleToolCall } from '../store/engine/outcomes.ts';
import { getToolCall } from '../store/read-control.ts';
import { auditedRun, offerRun, targetOf, type ControlDeps, type ControlRequest } from './control.ts';

export interface SettleRequest extends ControlRequest {
  readonly stepSeq: number;
  readonly path: string;
  readonly outcome: 'succeeded' | 'not_applied';
  /** The result, for `succeeded`; undefined = null. */
  readonly response: unknown;
}

/** Resolves once it is on record. Throws `not_found`, `outcome_open`, `outcome_settled`, `data_not_storable`. */
export type SettleCall = (request: SettleRequest) => Promise<void>;

export function makeSettleCall(deps: ControlDeps): SettleCall {
  return async (request) => {
    const { stepSeq, path, outcome, response, actor, scope, id } = request;
    if (outcome === 'not_applied' && response !== undefined) throw new MainstayError('bad_request', 'What was not applied has no result.', { fields: [{ path: 'response', message: 'only with outcome: succeeded' }] });
    const result = outcome === 'succeeded' ? storable(response, 'response', MAX_MESSAGE_BYTES) : null;
    await auditedRun(deps, request, 'outcome.settled', async (_run, tx) => {
      const call = await getToolCall(tx, id, stepSeq, path);
      if (!call) throw noSuchCall();
      if (call.status !== 'intent' && call.status !== 'unknown') throw settled();
    }, { stepSeq, path, outcome });
    const answer = await settleToolCall(deps.engine.pool, { target: targetOf(request), stepSeq, path, outcome, response: result, by: actor });
    if (answer === undefined) throw noSuchCall();
    if (answer === 'settled') throw settled();
    if (answer === 'open') throw new MainstayError('outcome_open', 'The worker that made the call lives, and the time limit of the call is not over.');
    await offerRun(deps, scope.tenant, id);
  };
}

const noSuchCall = (): MainstayError => new MainstayError('not_found', 'The run has no such tool call.');
const settled = (): MainstayError => new MainstayError('outcome_settled', 'The result of this call is on record.');
