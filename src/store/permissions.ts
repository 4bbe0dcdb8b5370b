// What a user may do: roles, datasets and scopes, read at call time by the engine. Every change raises the epoch, which is
// part of the keys of caches.
import type { Permission } from '../generated/prisma/client.ts';
import type { TenantTx } from './app-store.ts';

export type { Permission };

export interface PermissionSet { readonly roles: readonly string[]; readonly datasets: readonly string[]; readonly scopes: readonly string[] }

/** Undefined: nothing was ever granted. */
export async function getPermission(tx: TenantTx, user: string): Promise<Permission | undefined> {
  return tx.own(await tx.db.permission.findMany({ where: { tenantId: tx.scope.tenant, userId: user } }))[0];
}

/** Replaces the whole set. */
export async function putPermission(tx: TenantTx, user: string, { roles, datasets, scopes }: PermissionSet): Promise<Permission> {
  const rows = await tx.db.$queryRaw<Permission[]>`
    INSERT INTO permissions AS p (tenant_id, user_id, roles, datasets, scopes) VALUES (${tx.scope.tenant}, ${user}, ${[...roles]}::text[], ${[...datasets]}::text[], ${[...scopes]}::text[])
    ON CONFLICT (tenant_id, user_id) DO UPDATE SET roles = excluded.roles, datasets = excluded.datasets, scopes = excluded.scopes, epoch = p.epoch + 1, updated_at = now()
    RETURNING tenant_id AS "tenantId", user_id AS "userId", roles, datasets, scopes, epoch, updated_at AS "updatedAt"`;
  const [row] = tx.own(rows);
  if (!row) throw new Error('a permission was neither made nor changed');
  return row;
}
