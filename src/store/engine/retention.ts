// What the rules of retention ask of the memories of every tenant, and carrying it out in pages. A closed memory is owed to the index,
// which lets go of it; only then is its row deleted, so that no vector outlives its memory.
import { retentionOf, type MemoryPolicy } from '../../domain/memory-settings.ts';
import { RETENTION, takenBy, type Retention, type RetentionRules, type Taken } from '../../domain/retention.ts';
import type { MemoryType } from '../../domain/status.ts';
import { inTransaction, type EnginePool } from './pool.ts';

/** What a tenant has set, in its newest version. */
export interface TenantSettings extends Pick<MemoryPolicy, 'version' | 'settings'> { readonly tenant: string }

// Days by which m is judged; null: never.
const CLOSES = (days: string): string => `m.valid_to IS NULL AND m.erased_at IS NULL AND NOT m.pinned AND m.last_seen_at < now() - make_interval(days => ${days})`;
const DELETES = (days: string): string => `m.valid_to < now() - make_interval(days => ${days}) AND m.erased_at IS NULL AND m.indexed_generation IS NOT NULL`;
const PAGE = 500;
/** Stands for tenants that have set nothing; no tenant's id is empty. */
const EVERYBODY = '';

/** Of every tenant that has set something; `tenant`: of this one alone. */
export async function settingsOf(pool: EnginePool, tenant?: string): Promise<TenantSettings[]> {
  return (await pool.query<TenantSettings>(`SELECT DISTINCT ON (tenant_id) tenant_id AS tenant, version, settings FROM memory_policies WHERE $1::text IS NULL OR tenant_id = $1 ORDER BY tenant_id, version DESC`, [tenant ?? null])).rows;
}

/** Tenants of which something is due; changes nothing. `tenant`: of this one alone; `settings`: as if these were set. */
export async function dueRetention(pool: EnginePool, tenant?: string, settings?: readonly TenantSettings[]): Promise<Retention[]> {
  const own = new Map((settings ?? await settingsOf(pool, tenant)).map((one) => [one.tenant, one]));
  const { rows } = await pool.query<{ tenant: string; type: MemoryType; memories: number; closes: number; deletes: number }>(`
    WITH rule AS MATERIALIZED (SELECT * FROM json_to_recordset($2::json) AS r(tenant text, type memory_type, idle int, closed int))
    SELECT m.tenant_id AS tenant, m.type::text AS type, count(*)::int AS memories, (count(*) FILTER (WHERE ${CLOSES('r.idle')}))::int AS closes, (count(*) FILTER (WHERE ${DELETES('r.closed')}))::int AS deletes
    FROM memories m JOIN rule r ON r.type = m.type AND r.tenant = CASE WHEN m.tenant_id = ANY ($3::text[]) THEN m.tenant_id ELSE '${EVERYBODY}' END
    WHERE $1::text IS NULL OR m.tenant_id = $1 GROUP BY 1, 2 ORDER BY 1, 2`,
  [tenant ?? null, JSON.stringify([...daysOf(EVERYBODY, RETENTION), ...[...own.values()].flatMap((one) => daysOf(one.tenant, retentionOf(one)))]), [...own.keys()]]);
  return [...Map.groupBy(rows, (row) => row.tenant)].flatMap(([of, types]) => {
    const sum = (what: 'memories' | 'closes' | 'deletes'): number => types.reduce((all, row) => all + row[what], 0);
    const set = own.get(of);
    const takes = takenBy(retentionOf(set ?? { settings: {} }), new Map(types.map(({ type, closes }) => [type, closes])), sum('deletes'));
    return takes.length === 0 ? [] : [{ tenant: of, memories: sum('memories'), closes: sum('closes'), deletes: sum('deletes'), settings: set?.version ?? 0, takes }];
  });
}

const daysOf = (tenant: string, { idleDays, closedDays }: RetentionRules): object[] =>
  Object.entries(idleDays).map(([type, idle]) => ({ tenant, type, idle: idle === 'never' ? null : idle, closed: closedDays }));

export interface Retained { readonly closed: number; readonly deleted: number; /** Version of the tenant's settings. */ readonly settings: number; readonly took: readonly Taken[] }

/** Closes and deletes what is due of a tenant, the longest idle first; audited by rule and number. */
export async function retain(pool: EnginePool, tenant: string, actor: string): Promise<Retained> {
  const [set] = await settingsOf(pool, tenant);
  const rules = retentionOf(set ?? { settings: {} });
  const closed = await paged(async () => (await pool.query<{ type: MemoryType }>(`
    WITH m AS (SELECT m.tenant_id, m.id FROM memories m JOIN json_to_recordset($2::json) AS r(type memory_type, idle int) ON r.type = m.type WHERE m.tenant_id = $1 AND ${CLOSES('r.idle')} ORDER BY m.last_seen_at, m.id LIMIT ${PAGE} FOR UPDATE OF m SKIP LOCKED)
    UPDATE memories t SET valid_to = greatest(t.valid_from, now()), version = t.version + 1, indexed_generation = NULL FROM m WHERE t.tenant_id = m.tenant_id AND t.id = m.id RETURNING t.type::text AS type`, [tenant, JSON.stringify(daysOf(tenant, rules))])).rows);
  const deleted = await paged(() => inTransaction(pool, async (client) => {
    const { rows } = await client.query<{ id: string }>(`SELECT m.id FROM memories m WHERE m.tenant_id = $1 AND ${DELETES('$2::int')} ORDER BY m.valid_to, m.id LIMIT ${PAGE} FOR UPDATE SKIP LOCKED`, [tenant, rules.closedDays]);
    const ids = rows.map(({ id }) => id);
    await client.query(`UPDATE memories SET superseded_by = NULL WHERE tenant_id = $1 AND superseded_by = ANY ($2::uuid[])`, [tenant, ids]);
    await client.query(`DELETE FROM memories WHERE tenant_id = $1 AND id = ANY ($2::uuid[])`, [tenant, ids]);
    return rows;
  }));
  const took = takenBy(rules, new Map([...Map.groupBy(closed, ({ type }) => type)].map(([type, of]) => [type, of.length])), deleted.length);
  const done = { closed: closed.length, deleted: deleted.length, settings: set?.version ?? 0, took };
  if (took.length > 0) {
    await pool.query(`INSERT INTO audit_events (tenant_id, actor, action, object_type, object_id, allowed, details) VALUES ($1, $2, 'memory.retention', 'tenant', $1, true, $3::json)`, [tenant, actor, JSON.stringify(done)]);
  }
  return done;
}

async function paged<Row>(page: () => Promise<readonly Row[]>): Promise<Row[]> {
  for (const all: Row[] = []; ;) {
    const rows = await page();
    all.push(...rows);
    if (rows.length < PAGE) return all;
  }
}
