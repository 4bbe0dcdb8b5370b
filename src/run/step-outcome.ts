// What a call of a step's code came to, and the end of waiting for it once it was aborted.
import { pause } from '../clock.ts';
import { MainstayError } from '../domain/errors.ts';
import type { Move } from '../domain/machine.ts';
import type { Left } from './step-scope.ts';

export type Outcome = { readonly move: Move } | Left;

/** A step that heeds its signal gets this long to return after an abort; then it is left behind. */
const ABORT_GRACE_MS = 500;

/** Resolves some time after an abort, with the code's own outcome where it has one by then. */
export async function whenAborted(signal: AbortSignal, code: Promise<Outcome>): Promise<Outcome> {
  if (!signal.aborted) await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  const left = new AbortController();
  const outcome = await Promise.race([code, pause(ABORT_GRACE_MS, left.signal).then(() => undefined)]);
  left.abort();
  if (outcome && 'move' in outcome) return outcome;
  return { error: signal.reason instanceof Error ? signal.reason : new MainstayError('step_timeout', 'The step was aborted.') };
}
