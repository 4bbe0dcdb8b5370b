// One action on every run that a filter names, the oldest first. The dry run and the real one choose by the same query; each
// run is then acted on by the use case of that action, with its own line of who asked, and what refuses is named and left out.
// A run is retried once by a bulk, however often it is asked: its key is made of the run's id.
import { codeOf, type ErrorCode } from '../domain/errors.ts';
import type { BulkAction } from '../domain/status.ts';
import { BULK_LANES } from '../domain/tunables.ts';
import { publicId } from '../ids.ts';
import type { Log } from '../log.ts';
import type { AppStore, Scope } from '../store/app-store.ts';
import { matchingRuns, retryKeyOf, type BulkFilter } from '../store/read-control.ts';
import type { CancelRun } from './cancel-run.ts';
import type { ControlRequest } from './control.ts';
import type { RetryRun } from './fork-run.ts';
import type { PauseRun, ResumeRun } from './pause-run.ts';

export interface BulkRequest {
  readonly scope: Scope;
  readonly actor: string;
  readonly action: BulkAction;
  readonly filter: BulkFilter;
  readonly dryRun: boolean;
  /** Runs at most. */
  readonly limit: number;
}

export interface BulkAnswer {
  /** All that the filter names and the action applies to; may be more than `ids`. */
  readonly matched: number;
  /** Acted on with success; 0 in a dry run. */
  readonly done: number;
  /** Public ids. */
  readonly failed: readonly { readonly id: string; readonly code: ErrorCode }[];
  /** Public ids of those chosen, within the limit, oldest first. */
  readonly ids: readonly string[];
}

export type BulkRuns = (request: BulkRequest) => Promise<BulkAnswer>;

export interface BulkDeps {
  readonly store: AppStore;
  readonly cancel: CancelRun;
  readonly pause: PauseRun;
  readonly resume: ResumeRun;
  readonly retry: RetryRun;
  readonly log: Log;
}

export function makeBulkRuns(deps: BulkDeps): BulkRuns {
  const act: Record<BulkAction, (request: ControlRequest) => Promise<unknown>> = {
    cancel: deps.cancel, pause: deps.pause, resume: deps.resume, retry: (request) => deps.retry({ ...request, idempotencyKey: retryKeyOf(request.id) }),
  };
  return async ({ scope, actor, action, filter, dryRun, limit }) => {
    const { matched, ids } = await deps.store.withTenant(scope, (tx) => matchingRuns(tx, action, filter, limit));
    const shown = ids.map((id) => publicId('run', id));
    if (dryRun) return { matched, done: 0, failed: [], ids: shown };
    const failed: { id: string; code: ErrorCode }[] = [];
    const left = [...ids];
    const lane = async (): Promise<void> => {
      for (let id = left.shift(); id !== undefined; id = left.shift()) {
        const one = id;
        await act[action]({ scope, id: one, actor }).catch((error: unknown) => {
          failed.push({ id: publicId('run', one), code: codeOf(error) });
          if (codeOf(error) === 'internal') deps.log.error({ run: one, action, error: String(error) }, 'one of a bulk failed');
        });
      }
    };
    await Promise.all(Array.from({ length: BULK_LANES }, lane));
    return { matched, done: ids.length - failed.length, failed: failed.sort((a, b) => (a.id < b.id ? -1 : 1)), ids: shown };
  };
}
