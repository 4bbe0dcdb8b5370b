// What the rules of retention ask of the memories of every tenant, and carrying it out in pages. A closed memory is owed to the index,
// which lets go of it; only then is its row deleted, so that no vector outlives its memory.
import { CLOSED_DAYS, IDLE_DAYS, type Retention } from '../../domain/retention.ts';
import { inTransaction, type EnginePool } from './pool.ts';

const IDLE = `(${Object.entries(IDLE_DAYS).flatMap(([type, days]) => (days === null ? [] : [`m.type = '${type}' AND m.last_seen_at < now() - interval '${days} days'`])).join(' OR ')})`;
const CLOSES = `m.valid_to IS NULL AND m.erased_at IS NULL AND NOT m.pinned AND ${IDLE}`;
const DELETES = `m.valid_to < now() - interval '${CLOSED_DAYS} days' AND m.erased_at IS NULL AND m.indexed_generation IS NOT NULL`;
const PAGE = 500;

/** Tenants of which something is due; changes nothing. `tenant`: of this one alone. */
export async function dueRetention(pool: EnginePool, tenant?: string): Promise<Retention[]> {
  const { rows } = await pool.query<Retention>(`
    SELECT * FROM (SELECT m.tenant_id AS tenant, count(*)::int AS memories, (count(*) FILTER (WHERE ${CLOSES}))::int AS closes, (count(*) FILTER (WHERE ${DELETES}))::int AS deletes
      FROM memories m WHERE $1::text IS NULL OR m.tenant_id = $1 GROUP BY 1) d WHERE closes + deletes > 0 ORDER BY 1`, [tenant ?? null]);
  return rows;
}

/** Closes and deletes what is due of a tenant, the longest idle first; audited by number. */
export async function retain(pool: EnginePool, tenant: string, actor: string): Promise<{ readonly closed: number; readonly deleted: number }> {
  const closed = await paged(() => pool.query(`
    WITH m AS (SELECT m.tenant_id, m.id FROM memories m WHERE m.tenant_id = $1 AND ${CLOSES} ORDER BY m.last_seen_at, m.id LIMIT ${PAGE} FOR UPDATE SKIP LOCKED)
    UPDATE memories t SET valid_to = greatest(t.valid_from, now()), version = t.version + 1, indexed_generation = NULL FROM m WHERE t.tenant_id = m.tenant_id AND t.id = m.id`, [tenant]));
  const deleted = await paged(() => inTransaction(pool, async (client) => {
    const { rows } = await client.query<{ id: string }>(`SELECT m.id FROM memories m WHERE m.tenant_id = $1 AND ${DELETES} ORDER BY m.valid_to, m.id LIMIT ${PAGE} FOR UPDATE SKIP LOCKED`, [tenant]);
    const ids = rows.map(({ id }) => id);
    await client.query(`UPDATE memories SET superseded_by = NULL WHERE tenant_id = $1 AND superseded_by = ANY ($2::uuid[])`, [tenant, ids]);
    return client.query(`DELETE FROM memories WHERE tenant_id = $1 AND id = ANY ($2::uuid[])`, [tenant, ids]);
  }));
  if (closed + deleted > 0) {
    await pool.query(`INSERT INTO audit_events (tenant_id, actor, action, object_type, object_id, allowed, details) VALUES ($1, $2, 'memory.retention', 'tenant', $1, true, $3::json)`, [tenant, actor, JSON.stringify({ closed, deleted })]);
  }
  return { closed, deleted };
}

async function paged(page: () => Promise<{ rowCount: number | null }>): Promise<number> {
  for (let total = 0; ;) {
    const { rowCount } = await page();
    total += rowCount ?? 0;
    if ((rowCount ?? 0) < PAGE) return total;
  }
}
