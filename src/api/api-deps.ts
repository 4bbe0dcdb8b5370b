// What the API is built from, and the type of the server its routes are added to. A root makes these parts; nothing in
// src/api/ opens a store of its own.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { FastifyBaseLogger, FastifyInstance, RawServerDefault } from 'fastify';
import type { ZodTypeProvider } from 'fastify-type-provider-zod';
import type { BlobStore } from '../domain/blob.ts';
import type { JobStates } from '../limits/job-state.ts';
import type { LiveText } from '../limits/live-text.ts';
import type { FindPassages } from '../memory/find-chunks.ts';
import type { FindMemories } from '../memory/find-memories.ts';
import type { FindSummaries } from '../memory/find-summaries.ts';
import type { Metrics } from '../metrics.ts';
import type { BoardQueues } from '../queue/board-queues.ts';
import type { BulkRuns } from '../run/bulk-runs.ts';
import type { CancelRun } from '../run/cancel-run.ts';
import type { DecideApproval } from '../run/decide-approval.ts';
import type { ForkRun, RetryRun } from '../run/fork-run.ts';
import type { PauseRun, ResumeRun } from '../run/pause-run.ts';
import type { ExplainRun } from '../run/explain-run.ts';
import type { BudgetKeeper } from '../run/keep-budgets.ts';
import type { ScheduleDeps } from '../run/make-schedule.ts';
import type { Registry } from '../run/registry.ts';
import type { SettleCall } from '../run/settle-call.ts';
import type { SignalRun } from '../run/signal-run.ts';
import type { SubmitMany } from '../run/submit-many.ts';
import type { SubmitRun } from '../run/submit-run.ts';
import type { Scope } from '../store/app-store.ts';
import type { RunRow } from '../store/read-runs.ts';
import type { NowSchedule } from '../store/engine/schedules.ts';
import type { AccessDeps } from './access.ts';

export interface BoardOptions {
  readonly queues: BoardQueues['queues'];
  readonly user: string;
  readonly password: string;
}

export interface ApiDeps extends AccessDeps {
  readonly submit: SubmitRun;
  readonly budgets: BudgetKeeper;
  readonly submitMany: SubmitMany;
  readonly cancel: CancelRun;
  readonly signal: SignalRun;
  readonly pause: PauseRun;
  readonly resume: ResumeRun;
  readonly retry: RetryRun;
  readonly fork: ForkRun;
  readonly settle: SettleCall;
  readonly decide: DecideApproval;
  readonly bulk: BulkRuns;
  /** Schedules: what they may submit, and one run of one now; undefined = no such schedule. */
  readonly schedules: Omit<ScheduleDeps, 'store'> & { readonly runNow: (which: NowSchedule) => Promise<string | undefined> };
  /** Where values lie that are too large for their row. */
  readonly blobs: BlobStore;
  readonly registry: Registry;
  readonly findPassages: FindPassages;
  readonly findMemories: FindMemories;
  readonly findSummaries: FindSummaries;
  readonly explain: ExplainRun;
  readonly jobs: JobStates;
  readonly liveText: LiveText;
  readonly metrics: Metrics;
  /** Machine pools, as `/metrics/scale` names them. */
  readonly pools: readonly string[];
  /** Bearer token of /metrics; undefined: open. */
  readonly metricsToken: string | undefined;
  /** undefined: there is no board. */
  readonly board: BoardOptions | undefined;
  /** How often a silent stream says so and looks whether its key still lives; STREAM_HEARTBEAT_MS outside of tests. */
  readonly heartbeatMs: number;
}

/** What living workers can claim, as `pool agent@version`; asked only where one of the rows is queued. */
export type LiveMachines = (scope: Scope, rows: readonly Pick<RunRow, 'status'>[]) => Promise<ReadonlySet<string>>;

/** What routes are given: `stopping` aborts when the server stops, so that nobody goes on waiting; `live` says what workers can claim. */
export interface RouteDeps extends ApiDeps { readonly stopping: AbortSignal; readonly live: LiveMachines }

/** The server as routes see it: their zod schemas type params, query and body. */
export type ApiApp = FastifyInstance<RawServerDefault, IncomingMessage, ServerResponse, FastifyBaseLogger, ZodTypeProvider>;
