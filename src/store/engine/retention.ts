// What the rules of retention ask of the memories of every tenant, and carrying it out in pages: old outcomes are rolled up, what is idle
// is closed, what has been closed for long is deleted. A closed memory is owed to the index,
// which lets go of it; only then is its row deleted, so that no vector outlives its memory.
import { retentionOf, type MemoryPolicy } from '../../domain/memory-settings.ts';
import { RETENTION, takenBy, type Retention, type RetentionRules, type Taken } from '../../domain/retention.ts';
import { ROLL_UP_FROM } from '../../domain/roll-up.ts';
import type { MemoryType } from '../../domain/status.ts';
import { CLOSED } from '../memory-sql.ts';
import { inTransaction, type EnginePool } from './pool.ts';
import { rollUp, ROLLS, SCOPE_OF } from './roll-up.ts';

/** What a tenant has set, in its newest version. */
export interface TenantSettings extends Pick<MemoryPolicy, 'version' | 'settings'> { readonly tenant: string }

// `idle`: JSON of days by type, `days`: days; what is not there or null is never.
const CLOSES = (idle: string): string => `m.valid_to IS NULL AND m.erased_at IS NULL AND NOT m.pinned AND m.last_seen_at < now() - make_interval(days => (${idle}::jsonb ->> m.type::text)::int)`;
const DELETES = (days: string): string => `m.valid_to < now() - make_interval(days => ${days}::int) AND m.erased_at IS NULL AND m.indexed_generation IS NOT NULL`;
const PAGE = 500;

/** Of every tenant that has set something; `tenant`: of this one alone. */
export async function settingsOf(pool: EnginePool, tenant?: string): Promise<TenantSettings[]> {
  return (await pool.query<TenantSettings>(`SELECT DISTINCT ON (tenant_id) tenant_id AS tenant, version, settings FROM memory_policies WHERE $1::text IS NULL OR tenant_id = $1 ORDER BY tenant_id, version DESC`, [tenant ?? null])).rows;
}

/** Tenants of which something is due; changes nothing. `tenant`: of this one alone; `settings`: as if these were set. */
export async function dueRetention(pool: EnginePool, tenant?: string, settings?: readonly TenantSettings[]): Promise<Retention[]> {
  const own = settings ?? await settingsOf(pool, tenant);
  const due: Retention[] = [];
  for (const one of own) due.push(...await dueBy(pool, retentionOf(one), one.version, one.tenant, []));
  if (tenant === undefined || own.length === 0) due.push(...await dueBy(pool, RETENTION, 0, tenant, own.map((one) => one.tenant)));
  return due.sort((a, b) => (a.tenant < b.tenant ? -1 : 1));
}

/** Of one tenant, or of all but some, by the same rules. */
async function dueBy(pool: EnginePool, rules: RetentionRules, version: number, tenant: string | undefined, except: readonly string[]): Promise<Retention[]> {
  const { rows } = await pool.query<{ tenant: string; type: MemoryType; memories: number; closes: number; rolls: number; deletes: number }>(`
    WITH rolls AS MATERIALIZED (
      SELECT tenant_id, sum(n)::int AS n, sum(idle)::int AS idle FROM (
        SELECT m.tenant_id, count(*) AS n, count(*) FILTER (WHERE ${CLOSES('$3')}) AS idle FROM memories m WHERE ($1::text IS NULL OR m.tenant_id = $1) AND m.tenant_id <> ALL ($2::text[]) AND ${ROLLS('$5::int')}
        GROUP BY m.tenant_id, ${SCOPE_OF} HAVING count(*) >= ${ROLL_UP_FROM}) g GROUP BY 1)
    SELECT m.tenant_id AS tenant, m.type::text AS type, count(*)::int AS memories, (count(*) FILTER (WHERE ${CLOSES('$3')}) - CASE WHEN m.type = 'outcome' THEN coalesce((SELECT idle FROM rolls r WHERE r.tenant_id = m.tenant_id), 0) ELSE 0 END)::int AS closes,
      CASE WHEN m.type = 'outcome' THEN coalesce((SELECT n FROM rolls r WHERE r.tenant_id = m.tenant_id), 0) ELSE 0 END AS rolls, (count(*) FILTER (WHERE ${DELETES('$4')}))::int AS deletes
    FROM memories m WHERE ($1::text IS NULL OR m.tenant_id = $1) AND m.tenant_id <> ALL ($2::text[]) GROUP BY m.tenant_id, m.type`,
  [tenant ?? null, except, idleOf(rules), rules.closedDays, rules.rollUpDays === 'never' ? null : rules.rollUpDays]);
  return [...Map.groupBy(rows, (row) => row.tenant)].flatMap(([of, types]) => {
    const sum = (what: 'memories' | 'closes' | 'rolls' | 'deletes'): number => types.reduce((all, row) => all + row[what], 0);
    const takes = takenBy(rules, { closed: new Map(types.map(({ type, closes }) => [type, closes])), rolled: sum('rolls'), deleted: sum('deletes') });
    return takes.length === 0 ? [] : [{ tenant: of, memories: sum('memories'), closes: sum('closes'), rolls: sum('rolls'), deletes: sum('deletes'), settings: version, takes }];
  });
}

const idleOf = ({ idleDays }: RetentionRules): string => JSON.stringify(Object.fromEntries(Object.entries(idleDays).filter(([, idle]) => idle !== 'never')));

export interface Retained { readonly closed: number; readonly rolled: number; readonly deleted: number; /** Version of the tenant's settings. */ readonly settings: number; readonly took: readonly Taken[] }

/** Rolls up, closes and deletes what is due of a tenant, the longest idle first; audited by rule and number. */
export async function retain(pool: EnginePool, tenant: string, actor: string): Promise<Retained> {
  const [set] = await settingsOf(pool, tenant);
  const rules = retentionOf(set ?? { settings: {} });
  const rolled = await rollUp(pool, tenant, rules.rollUpDays);
  const closed = await paged(async () => (await pool.query<{ type: MemoryType }>(`
    WITH m AS (SELECT m.tenant_id, m.id FROM memories m WHERE m.tenant_id = $1 AND ${CLOSES('$2')} ORDER BY m.last_seen_at, m.id LIMIT ${PAGE} FOR UPDATE SKIP LOCKED)
    UPDATE memories t SET ${CLOSED} FROM m WHERE t.tenant_id = m.tenant_id AND t.id = m.id RETURNING t.type::text AS type`, [tenant, idleOf(rules)])).rows);
  const deleted = await paged(() => inTransaction(pool, async (client) => {
    const { rows } = await client.query<{ id: string }>(`SELECT m.id FROM memories m WHERE m.tenant_id = $1 AND ${DELETES('$2')} ORDER BY m.valid_to, m.id LIMIT ${PAGE} FOR UPDATE SKIP LOCKED`, [tenant, rules.closedDays]);
    const ids = rows.map(({ id }) => id);
    await client.query(`UPDATE memories SET superseded_by = NULL WHERE tenant_id = $1 AND superseded_by = ANY ($2::uuid[])`, [tenant, ids]);
    await client.query(`DELETE FROM memories WHERE tenant_id = $1 AND id = ANY ($2::uuid[])`, [tenant, ids]);
    return rows;
  }));
  const took = takenBy(rules, { closed: new Map([...Map.groupBy(closed, ({ type }) => type)].map(([type, of]) => [type, of.length])), rolled, deleted: deleted.length });
  const done = { closed: closed.length, rolled, deleted: deleted.length, settings: set?.version ?? 0, took };
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
