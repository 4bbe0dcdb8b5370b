// Sessions and their messages as a person reads them. Whoever calls these writes the audit row in the same transaction.
import type { Message, Session } from '../generated/prisma/client.ts';
import type { TenantTx } from './app-store.ts';

export type { Message, Session };

export interface SessionPlace { readonly updatedAt: Date; readonly user: string; readonly id: string }

/** Latest used first. `before`: the last session of the page before. */
export async function listSessions(tx: TenantTx, { user, before, limit }: { user?: string | undefined; before?: SessionPlace | undefined; limit: number }): Promise<Session[]> {
  return tx.own(await tx.db.session.findMany({
    where: {
      tenantId: tx.scope.tenant, ...(user === undefined ? {} : { userId: user }),
      ...(before === undefined ? {} : { OR: [
        { updatedAt: { lt: before.updatedAt } },
        { updatedAt: before.updatedAt, userId: { gt: before.user } },
        { updatedAt: before.updatedAt, userId: before.user, id: { gt: before.id } },
      ] }),
    },
    orderBy: [{ updatedAt: 'desc' }, { userId: 'asc' }, { id: 'asc' }], take: limit,
  }));
}

export async function getSession(tx: TenantTx, user: string, id: string): Promise<Session | undefined> {
  return tx.own(await tx.db.session.findMany({ where: { tenantId: tx.scope.tenant, userId: user, id } }))[0];
}

/** Newest first. `before`: the seq of the last message of the page before. */
export async function listMessages(tx: TenantTx, user: string, session: string, { before, limit }: { before?: bigint | undefined; limit: number }): Promise<Message[]> {
  return tx.own(await tx.db.message.findMany({
    where: { tenantId: tx.scope.tenant, userId: user, sessionId: session, ...(before === undefined ? {} : { seq: { lt: before } }) },
    orderBy: { seq: 'desc' }, take: limit,
  }));
}
