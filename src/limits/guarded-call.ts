// One call with a signal and a time limit of its own: it ends when the work ends, the time is over or the caller aborts,
// whichever is first. Work that ignores its signal goes on unheard; what it did is for its caller to find out.
import { MainstayError, isMainstayError, type ErrorCode } from '../domain/errors.ts';

export interface CallOptions {
  /** The caller's: cancel, the step's deadline, the loss of the run. */
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
  /** What a call over its time rejects with. */
  readonly timeoutCode?: ErrorCode;
}

export function guardedCall<T>(work: (signal: AbortSignal) => Promise<T>, { signal, timeoutMs, timeoutCode = 'tool_timeout' }: CallOptions): Promise<T> {
  const own = new AbortController();
  return new Promise<T>((resolve, reject) => {
    const give = (error: MainstayError): void => {
      end();
      reject(error);
      own.abort(error);
    };
    const onAbort = (): void => give(isMainstayError(signal?.reason) ? signal.reason : new MainstayError('cancelled', 'The call was cancelled.'));
    const timer = timeoutMs === undefined ? undefined : setTimeout(() => give(new MainstayError(timeoutCode, `The call did not end within ${timeoutMs} ms.`)), timeoutMs);
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    };
    if (signal?.aborted) return onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
    // The reason goes to the caller first: own errors of aborted work are then of no interest.
    Promise.resolve().then(() => work(own.signal)).finally(end).then(resolve, reject);
  });
}
