// A run in the hands of this worker, and how it is told that somebody wants it to end.
import type { Taken } from '../queue/ready-queue.ts';
import type { ClaimedRun } from '../store/engine/claim.ts';
import { INTERRUPT } from '../store/engine/workers.ts';
import type { Lease } from './lease.ts';

/** One claim of a run: after a fence the run may be here a second time, while its first step still winds up. */
export interface Active {
  readonly run: ClaimedRun; readonly lease: Lease;
  /** Aborts its steps. */
  readonly stop: AbortController;
  /** Aborts its calls of the model: another message takes its place. */
  readonly interrupt: AbortController;
  readonly taken: Taken | undefined; readonly sinceMs: number;
  /** Called when all that is left to do is its last commit. */
  readonly leave: () => void;
  /** By the take and by renewals. */
  chargedMs: number;
  /** Until when its slot time is counted. */
  countedMs: number;
}

/** `told`: the id of a run to cancel, or with INTERRUPT behind it of one to interrupt; of other workers' runs nothing happens. */
export function tellRuns(active: Iterable<Active>, told: string): void {
  for (const { run, stop, interrupt } of active) {
    if (told === run.id) stop.abort('cancelled');
    if (told === run.id + INTERRUPT) interrupt.abort('interrupted');
  }
}
