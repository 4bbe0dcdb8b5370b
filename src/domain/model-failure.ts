// What is safe to know of a failed model call: the cause of the MainstayError an adapter throws. It carries no request,
// no answer and no header, so it may be logged; and it says whether the attempt can have been billed, for the ledger.
import { isMainstayError } from './errors.ts';

export class ModelFailure extends Error {
  /** Absent when the answer was a stream or there was none. */
  readonly httpStatus: number | undefined;
  /** The provider's id of the call, for support. */
  readonly requestId: string | undefined;
  /** `no`: the provider refused before it began. `unknown`: it may have generated, and billed, something. */
  readonly billed: 'no' | 'unknown';

  constructor(message: string, facts: { httpStatus?: number | undefined; requestId?: string | undefined; billed: 'no' | 'unknown' }) {
    super(message);
    this.name = 'ModelFailure';
    this.httpStatus = facts.httpStatus;
    this.requestId = facts.requestId;
    this.billed = facts.billed;
  }
}

/** True when the failed attempt certainly cost nothing, so that its reserve may be released instead of booked. */
export const isUnbilled = (error: unknown): boolean =>
  isMainstayError(error) && error.cause instanceof ModelFailure && error.cause.billed === 'no';
