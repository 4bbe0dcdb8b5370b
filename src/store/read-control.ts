// What control over runs looks at before it acts: questions to people, signals sent, calls on record, the runs a filter names.
// Only reads, under the caller's scope; the database's clock says what is over.
import type { ApprovalStatus, BulkAction, RunStatus } from '../domain/status.ts';
import { Prisma, type ToolCall } from '../generated/prisma/client.ts';
import type { TenantTx } from './app-store.ts';

export interface ApprovalRow {
  readonly tenantId: string;
  readonly userId: string | null;
  readonly id: string;
  readonly runId: string;
  readonly stepSeq: number;
  readonly path: string;
  readonly subject: string;
  readonly request: unknown;
  /** As it counts now: a question whose time is over or whose run has ended is not `pending`, whatever its row still says. */
  readonly status: ApprovalStatus;
  readonly onExpiry: ApprovalStatus;
  readonly expiresAt: Date | null;
  readonly decidedBy: string | null;
  readonly decidedAt: Date | null;
  readonly reason: string | null;
  readonly edited: unknown;
  readonly createdAt: Date;
}

const APPROVALS = Prisma.sql`
  SELECT a.tenant_id AS "tenantId", a.user_id AS "userId", a.id, a.run_id AS "runId", a.step_seq AS "stepSeq", a.path, a.subject, a.request, a.on_expiry::text AS "onExpiry", a.expires_at AS "expiresAt",
    a.decided_by AS "decidedBy", a.decided_at AS "decidedAt", a.reason, a.edited, a.created_at AS "createdAt",
    CASE WHEN a.status <> 'pending' THEN a.status WHEN r.finished_at IS NOT NULL THEN 'withdrawn' WHEN a.expires_at <= clock_timestamp() THEN 'expired' ELSE a.status END::text AS status
  FROM approvals a JOIN agent_runs r ON r.tenant_id = a.tenant_id AND r.id = a.run_id AND r.visible`;

export async function getApproval(tx: TenantTx, id: string): Promise<ApprovalRow | undefined> {
  return tx.own(await tx.db.$queryRaw<ApprovalRow[]>`${APPROVALS} WHERE a.tenant_id = ${tx.scope.tenant} AND a.id = ${id}::uuid`)[0];
}

export interface ApprovalFilter {
  readonly status?: ApprovalStatus | undefined;
  readonly user?: string | undefined;
  /** uuid of the run */
  readonly run?: string | undefined;
  /** uuid of the last one of the page before */
  readonly before?: string | undefined;
  readonly limit: number;
}

/** Newest first: ids sort by time. */
export async function listApprovals(tx: TenantTx, { status, user, run, before, limit }: ApprovalFilter): Promise<ApprovalRow[]> {
  const where = [
    Prisma.sql`a.tenant_id = ${tx.scope.tenant}`,
    ...(user === undefined ? [] : [Prisma.sql`a.user_id = ${user}`]), ...(run === undefined ? [] : [Prisma.sql`a.run_id = ${run}::uuid`]),
    ...(before === undefined ? [] : [Prisma.sql`a.id < ${before}::uuid`]),
    ...(status === 'pending' ? [Prisma.sql`a.status = 'pending'`] : []), // the rest of them by the index
  ];
  const found = Prisma.sql`SELECT * FROM (${APPROVALS} WHERE ${Prisma.join(where, ' AND ')}) f`;
  const wanted = status === undefined ? Prisma.empty : Prisma.sql`WHERE f.status = ${status}`;
  return tx.own(await tx.db.$queryRaw<ApprovalRow[]>`${found} ${wanted} ORDER BY id DESC LIMIT ${limit}`);
}

export interface SentSignal { readonly id: string; readonly name: string; readonly payload: unknown }

/** What was sent to a run under this key. */
export async function findSignal(tx: TenantTx, run: string, idempotencyKey: string): Promise<SentSignal | undefined> {
  return tx.own(await tx.db.signal.findMany({ where: { tenantId: tx.scope.tenant, runId: run, idempotencyKey } }))[0];
}

export async function getToolCall(tx: TenantTx, run: string, stepSeq: number, path: string): Promise<ToolCall | undefined> {
  return tx.own(await tx.db.toolCall.findMany({ where: { tenantId: tx.scope.tenant, runId: run, stepSeq, path } }))[0];
}

/** The run that was made under this key, with the digest of its request. */
export async function runOfKey(tx: TenantTx, idempotencyKey: string): Promise<{ id: string; requestHash: string } | undefined> {
  const [row] = tx.own(await tx.db.agentRun.findMany({ where: { tenantId: tx.scope.tenant, idempotencyKey }, select: { tenantId: true, userId: true, id: true, requestHash: true } }));
  return row && { id: row.id, requestHash: Buffer.from(row.requestHash.subarray(0, 16)).toString('hex') };
}

/** The step a run began with, where one is recorded. */
export async function firstStep(tx: TenantTx, run: string): Promise<string | undefined> {
  return tx.own(await tx.db.runStep.findMany({ where: { tenantId: tx.scope.tenant, runId: run, seq: 1 } }))[0]?.name;
}

export interface BulkFilter {
  readonly agent?: string | undefined;
  readonly status?: RunStatus | undefined;
  readonly user?: string | undefined;
  readonly session?: string | undefined;
  readonly createdBefore?: Date | undefined;
  readonly createdAfter?: Date | undefined;
}

/** The idempotency key of a bulk's retry. */
export const retryKeyOf = (run: string): string => `retry:${run}`;

/** Runs an action applies to. */
const APPLIES: Record<BulkAction, Prisma.Sql> = {
  cancel: Prisma.sql`r.finished_at IS NULL`,
  pause: Prisma.sql`r.finished_at IS NULL AND r.pause_requested_at IS NULL`,
  resume: Prisma.sql`r.finished_at IS NULL AND r.pause_requested_at IS NOT NULL`,
  retry: Prisma.sql`r.status IN ('failed', 'cancelled', 'expired') AND NOT EXISTS (SELECT FROM agent_runs f WHERE f.tenant_id = r.tenant_id AND f.idempotency_key = 'retry:' || r.id)`,
};

/** What a bulk acts on: how many there are, and the oldest of them. */
export async function matchingRuns(tx: TenantTx, action: BulkAction, filter: BulkFilter, limit: number): Promise<{ matched: number; ids: string[] }> {
  const { agent, status, user, session, createdBefore, createdAfter } = filter;
  const where = Prisma.join([
    Prisma.sql`r.tenant_id = ${tx.scope.tenant} AND r.visible`, APPLIES[action],
    ...(agent === undefined ? [] : [Prisma.sql`r.agent = ${agent}`]), ...(status === undefined ? [] : [Prisma.sql`r.status = ${status}::run_status`]),
    ...(user === undefined ? [] : [Prisma.sql`r.user_id = ${user}`]), ...(session === undefined ? [] : [Prisma.sql`r.session_id = ${session}`]),
    ...(createdBefore === undefined ? [] : [Prisma.sql`r.created_at < ${createdBefore}`]), ...(createdAfter === undefined ? [] : [Prisma.sql`r.created_at > ${createdAfter}`]),
  ], ' AND ');
  const rows = tx.own(await tx.db.$queryRaw<{ tenantId: string; userId: string | null; id: string; matched: number }[]>`
    SELECT r.tenant_id AS "tenantId", r.user_id AS "userId", r.id, (count(*) OVER ())::int AS matched FROM agent_runs r WHERE ${where} ORDER BY r.id LIMIT ${limit}`);
  return { matched: rows[0]?.matched ?? 0, ids: rows.map(({ id }) => id) };
}

/** `pool agent@version` of everything some living worker can claim. */
export async function liveMachines(tx: TenantTx): Promise<ReadonlySet<string>> {
  const rows = await tx.db.$queryRaw<{ key: string }[]>`SELECT DISTINCT w.pool || ' ' || m AS key FROM workers w, unnest(w.machines) AS m WHERE w.ended_at IS NULL AND w.lease_until > now()`;
  return new Set(rows.map(({ key }) => key));
}
