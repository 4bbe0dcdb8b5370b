// The calls that change a run from outside, and those about what runs ask people. What makes a new thing (a signal, a new run)
// carries an idempotency key, random where the caller names none, so that a try whose answer was lost does not make it twice;
// to pause is as good twice as once; of the rest a second try would be refused by what the first has done, so that only what the
// server itself refused for its rate is tried again.
import type { Approval, BulkAnswer, BulkBody, DecisionBody, NewSignalBody, OutcomeBody, Page, Run, SentSignal, ToolCall, UnsettledCall } from '../domain/wire.ts';
import { newKey, type Http } from './http.ts';
import { iteratePages, type Aborting, type Paging } from './paged-list.ts';

export interface OnceOptions extends Aborting {
  /** The same key with the same request is the same thing, however often it is sent. */
  readonly idempotencyKey?: string | undefined;
}

export interface ApprovalQuery extends Paging {
  readonly status?: Approval['status'] | undefined;
  readonly user?: string | undefined;
  /** run_… */
  readonly run?: string | undefined;
}

/** A thousand runs, eight at a time, on a slow day. */
const BULK_MS = 60_000;

export function controlCalls(http: Http) {
  const pathOf = (id: string): string => `/v1/runs/${encodeURIComponent(id)}`;
  const post = <T>(path: string, body: unknown, { idempotencyKey = newKey(), signal }: OnceOptions): Promise<T> =>
    http.json(path, { method: 'POST', ...(body === undefined ? {} : { body }), headers: { 'idempotency-key': idempotencyKey }, signal });
  return {
    /** Sends a signal; it is kept until a wait of the run consumes it. Throws `run_finished`. */
    signal: (id: string, body: NewSignalBody, options: OnceOptions = {}): Promise<SentSignal> => post(`${pathOf(id)}/signals`, body, options),
    /** The run stops at its next checkpoint, or at once; pausing twice is as good as once. Throws `run_finished`. */
    pause: (id: string, { signal }: Aborting = {}): Promise<Run> => http.json(`${pathOf(id)}/pause`, { method: 'POST', signal }),
    /** Throws `not_paused` and `run_finished`. */
    resume: (id: string, { signal }: Aborting = {}): Promise<Run> => http.json(`${pathOf(id)}/resume`, { method: 'POST', signal, repeat: 'refused' }),
    /** A new run that goes on from the last checkpoint of one that did not complete. Throws `not_retryable`. */
    retry: (id: string, options: OnceOptions = {}): Promise<Run> => post(`${pathOf(id)}/retry`, undefined, options),
    /** A new run that begins with the first `fromStep` steps of this one. Throws `no_such_checkpoint`. */
    fork: (id: string, fromStep: number, options: OnceOptions = {}): Promise<Run> => post(`${pathOf(id)}/fork`, { fromStep }, options),
    /** Effects whose end nobody knows, in one page. */
    unsettled: (id: string, { signal }: Aborting = {}): Promise<Page<UnsettledCall>> => http.json(`${pathOf(id)}/unsettled`, { signal }),
    /** Says what became of one. Throws `outcome_open` while it may still be under way, and `outcome_settled`. */
    settle: (id: string, body: OutcomeBody, { signal }: Aborting = {}): Promise<ToolCall> => http.json(`${pathOf(id)}/outcomes`, { method: 'POST', body, signal, repeat: 'refused' }),
    /** One action on every run of a filter; only says what it would do unless `dryRun` is false. */
    bulk: (body: BulkBody, { signal }: Aborting = {}): Promise<BulkAnswer> => http.json('/v1/runs/bulk', { method: 'POST', body, signal, extraMs: BULK_MS, repeat: body.dryRun === false ? 'refused' : 'safe' }),
  };
}

export function approvalCalls(http: Http) {
  const pathOf = (id: string): string => `/v1/approvals/${encodeURIComponent(id)}`;
  const list = ({ signal, ...query }: ApprovalQuery & Aborting = {}): Promise<Page<Approval>> => http.json('/v1/approvals', { query, signal });
  const get = (id: string, { signal }: Aborting = {}): Promise<Approval> => http.json(pathOf(id), { signal });
  return {
    /** One page, newest first. */
    list,
    iterate: (query: ApprovalQuery & Aborting = {}): AsyncGenerator<Approval, void, undefined> => iteratePages(list, query),
    get,
    /** Decides it, once. Throws `approval_closed` where it was decided otherwise, has expired or its run has ended. */
    decide: (id: string, body: DecisionBody, { signal }: Aborting = {}): Promise<Approval> => http.json(`${pathOf(id)}/decide`, { method: 'POST', body, signal, repeat: 'refused' }),
  };
}
