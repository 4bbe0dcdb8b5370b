// The calls about runs: submit, look, wait, follow, cancel. A submission carries an idempotency key, random where the caller
// names none, so that it may be tried again and is made once. A wait is a chain of short waits: no load balancer sees an
// idle connection, and an answer that was lost costs nothing.
import type { CancelledRun, LiveText, ModelCall, NewRunBody, NewRunsBody, Page, RetrievalTrace, Run, RunEvent, RunExplanation, RunFeedbackBody, RunItem, RunMemories, RunStep, SubmittedRun, ToolCall, UnsettledCall } from '../domain/wire.ts';
import { MainstayApiError } from './api-error.ts';
import { controlCalls } from './control-calls.ts';
import { followRun } from './event-stream.ts';
import { newKey, type Http } from './http.ts';
import { iteratePages, type Aborting, type Paging } from './paged-list.ts';

export interface RunQuery extends Paging {
  readonly agent?: string | undefined;
  readonly status?: Run['status'] | undefined;
  readonly user?: string | undefined;
  readonly session?: string | undefined;
  /** run_…: those it spawned */
  readonly parent?: string | undefined;
}

export interface CreateOptions extends Aborting {
  /** The same key with the same body is the same run, however often it is sent. */
  readonly idempotencyKey?: string | undefined;
  /** Seconds, 60 at most: answers as soon as the run has ended, or after so long as it is then. */
  readonly waitS?: number | undefined;
}

export interface WaitOptions extends Aborting {
  /** Longest time to wait, milliseconds; without it, as long as it takes. */
  readonly timeoutMs?: number | undefined;
}

export interface StreamOptions extends Aborting {
  /** Begins after the event of this number; 0 = from the start. */
  readonly after?: number | undefined;
  /** Told the text of the model as it comes. */
  readonly onText?: ((piece: LiveText) => void) | undefined;
}

/** One link of a wait: below the 60 seconds after which proxies cut what is silent. */
const WAIT_LINK_S = 30;

export function runCalls(http: Http) {
  const pathOf = (id: string): string => `/v1/runs/${encodeURIComponent(id)}`;
  const list = ({ signal, ...query }: RunQuery & Aborting = {}): Promise<Page<RunItem>> => http.json('/v1/runs', { query, signal });
  const steps = (id: string, { signal, ...query }: Paging & Aborting = {}): Promise<Page<RunStep>> => http.json(`${pathOf(id)}/steps`, { query, signal });

  const get = (id: string, { waitS, signal }: Aborting & { readonly waitS?: number } = {}): Promise<Run> =>
    http.json(pathOf(id), { query: { wait: waitS }, signal, extraMs: (waitS ?? 0) * 1_000 });

  return {
    ...controlCalls(http),
    /** Submits a run. Resolved = its row is committed: it will end in exactly one terminal state. With `debounce` it takes no key, and
     *  is not sent again where its answer was lost: by then the run may have started. */
    create: (body: NewRunBody, { idempotencyKey = body.debounce ? undefined : newKey(), waitS, signal }: CreateOptions = {}): Promise<Run> =>
      http.json('/v1/runs', { method: 'POST', query: { wait: waitS }, body, ...(idempotencyKey === undefined ? {} : { headers: { 'idempotency-key': idempotencyKey } }), signal, extraMs: (waitS ?? 0) * 1_000, repeat: body.debounce ? 'refused' : 'safe' }),
    /** Submits up to 1,000 runs, all of them or none; answers in their order. An error names its items as `runs.17.input`. */
    async createMany(runs: NewRunsBody['runs'], { signal }: Aborting = {}): Promise<SubmittedRun[]> {
      const body: NewRunsBody = { runs: runs.map((run) => ({ ...run, idempotencyKey: run.idempotencyKey ?? newKey() })) };
      return (await http.json<{ runs: SubmittedRun[] }>('/v1/runs/many', { method: 'POST', body, signal })).runs;
    },
    get,
    /** One page, newest first. */
    list,
    /** Every run of the query, page by page. */
    iterate: (query: RunQuery & Aborting = {}): AsyncGenerator<RunItem, void, undefined> => iteratePages(list, query),
    /** Resolves with the ended run, whatever its status. Throws MainstayApiError `timeout` after `timeoutMs`; the run goes on. */
    wait: (id: string, options: WaitOptions = {}): Promise<Run> => waitFor(id, options, get),
    /** Events as they happen, each once and in order; ends after the terminal one. A broken connection is taken up again. With `onText`
     *  also the text of the model while it streams: provisional until its turn is settled, and withdrawn where it is discarded. */
    stream: (id: string, { after = 0, signal, onText }: StreamOptions = {}): AsyncGenerator<RunEvent, void, undefined> => followRun(http, pathOf(id), { after, signal, onText }),
    /** Says what came of it; what is left out stays as it was said before. */
    feedback: (id: string, body: RunFeedbackBody, { signal }: Aborting = {}): Promise<{ readonly run: string }> => http.json(`${pathOf(id)}/feedback`, { method: 'POST', body, signal }),
    /** Asks for the end of the run and of all it spawned; its worker is told. Answers with the effects whose end nobody knows.
     *  Throws `run_finished` where it has already ended otherwise. */
    async cancel(id: string, { signal }: Aborting = {}): Promise<CancelledRun> {
      try {
        return await http.json<CancelledRun>(`${pathOf(id)}/cancel`, { method: 'POST', signal });
      } catch (error) {
        if (!(error instanceof MainstayApiError) || error.code !== 'run_finished') throw error;
        const run = await get(id, { ...(signal === undefined ? {} : { signal }) }); // a first try whose answer was lost has done it
        if (run.status === 'cancelled') return { ...run, unsettled: (await http.json<Page<UnsettledCall>>(`${pathOf(id)}/unsettled`, { signal })).data };
        throw error;
      }
    },
    /** Why it does not move, and the command that moves it. */
    explain: (id: string, { signal }: Aborting = {}): Promise<RunExplanation> => http.json(`${pathOf(id)}/explain`, { signal }),
    /** One page of recorded steps, oldest first. */
    steps,
    iterateSteps: (id: string, query: Paging & Aborting = {}): AsyncGenerator<RunStep, void, undefined> => iteratePages((page: Paging & Aborting) => steps(id, page), query),
    /** All of them in one page. */
    toolCalls: (id: string, { signal }: Aborting = {}): Promise<Page<ToolCall>> => http.json(`${pathOf(id)}/tool-calls`, { signal }),
    modelCalls: (id: string, { signal }: Aborting = {}): Promise<Page<ModelCall>> => http.json(`${pathOf(id)}/model-calls`, { signal }),
    /** What was remembered of the run: its summary and the gate's verdict on every candidate. */
    memories: (id: string, { signal }: Aborting = {}): Promise<RunMemories> => http.json(`${pathOf(id)}/memories`, { signal }),
    /** What was recalled for the run. */
    traces: (id: string, { signal }: Aborting = {}): Promise<Page<RetrievalTrace>> => http.json(`${pathOf(id)}/traces`, { signal }),
  };
}

async function waitFor(id: string, { timeoutMs, signal }: WaitOptions, get: (id: string, options: { waitS: number; signal?: AbortSignal }) => Promise<Run>): Promise<Run> {
  const limit = timeoutMs === undefined ? undefined : AbortSignal.timeout(timeoutMs);
  const stops = [signal, limit].filter((one) => one !== undefined);
  let last: Run | undefined;
  try {
    for (;;) {
      last = await get(id, { waitS: WAIT_LINK_S, ...(stops.length === 0 ? {} : { signal: AbortSignal.any(stops) }) });
      if (last.finishedAt !== null) return last;
    }
  } catch (error) {
    signal?.throwIfAborted();
    if (!limit?.aborted) throw error;
    throw new MainstayApiError({ code: 'timeout', status: 0, detail: `${id} had not ended after ${timeoutMs} ms${last === undefined ? '' : `: it is ${last.status}`}.`, advice: 'The run goes on; wait again, or cancel it.' });
  }
}
