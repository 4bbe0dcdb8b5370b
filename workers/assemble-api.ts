// The parts of the API process, in the order in which they start: the server first, so that it answers whatever Redis does,
// then the consumers of the intake queues. Tests build their API from here too.
import type { ApiDeps } from '../src/api/api-deps.ts';
import { makeApiServer, type ApiServer } from '../src/api/server.ts';
import { intakeSources, type Config } from '../src/config.ts';
import { STREAM_HEARTBEAT_MS } from '../src/domain/tunables.ts';
import { JobStates } from '../src/limits/job-state.ts';
import { LiveText } from '../src/limits/live-text.ts';
import { Quotas } from '../src/limits/quotas.ts';
import { quotasOf } from '../src/store/engine/quotas.ts';
import { Rates } from '../src/limits/rates.ts';
import { openLimitsRedis } from '../src/limits/redis-script.ts';
import { boardQueues } from '../src/queue/board-queues.ts';
import { makeIntake } from '../src/queue/intake.ts';
import { makeBulkRuns } from '../src/run/bulk-runs.ts';
import { makeCancelRun } from '../src/run/cancel-run.ts';
import type { ControlDeps } from '../src/run/control.ts';
import { makeDecideApproval } from '../src/run/decide-approval.ts';
import { runNow } from '../src/run/fire-schedules.ts';
import { makeForkRun, makeRetryRun } from '../src/run/fork-run.ts';
import { makePauseRun, makeResumeRun } from '../src/run/pause-run.ts';
import { makeSettleCall } from '../src/run/settle-call.ts';
import { makeSignalRun } from '../src/run/signal-run.ts';
import { makeExplainRun } from '../src/run/explain-run.ts';
import { makeSubmitMany } from '../src/run/submit-many.ts';
import { makeSubmitJob } from '../src/run/submit-job.ts';
import type { Service } from '../src/service.ts';
import { openAppStore, type AppStore } from '../src/store/app-store.ts';
import { assembleSearch } from './assemble-memory.ts';
import { POOLS, type Base } from './assemble.ts';

export interface Api {
  readonly server: ApiServer;
  /** The server and the intake, to be started in this order. */
  readonly services: readonly Service[];
  readonly store: AppStore;
  /** After the services have stopped; the base is closed by whoever made it. */
  close(): Promise<void>;
}

export function assembleApi(base: Base, change: Partial<Pick<ApiDeps, 'heartbeatMs'>> = {}): Api {
  const { config, log, keys, redis, engine, registry, dispatcher, submit, budgets, metrics, blobs } = base;
  const store = openAppStore({ url: config.DATABASE_APP_URL ?? config.DATABASE_URL, asRole: config.DATABASE_APP_URL === undefined, log });
  const limitsRedis = openLimitsRedis(config.REDIS_URL, log);
  const sources = intakeSources(config);
  const board = boardQueues({ redis, keys, pools: POOLS, sources: sources.map(({ source }) => source), log });
  const search = assembleSearch(base, store);
  const control = { store, engine, registry, dispatcher, redis, keys, metrics, log };
  const server = makeApiServer({
    pool: engine.pool, store, log, metrics, registry, submit, budgets, submitMany: makeSubmitMany({ engine, registry, dispatcher, metrics, log, defaultModel: config.MODEL }), pools: POOLS, metricsToken: config.METRICS_TOKEN,
    rates: new Rates(limitsRedis, keys, { requestsPerMinute: config.RATE_LIMIT, submissionsPerMinute: config.SUBMIT_RATE_LIMIT }),
    quotas: new Quotas(limitsRedis, keys, (tenant) => quotasOf(engine.pool, tenant)), jobs: new JobStates(limitsRedis, keys), liveText: new LiveText(limitsRedis, keys),
    blobs, findPassages: search.findPassages, findMemories: search.findMemories, findSummaries: search.findSummaries, ...controls(control),
    schedules: { registry, defaultModel: config.MODEL, runNow: (which) => runNow({ ...base, defaultModel: config.MODEL, cancel: makeCancelRun(control) }, which) },
    explain: makeExplainRun({ store, engine, registry, queues: base.queues, redis: limitsRedis, keys }),
    board: config.BOARD_PASSWORD === undefined ? undefined : { queues: board.queues, user: config.BOARD_USER, password: config.BOARD_PASSWORD },
    heartbeatMs: STREAM_HEARTBEAT_MS, ...change,
  }, { host: config.HOST, port: config.PORT });
  return {
    server, store, services: [server, ...intake(base, config, sources)],
    close: async () => { await board.close(); limitsRedis.disconnect(); await search.close(); await store.close(); },
  };
}

/** What people do to runs, one use case for each. */
function controls(deps: ControlDeps): Pick<ApiDeps, 'cancel' | 'signal' | 'pause' | 'resume' | 'retry' | 'fork' | 'settle' | 'decide' | 'bulk'> {
  const [cancel, pause, resume, retry] = [makeCancelRun(deps), makePauseRun(deps), makeResumeRun(deps), makeRetryRun(deps)];
  return {
    cancel, pause, resume, retry, signal: makeSignalRun(deps), fork: makeForkRun(deps), settle: makeSettleCall(deps), decide: makeDecideApproval(deps),
    bulk: makeBulkRuns({ store: deps.store, log: deps.log, cancel, pause, resume, retry }),
  };
}

function intake({ log, keys, submit }: Base, config: Config, sources: readonly { source: string; tenant: string }[]): Service[] {
  return sources.map((source) => makeIntake({ ...source, submit: makeSubmitJob(submit), url: config.REDIS_URL, keys, concurrency: config.CONCURRENCY, log, drainMs: config.DRAIN_MS }));
}
