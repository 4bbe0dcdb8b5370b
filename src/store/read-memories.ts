// Memories, the gate's verdicts and the traces of recalls as a person reads them. Whoever calls these writes the audit row
// in the same transaction.
import type { MemoryScope, MemoryType } from '../domain/status.ts';
import type { Memory, MemoryCandidate, RetrievalTrace, RunSummary } from '../generated/prisma/client.ts';
import type { TenantTx } from './app-store.ts';

export type { Memory, MemoryCandidate, RetrievalTrace, RunSummary };

export interface MemoryFilter {
  readonly user?: string | undefined;
  readonly type?: MemoryType | undefined;
  readonly scope?: MemoryScope | undefined;
  readonly run?: string | undefined;
  /** false: only what holds now */
  readonly includeSuperseded: boolean;
  readonly before?: string | undefined;
  readonly limit: number;
}

/** Newest first. */
export async function listMemories(tx: TenantTx, filter: MemoryFilter): Promise<Memory[]> {
  const { user, type, scope, run, before } = filter;
  return tx.own(await tx.db.memory.findMany({
    where: {
      tenantId: tx.scope.tenant,
      ...(filter.includeSuperseded ? {} : { validTo: null }), ...(user === undefined ? {} : { userId: user }), ...(type === undefined ? {} : { type }),
      ...(scope === undefined ? {} : { scope }), ...(run === undefined ? {} : { runId: run }), ...(before === undefined ? {} : { id: { lt: before } }),
    },
    orderBy: { id: 'desc' }, take: filter.limit,
  }));
}

export async function getMemory(tx: TenantTx, id: string): Promise<Memory | undefined> {
  return tx.own(await tx.db.memory.findMany({ where: { tenantId: tx.scope.tenant, id } }))[0];
}

export async function memoriesById(tx: TenantTx, ids: readonly string[]): Promise<Memory[]> {
  return tx.own(await tx.db.memory.findMany({ where: { tenantId: tx.scope.tenant, id: { in: [...ids] } } }));
}

/** Every candidate of the run with its verdict, by gate version and place. */
export async function verdictsOf(tx: TenantTx, run: string): Promise<MemoryCandidate[]> {
  return tx.own(await tx.db.memoryCandidate.findMany({ where: { tenantId: tx.scope.tenant, runId: run }, orderBy: [{ gateVersion: 'asc' }, { index: 'asc' }], take: 1_000 }));
}

export async function summaryOf(tx: TenantTx, run: string): Promise<RunSummary | undefined> {
  return tx.own(await tx.db.runSummary.findMany({ where: { tenantId: tx.scope.tenant, runId: run } }))[0];
}

/** The recalls of a run, in order. */
export async function tracesOf(tx: TenantTx, run: string): Promise<RetrievalTrace[]> {
  return tx.own(await tx.db.retrievalTrace.findMany({ where: { tenantId: tx.scope.tenant, runId: run }, orderBy: [{ stepSeq: 'asc' }, { id: 'asc' }], take: 100 }));
}

/** Statements of these memories that the scope may see, by uuid. */
export async function statementsOf(tx: TenantTx, ids: readonly string[]): Promise<Map<string, { statement: string; type: string }>> {
  if (ids.length === 0) return new Map();
  const rows = tx.own(await tx.db.$queryRaw<{ tenantId: string; userId: string | null; id: string; statement: string; type: string }[]>`
    SELECT tenant_id AS "tenantId", user_id AS "userId", id::text AS id, statement, type::text AS type FROM memories WHERE tenant_id = ${tx.scope.tenant} AND id = ANY(${[...ids]}::uuid[])`);
  return new Map(rows.map(({ id, statement, type }) => [id, { statement, type }]));
}
