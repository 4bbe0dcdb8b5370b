// Who did or read what: append only, written in the transaction of the access itself, so that neither exists without the
// other. A row names ids and codes, never content.
import type { AuditEvent } from '../generated/prisma/client.ts';
import type { TenantTx } from './app-store.ts';

export type { AuditEvent };

export interface AuditLine {
  /** `key:<id>`, `run:<id>`, `board:<user>` or `cli`. */
  readonly actor: string;
  /** Whose data it is, where it is one user's. */
  readonly userId?: string | null | undefined;
  /** `memory.read`, `session.read`, `permissions.changed`, … */
  readonly action: string;
  readonly objectType: string;
  readonly objectId: string;
  readonly allowed: boolean;
  readonly details?: Record<string, string | number | boolean | string[]>;
}

export async function audit(tx: TenantTx, { actor, userId, action, objectType, objectId, allowed, details = {} }: AuditLine): Promise<void> {
  // createMany asks for nothing back: a scope may write a line that it may not read
  await tx.db.auditEvent.createMany({ data: [{ tenantId: tx.scope.tenant, actor, userId: userId ?? null, action, objectType, objectId, allowed, details }] });
}

export interface AuditFilter {
  readonly action?: string | undefined;
  readonly objectType?: string | undefined;
  readonly objectId?: string | undefined;
  readonly user?: string | undefined;
  readonly before?: bigint | undefined;
  readonly limit: number;
}

/** Newest first. */
export async function listAudit(tx: TenantTx, { action, objectType, objectId, user, before, limit }: AuditFilter): Promise<AuditEvent[]> {
  return tx.own(await tx.db.auditEvent.findMany({
    where: {
      tenantId: tx.scope.tenant, ...(action === undefined ? {} : { action }), ...(objectType === undefined ? {} : { objectType }),
      ...(objectId === undefined ? {} : { objectId }), ...(user === undefined ? {} : { userId: user }), ...(before === undefined ? {} : { id: { lt: before } }),
    },
    orderBy: { id: 'desc' }, take: limit,
  }));
}
