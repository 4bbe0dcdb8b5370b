// What a run needs before and beside its steps: the session's row and messages, the permissions of its user, and the audit
// line of an access. All by tenant and user in the WHERE, whatever the caller knows.
import type { EnginePool } from './pool.ts';

export async function sessionRow(pool: EnginePool, tenant: string, user: string, session: string): Promise<{ version: number; state: unknown } | undefined> {
  const { rows } = await pool.query<{ version: number; state: unknown }>({ name: 'session-row', text: `SELECT version, state FROM sessions WHERE tenant_id = $1 AND user_id = $2 AND id = $3`, values: [tenant, user, session] });
  return rows[0];
}

/** The last `limit` messages, oldest first. */
export async function sessionMessages(pool: EnginePool, tenant: string, user: string, session: string, limit: number): Promise<{ role: 'user' | 'assistant'; content: string }[]> {
  const { rows } = await pool.query<{ role: 'user' | 'assistant'; content: string }>(
    `SELECT role, content FROM messages WHERE tenant_id = $1 AND user_id = $2 AND session_id = $3 ORDER BY seq DESC LIMIT $4`, [tenant, user, session, limit]);
  return rows.reverse();
}

export interface Permissions {
  readonly roles: readonly string[];
  readonly datasets: readonly string[];
  readonly scopes: readonly string[];
  /** Raised by every change; 0 without a row. */
  readonly epoch: number;
}

/** Read at every call: a revoked permission counts from the next one on. No row = nothing is permitted. */
export async function permissionsOf(pool: EnginePool, tenant: string, user: string): Promise<Permissions> {
  const { rows } = await pool.query<Permissions>({ name: 'permissions', text: `SELECT roles, datasets, scopes, epoch FROM permissions WHERE tenant_id = $1 AND user_id = $2`, values: [tenant, user] });
  return rows[0] ?? { roles: [], datasets: [], scopes: [], epoch: 0 };
}

export async function auditAccess(pool: EnginePool, line: { tenant: string; actor: string; user: string | undefined; action: string; objectType: string; objectId: string; allowed: boolean; details?: string }): Promise<void> {
  await pool.query(`INSERT INTO audit_events (tenant_id, actor, user_id, action, object_type, object_id, allowed, details) VALUES ($1, $2, $3, $4, $5, $6, $7, $8::json)`,
    [line.tenant, line.actor, line.user ?? null, line.action, line.objectType, line.objectId, line.allowed, line.details ?? '{}']);
}
