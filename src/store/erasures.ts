// Erasures as people see them: what was asked for, and the receipt once it is done.
import type { Erasure } from '../generated/prisma/client.ts';
import type { TenantTx } from './app-store.ts';

export type { Erasure };

/** Newest first. */
export async function listErasures(tx: TenantTx, { before, limit }: { before?: string | undefined; limit: number }): Promise<Erasure[]> {
  return tx.own(await tx.db.erasure.findMany({ where: { tenantId: tx.scope.tenant, ...(before === undefined ? {} : { id: { lt: before } }) }, orderBy: { id: 'desc' }, take: limit }));
}

export async function getErasure(tx: TenantTx, id: string): Promise<Erasure | undefined> {
  return tx.own(await tx.db.erasure.findMany({ where: { tenantId: tx.scope.tenant, id } }))[0];
}
