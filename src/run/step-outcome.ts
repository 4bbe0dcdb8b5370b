// What a call of a step's code came to, the data it hands on, and the end of waiting for it once it was aborted.
import { pause } from '../clock.ts';
import { MainstayError } from '../domain/errors.ts';
import type { Machine, Move } from '../domain/machine.ts';
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

/** Data for a step as the machine's schema reads it. Throws `data_invalid`. */
export function checkedData(machine: Machine, step: string, data: unknown): unknown {
  const parsed = machine.data?.safeParse(data);
  if (!parsed) return data ?? null;
  if (parsed.success) return parsed.data;
  throw new MainstayError('data_invalid', `The data for step "${step}" does not match the schema of ${machine.name}: ${parsed.error.issues.slice(0, 5).map((issue) => `${issue.path.join('.') || '(whole)'}: ${issue.message}`).join('; ')}`);
}
