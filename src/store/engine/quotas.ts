// The quotas of tenants. What was used of them is counted in Redis (src/limits/quotas.ts), not here.
import type { Quota } from '../../domain/quota.ts';
import { inTransaction, type EnginePool } from './pool.ts';

export async function quotasOf(pool: EnginePool, tenant: string): Promise<Quota[]> {
  const { rows } = await pool.query<Quota>({ name: 'quotas', text: `SELECT subject, kind, per, most::float8 AS most FROM quotas WHERE tenant_id = $1 ORDER BY subject, kind, per`, values: [tenant] });
  return rows;
}

/** Sets a quota, or with `most` null takes it away. */
export function setQuota(pool: EnginePool, tenant: string, { subject, kind, per, most }: Omit<Quota, 'most'> & { readonly most: number | null }, actor: string): Promise<void> {
  return inTransaction(pool, async (client) => {
    if (most === null) await client.query(`DELETE FROM quotas WHERE tenant_id = $1 AND subject = $2 AND kind = $3 AND per = $4`, [tenant, subject, kind, per]);
    else await client.query(`INSERT INTO quotas (tenant_id, subject, kind, per, most) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant_id, subject, kind, per) DO UPDATE SET most = excluded.most`, [tenant, subject, kind, per, most]);
    await client.query(`INSERT INTO audit_events (tenant_id, actor, action, object_type, object_id, allowed, details) VALUES ($1, $2, 'quota.changed', 'quota', $3, true, $4::json)`, [tenant, actor, `${subject}/${kind}/${per}`, JSON.stringify({ most })]);
  });
}
