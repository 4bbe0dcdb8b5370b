// Rows that the vector index owes, over all tenants: memories and summaries that the current generation does not hold as they
// are. A row is marked only while its version is the one that was written to the index; whoever loses that race learns it
// here and puts it right. A closed memory is owed too: its vector must go.
import type { MemoryScope } from '../../domain/status.ts';
import type { EnginePool } from './pool.ts';

export type IndexedTable = 'memories' | 'run_summaries';

export interface OwedRow {
  readonly tenant: string;
  /** A memory's id; a summary's run. */
  readonly id: string;
  readonly version: number;
  readonly user: string | null;
  readonly agent: string | null;
  readonly scope: MemoryScope;
  readonly type: string;
  readonly subject: string;
  readonly attribute: string;
  readonly text: string;
  readonly day: string;
  /** False: overtaken; the index must not hold it. */
  readonly live: boolean;
}

const COLUMNS: Readonly<Record<IndexedTable, string>> = {
  memories: `tenant_id AS tenant, id, version, user_id AS "user", agent, scope::text AS scope, type::text AS type, subject, attribute, statement AS text,
    to_char(valid_from AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, valid_to IS NULL AS live`,
  run_summaries: `tenant_id AS tenant, run_id AS id, version, user_id AS "user", agent, CASE WHEN user_id IS NULL THEN 'agent' ELSE 'user' END AS scope, 'summary' AS type,
    '' AS subject, '' AS attribute, text, to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day, erased_at IS NULL AS live`,
};
const KEY: Readonly<Record<IndexedTable, string>> = { memories: 'id', run_summaries: 'run_id' };

/** Oldest first. `all`: also rows of another generation, which no index helps to find; ask for them seldom. */
export async function owedRows(pool: EnginePool, table: IndexedTable, generation: string, limit: number, all: boolean): Promise<OwedRow[]> {
  const owed = all ? 'indexed_generation IS DISTINCT FROM $1' : 'indexed_generation IS NULL AND $1::text IS NOT NULL';
  const { rows } = await pool.query<OwedRow>(`SELECT ${COLUMNS[table]} FROM ${table} WHERE ${owed} ORDER BY created_at, ${KEY[table]} LIMIT $2`, [generation, limit]);
  return rows;
}

/** Those of `ids` that the generation does not hold as they are. */
export async function owedAmong(pool: EnginePool, table: IndexedTable, generation: string, tenant: string, ids: readonly string[]): Promise<OwedRow[]> {
  const { rows } = await pool.query<OwedRow>(
    `SELECT ${COLUMNS[table]} FROM ${table} WHERE tenant_id = $1 AND ${KEY[table]} = ANY ($2::uuid[]) AND indexed_generation IS DISTINCT FROM $3 ORDER BY ${KEY[table]}`, [tenant, ids, generation]);
  return rows;
}

type Version = Pick<OwedRow, 'tenant' | 'id' | 'version'>;

/** Marks rows whose version still is the one that was indexed; answers those that have changed meanwhile. */
export async function markIndexed(pool: EnginePool, table: IndexedTable, generation: string, rows: readonly Version[]): Promise<Version[]> {
  const key = KEY[table];
  const marked = await pool.query<{ tenant: string; id: string }>(
    `UPDATE ${table} m SET indexed_generation = $1 FROM unnest($2::text[], $3::uuid[], $4::int[]) AS c(tenant, id, version)
     WHERE m.tenant_id = c.tenant AND m.${key} = c.id AND m.version = c.version RETURNING m.tenant_id AS tenant, m.${key} AS id`,
    [generation, rows.map((row) => row.tenant), rows.map((row) => row.id), rows.map((row) => row.version)]);
  const done = new Set(marked.rows.map((row) => `${row.tenant} ${row.id}`));
  return rows.filter((row) => !done.has(`${row.tenant} ${row.id}`));
}

/** The index may hold an older text of these: they are owed again, whoever had marked them. */
export async function oweAgain(pool: EnginePool, table: IndexedTable, rows: readonly Version[]): Promise<void> {
  await pool.query(`UPDATE ${table} m SET indexed_generation = NULL FROM unnest($1::text[], $2::uuid[]) AS c(tenant, id) WHERE m.tenant_id = c.tenant AND m.${KEY[table]} = c.id`,
    [rows.map((row) => row.tenant), rows.map((row) => row.id)]);
}
