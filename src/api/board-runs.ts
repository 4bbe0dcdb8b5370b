// Runs on the Bull Board: a queue `runs-<pool>` whose jobs are rows of Postgres. A press is the use case of every other door, under
// the name of who is logged in, with its line in the audit log: retry goes on from the last checkpoint, clean cancels. Nothing
// else is done here, and nothing is ever removed: the history of runs is not the board's.
import { BaseAdapter } from '@bull-board/api/dist/queueAdapters/base.js';
import type { JobCounts, JobStatus, QueueJob, QueueJobJson, Status } from '@bull-board/api/dist/types.js';
import { isMainstayError } from '../domain/errors.ts';
import { machineKey } from '../domain/machine.ts';
import { holdsSecret, REMOVED } from '../domain/secrets.ts';
import { BOARD_RUNS_MAX } from '../domain/tunables.ts';
import { parseId, publicId } from '../ids.ts';
import { BOARD_LISTS, boardLog, boardRun, countBoard, listBoard, type BoardList, type BoardRun } from '../store/engine/board.ts';
import { retryKeyOf } from '../store/read-control.ts';
import type { ApiDeps } from './api-deps.ts';

export type BoardRunsDeps = Pick<ApiDeps, 'pool' | 'cancel' | 'retry'>;

export const runsQueueName = (pool: string): string => `runs-${pool}`;
export const linkTo = (run: string): string => `/v1/runs/${run}`;

const isList = (status: string): status is BoardList => (BOARD_LISTS as readonly string[]).includes(status);
const refused = (): Promise<never> => Promise.reject(new Error('The board does not do this to runs.'));

export class RunsAdapter extends BaseAdapter {
  readonly #deps: BoardRunsDeps;
  readonly #pool: string;
  readonly #actor: string;

  constructor(deps: BoardRunsDeps, pool: string, actor: string) {
    super('bull', { // of the two types the one without flows
      description: `Runs in Postgres. Retry: a new run from the last checkpoint; clean: cancel. Paused: waits for somebody. Lists end at ${BOARD_RUNS_MAX}.`,
      readOnlyMode: pool === 'memory', // the product's own runs are no caller's to cancel
      allowCompletedRetries: false,
      externalJobUrl: ({ id }) => { const href = linkTo(String(id)); return { displayText: href, href }; },
    });
    this.#deps = deps;
    this.#pool = pool;
    this.#actor = actor;
  }

  getName(): string { return runsQueueName(this.#pool); }
  getStatuses(): Status[] { return ['latest', ...this.getJobStatuses()]; }
  getJobStatuses(): JobStatus[] { return [...BOARD_LISTS]; }
  getJobCounts(): Promise<JobCounts> { return countBoard(this.#deps.pool, this.#pool); }

  async getJobs(statuses: JobStatus[], start = 0, end = start): Promise<QueueJob[]> {
    const lists = await Promise.all(statuses.filter(isList).map((list) => listBoard(this.#deps.pool, this.#pool, list, start, end)));
    return lists.flat().map((run) => this.#jobOf(run));
  }

  async getJob(id: string): Promise<QueueJob | undefined> {
    const run = await this.#find(id);
    return run && this.#jobOf(run);
  }

  async getJobLogs(id: string): Promise<string[]> {
    const run = await this.#find(id);
    if (!run) return [];
    return (await boardLog(this.#deps.pool, run)).map(({ atMs, type, step }) => `${new Date(atMs).toISOString()} ${type}${step === null ? '' : ` ${step}`}`);
  }

  #find(id: string): Promise<BoardRun | undefined> {
    const uuid = parseId('run', id);
    return uuid === undefined ? Promise.resolve(undefined) : boardRun(this.#deps.pool, this.#pool, uuid);
  }

  #jobOf(run: BoardRun): QueueJob {
    const control = { scope: { tenant: run.tenant }, id: run.id, actor: this.#actor };
    return {
      opts: {}, toJSON: () => shownJob(run),
      getState: () => Promise.resolve(run.list === 'active' ? 'waiting' : run.list), // asked for by the page of one job, which has no presses for an active one: it could not be cancelled
      retry: () => pressed(this.#deps.retry({ ...control, idempotencyKey: retryKeyOf(run.id) })), // pressed twice it is retried once, as in a bulk
      remove: () => pressed(this.#deps.cancel(control)),
      promote: refused,
    };
  }

  // a queue of Redis has these; runs have none of them
  isPaused(): Promise<boolean> { return Promise.resolve(false); }
  getRedisInfo(): Promise<null> { return Promise.resolve(null); }
  getGlobalConcurrency(): Promise<null> { return Promise.resolve(null); }
  getJobSchedulers(): Promise<[]> { return Promise.resolve([]); }
  getJobSchedulersCount(): Promise<number> { return Promise.resolve(0); }
  readonly getMetrics = refused;
  readonly clean = refused;
  readonly addJob = refused;
  readonly pause = refused;
  readonly resume = refused;
  readonly empty = refused;
  readonly obliterate = refused;
  readonly promoteAll = refused;
  readonly removeJobScheduler = refused;
  readonly updateJobScheduler = refused;
  readonly runJobSchedulerNow = refused;
  readonly setGlobalConcurrency = refused;
}

/** What a use case refuses keeps its status and its code, in the words the page shows. */
async function pressed(act: Promise<unknown>): Promise<void> {
  try {
    await act;
  } catch (error) {
    if (!isMainstayError(error)) throw error;
    throw Object.assign(new Error(`${error.code}: ${error.message}`, { cause: error }), { statusCode: error.kind.status });
  }
}

function shownJob(run: BoardRun): QueueJobJson {
  const { list, tenant, user, session, waitReason, steps, costMicroUsd, cancelRequested, metadata, inputBytes, outputBytes } = run;
  const id = publicId('run', run.id);
  const opts = list === 'delayed' && run.wakeMs !== null ? { delay: run.wakeMs - run.createdMs } : {}; // twice, or the page says that it was changed
  const retriedAs = run.retriedAs === null ? {} : { retriedAs: publicId('run', run.retriedAs) };
  return {
    id, name: `${machineKey(run.agent, run.version)} ${run.status}${waitReason === null ? '' : `: ${waitReason}`}`, progress: { steps }, attemptsMade: run.attempt, priority: run.priority,
    timestamp: run.createdMs, processedOn: run.startedMs ?? run.finishedMs, finishedOn: run.finishedMs, ...opts, opts,
    failedReason: list === 'failed' ? [run.errorCode, run.errorMessage].filter((part) => part !== null).join(': ') : '', stacktrace: [],
    data: { run: id, link: linkTo(id), tenant, user, session, status: run.status, waitReason, cancelRequested, ...retriedAs, steps, costMicroUsd, metadata: scrubbed(metadata), inputBytes, outputBytes },
    returnvalue: null,
  };
}

/** A caller's own words: what looks like a secret, by itself or by its name, is not shown. */
function scrubbed(value: unknown, name = ''): unknown {
  if (typeof value === 'string') return holdsSecret(value) || holdsSecret(`${name}: ${value}`) ? REMOVED : value;
  if (Array.isArray(value)) return value.map((one: unknown) => scrubbed(one, name));
  if (typeof value === 'object' && value !== null) return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, scrubbed(one, key)]));
  return value;
}
