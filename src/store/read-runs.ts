// What a person sees of runs: lists, one run, its steps, its calls, and its feed. Only reads; the product's own runs
// (remembering) are not among them.
import type { RunStatus } from '../domain/status.ts';
import type { AgentRun, ModelCall, RunStep, ToolCall } from '../generated/prisma/client.ts';
import type { TenantTx } from './app-store.ts';

export type { AgentRun, ModelCall, RunStep, ToolCall };

export interface RunFilter {
  readonly agent?: string | undefined;
  readonly status?: RunStatus | undefined;
  readonly user?: string | undefined;
  readonly session?: string | undefined;
  /** uuid of the run that spawned them */
  readonly parent?: string | undefined;
  /** uuid of the last run of the page before */
  readonly before?: string | undefined;
  readonly limit: number;
}

/** A run that is shown to people; the product's own are as if they were not there. */
export async function getRun(tx: TenantTx, id: string): Promise<AgentRun | undefined> {
  return tx.own(await tx.db.agentRun.findMany({ where: { tenantId: tx.scope.tenant, id, visible: true } }))[0];
}

/** An item of a list: without what it was given and what it made, which may be large. */
export type RunRow = Omit<AgentRun, 'input' | 'output'>;

/** Newest first: ids sort by time. */
export async function listRuns(tx: TenantTx, { agent, status, user, session, parent, before, limit }: RunFilter): Promise<RunRow[]> {
  return tx.own(await tx.db.agentRun.findMany({
    where: {
      tenantId: tx.scope.tenant, visible: true,
      ...(agent === undefined ? {} : { agent }), ...(status === undefined ? {} : { status }),
      ...(user === undefined ? {} : { userId: user }), ...(session === undefined ? {} : { sessionId: session }),
      ...(parent === undefined ? {} : { parentId: parent, parentPath: { not: null } }), ...(before === undefined ? {} : { id: { lt: before } }),
    },
    orderBy: { id: 'desc' }, take: limit, omit: { input: true, output: true },
  }));
}

/** Where a run stands, for those who wait for it. */
export async function runPosition(tx: TenantTx, id: string): Promise<{ status: RunStatus; eventSeq: number; finished: boolean } | undefined> {
  const [row] = tx.own(await tx.db.agentRun.findMany({ where: { tenantId: tx.scope.tenant, id, visible: true }, select: { tenantId: true, userId: true, status: true, eventSeq: true, finishedAt: true } }));
  return row && { status: row.status, eventSeq: row.eventSeq, finished: row.finishedAt !== null };
}

export async function listSteps(tx: TenantTx, run: string, after: number, limit: number): Promise<RunStep[]> {
  return tx.own(await tx.db.runStep.findMany({ where: { tenantId: tx.scope.tenant, runId: run, seq: { gt: after } }, orderBy: { seq: 'asc' }, take: limit }));
}

export async function listToolCalls(tx: TenantTx, run: string): Promise<ToolCall[]> {
  return tx.own(await tx.db.toolCall.findMany({ where: { tenantId: tx.scope.tenant, runId: run }, orderBy: [{ stepSeq: 'asc' }, { startedAt: 'asc' }, { path: 'asc' }], take: 1_000 }));
}

export async function listModelCalls(tx: TenantTx, run: string): Promise<ModelCall[]> {
  return tx.own(await tx.db.modelCall.findMany({ where: { tenantId: tx.scope.tenant, runId: run }, orderBy: [{ stepSeq: 'asc' }, { startedAt: 'asc' }, { path: 'asc' }, { attempt: 'asc' }], take: 1_000 }));
}

export interface FeedEvent {
  readonly tenantId: string;
  readonly seq: number;
  /** `run.queued`, `run.started`, `step.completed`, `step.failed`, …, and one of `run.completed|failed|cancelled|expired` at the end. */
  readonly type: string;
  readonly data: unknown;
  readonly createdAt: Date;
}

/**
 * The history of a run in order, after `after`. One statement, so that one snapshot answers for all its tables:
 * two would show event 7 and, a moment later, step 6, and a reader who goes on from 7 would never see it.
 */
export async function feed(tx: TenantTx, run: string, after: number, limit: number): Promise<FeedEvent[]> {
  const { tenant } = tx.scope;
  return tx.own(await tx.db.$queryRaw<FeedEvent[]>`
    SELECT tenant_id AS "tenantId", seq, type, data, created_at AS "createdAt" FROM run_history WHERE tenant_id = ${tenant} AND run_id = ${run}::uuid AND seq > ${after} ORDER BY seq LIMIT ${limit}`);
}
