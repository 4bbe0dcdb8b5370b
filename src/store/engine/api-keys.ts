// API keys before a tenant is known: found by id, compared by the caller, touched at most once a minute. The digest leaves
// this file only for that comparison; nothing lists it. Validity is judged by the database's clock.
import { randomBytes } from 'node:crypto';
import { composeKey, KEY_ID_BYTES, KEY_SECRET_BYTES } from '../../domain/api-key.ts';
import { MainstayError } from '../../domain/errors.ts';
import { inTransaction, type EnginePool } from './pool.ts';

export interface NewKey {
  readonly tenant: string;
  readonly user: string | undefined;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly expiresAt: Date | undefined;
}

export interface FoundKey {
  readonly id: string;
  readonly tenant: string;
  readonly user: string | null;
  readonly hash: Buffer;
  readonly scopes: readonly string[];
  readonly expiresAt: Date | null;
  /** Neither revoked nor expired. */
  readonly live: boolean;
  /** Its last use is to be noted. */
  readonly stale: boolean;
}

const TENANT = /^[a-z0-9][a-z0-9-]{0,62}$/;

/** Makes the tenant unless it is there. */
export async function createTenant(pool: EnginePool, tenant: string): Promise<void> {
  if (!TENANT.test(tenant)) throw new MainstayError('bad_request', 'A tenant is named by lower case letters, digits and hyphens, 63 at most.', { fields: [{ path: 'tenant', message: 'not a tenant name' }] });
  await pool.query(`INSERT INTO tenants (id) VALUES ($1) ON CONFLICT (id) DO NOTHING`, [tenant]);
}

/** Makes a key of an existing tenant and writes who made it. `key` is shown once: nothing can read it back. */
export async function createKey(pool: EnginePool, { tenant, user, name, scopes, expiresAt }: NewKey, actor: string): Promise<{ id: string; key: string }> {
  const { id, key, hash } = composeKey(randomBytes(KEY_ID_BYTES), randomBytes(KEY_SECRET_BYTES));
  await inTransaction(pool, async (client) => {
    await client.query(`INSERT INTO api_keys (id, tenant_id, user_id, name, hash, scopes, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`, [id, tenant, user ?? null, name, hash, scopes, expiresAt ?? null]);
    await client.query(`INSERT INTO audit_events (tenant_id, actor, user_id, action, object_type, object_id, allowed, details) VALUES ($1, $2, $3, 'key.created', 'key', $4, true, $5::json)`,
      [tenant, actor, user ?? null, id, JSON.stringify({ scopes })]);
  });
  return { id, key };
}

export async function findKey(pool: EnginePool, id: string): Promise<FoundKey | undefined> {
  const { rows } = await pool.query<FoundKey>({ name: 'find-key', text: `
    SELECT id, tenant_id AS tenant, user_id AS "user", hash, scopes, expires_at AS "expiresAt", revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now()) AS live,
      last_used_at IS NULL OR last_used_at < now() - interval '1 minute' AS stale
    FROM api_keys WHERE id = $1`, values: [id] });
  return rows[0];
}

export async function touchKey(pool: EnginePool, id: string): Promise<void> {
  await pool.query(`UPDATE api_keys SET last_used_at = now() WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < now() - interval '1 minute')`, [id]);
}

/** False: there is no such key (of that user, where one is named). Revoking twice is as good as once. */
export async function revokeKey(pool: EnginePool, { tenant, id, user }: { tenant: string; id: string; user: string | undefined }, actor: string): Promise<boolean> {
  return inTransaction(pool, async (client) => {
    const { rows } = await client.query<{ user: string | null; first: boolean }>(
      `UPDATE api_keys k SET revoked_at = coalesce(k.revoked_at, now()) FROM (SELECT id, revoked_at FROM api_keys WHERE id = $2 FOR UPDATE) b
       WHERE k.id = b.id AND k.tenant_id = $1 AND ($3::text IS NULL OR k.user_id = $3) RETURNING k.user_id AS "user", b.revoked_at IS NULL AS first`, [tenant, id, user ?? null]);
    const [row] = rows;
    if (row?.first) {
      await client.query(`INSERT INTO audit_events (tenant_id, actor, user_id, action, object_type, object_id, allowed) VALUES ($1, $2, $3, 'key.revoked', 'key', $4, true)`, [tenant, actor, row.user, id]);
    }
    return row !== undefined;
  });
}

export interface ListedKey {
  readonly tenantId: string;
  readonly id: string;
  readonly user: string | null;
  readonly name: string;
  readonly scopes: readonly string[];
  readonly createdAt: Date;
  readonly expiresAt: Date | null;
  readonly revokedAt: Date | null;
  readonly lastUsedAt: Date | null;
}

/** A tenant's keys, newest first, never their digests. `user`: of that user only. */
export async function listKeys(pool: EnginePool, tenant: string, user: string | undefined): Promise<ListedKey[]> {
  const { rows } = await pool.query<ListedKey>(
    `SELECT tenant_id AS "tenantId", id, user_id AS "user", name, scopes, created_at AS "createdAt", expires_at AS "expiresAt", revoked_at AS "revokedAt", last_used_at AS "lastUsedAt"
     FROM api_keys WHERE tenant_id = $1 AND ($2::text IS NULL OR user_id = $2) ORDER BY created_at DESC, id LIMIT 1000`, [tenant, user ?? null]);
  if (rows.some((row) => row.tenantId !== tenant)) throw new Error('the database answered with a row outside of the scope');
  return rows;
}
