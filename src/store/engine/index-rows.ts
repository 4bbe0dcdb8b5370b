// Rows that the vector index owes, over all tenants: memories, summaries and chunks of documents that the current generation does not hold as they
// are. A row is marked only while its version is the one that was written to the index; whoever loses that race learns it
// here and puts it right. A closed memory is owed too: its vector must go.
import type { MemoryScope } from '../../domain/status.ts';
import { bytesOf, vectorOf } from '../vector-bytes.ts';
import { wordsOf } from '../words.ts';
import type { EnginePool } from './pool.ts';

export type IndexedTable = 'memories' | 'run_summaries' | 'document_chunks';

export interface OwedRow {
  readonly tenant: string;
  /** A memory's or a chunk's id; a summary's run. */
  readonly id: string;
  readonly version: number;
  readonly user: string | null;
  readonly agent: string | null;
  readonly scope: MemoryScope;
  readonly type: string;
  /** What it says: the statement, the summary, or the chunk under its title. */
  readonly text: string;
  /** Its words as full text knows them (stems, no stop words), with what it is about and its day. */
  readonly words: string;
  /** False: overtaken; the index must not hold it. */
  readonly live: boolean;
  /** As this embedder made it of this version, where it is kept. */
  readonly vector: number[] | undefined;
}

/** What the index is to hold: a generation of collections, of this embedder. */
export interface Space { readonly generation: string; /** fingerprint */ readonly embedder: string }

/** SQL: a chunk as it is embedded: what it is part of says what it is about. */
export const TITLED = (document: string, chunk: string): string => `concat_ws(E'\\n', ${document}.title, ${chunk}.text)`;
const day = (column: string): string => `to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD FMMonth')`;
const COLUMNS: Readonly<Record<IndexedTable, string>> = {
  memories: `r.tenant_id AS tenant, r.id, r.version, r.user_id AS "user", r.agent, r.scope::text AS scope, r.type::text AS type, r.statement AS text, r.valid_to IS NULL AS live, v.vector AS bytes,
    ${wordsOf(`concat_ws(E'\n', r.statement, r.subject, r.attribute, ${day('r.valid_from')})`)} AS words`,
  run_summaries: `r.tenant_id AS tenant, r.run_id AS id, r.version, r.user_id AS "user", r.agent, CASE WHEN r.user_id IS NULL THEN 'agent' ELSE 'user' END AS scope, 'summary' AS type, r.text,
    r.erased_at IS NULL AS live, v.vector AS bytes, ${wordsOf(`concat_ws(E'\n', r.text, ${day('r.created_at')})`)} AS words`,
  document_chunks: `r.tenant_id AS tenant, r.id, r.version, r.user_id AS "user", r.agent, CASE WHEN r.user_id IS NOT NULL THEN 'user' WHEN r.agent IS NOT NULL THEN 'agent' ELSE 'workspace' END AS scope, d.kind::text AS type,
    ${TITLED('d', 'r')} AS text, r.closed_at IS NULL AS live, v.vector AS bytes, ${wordsOf(TITLED('d', 'r'))} AS words`,
};
const FROM: Readonly<Record<IndexedTable, string>> = {
  memories: 'memories r', run_summaries: 'run_summaries r', document_chunks: 'document_chunks r JOIN documents d ON d.tenant_id = r.tenant_id AND d.id = r.document_id',
};
const KEY: Readonly<Record<IndexedTable, string>> = { memories: 'id', run_summaries: 'run_id', document_chunks: 'id' };
const VECTORS: Readonly<Record<IndexedTable, string>> = { memories: 'memory_vectors', run_summaries: 'summary_vectors', document_chunks: 'chunk_vectors' };
/** Rows that must be found. */
const LIVE: Readonly<Record<IndexedTable, string>> = { memories: 'r.valid_to IS NULL', run_summaries: 'r.erased_at IS NULL', document_chunks: 'r.closed_at IS NULL' };

/** Rows with their vectors of the embedder $1. */
async function rowsOf(pool: EnginePool, table: IndexedTable, embedder: string, rest: string, values: readonly unknown[]): Promise<OwedRow[]> {
  const { rows } = await pool.query<Omit<OwedRow, 'vector'> & { bytes: Buffer | null }>(
    `SELECT ${COLUMNS[table]} FROM ${FROM[table]} LEFT JOIN ${VECTORS[table]} v ON v.tenant_id = r.tenant_id AND v.id = r.${KEY[table]} AND v.version = r.version AND v.embedder = $1 ${rest}`, [embedder, ...values]);
  return rows.map(({ bytes, ...row }) => ({ ...row, vector: bytes === null ? undefined : vectorOf(bytes) }));
}

/** Oldest first. `all`: also rows of another generation, which no index helps to find; ask for them seldom. */
export function owedRows(pool: EnginePool, table: IndexedTable, { generation, embedder }: Space, limit: number, all: boolean): Promise<OwedRow[]> {
  const owed = all ? 'r.indexed_generation IS DISTINCT FROM $2' : 'r.indexed_generation IS NULL AND $2::text IS NOT NULL';
  return rowsOf(pool, table, embedder, `WHERE ${owed} ORDER BY r.created_at, r.${KEY[table]} LIMIT $3`, [generation, limit]);
}

/** Those of `ids` that the generation does not hold as they are. */
export function owedAmong(pool: EnginePool, table: IndexedTable, { generation, embedder }: Space, tenant: string, ids: readonly string[]): Promise<OwedRow[]> {
  return rowsOf(pool, table, embedder, `WHERE r.tenant_id = $2 AND r.${KEY[table]} = ANY ($3::uuid[]) AND r.indexed_generation IS DISTINCT FROM $4 ORDER BY r.${KEY[table]}`, [tenant, ids, generation]);
}

/** Every live row after (tenant, id), in that order: what a fresh collection is filled from. */
export function liveRows(pool: EnginePool, table: IndexedTable, { embedder }: Pick<Space, 'embedder'>, after: Pick<OwedRow, 'tenant' | 'id'>, limit: number): Promise<OwedRow[]> {
  return rowsOf(pool, table, embedder, `WHERE ${LIVE[table]} AND (r.tenant_id, r.${KEY[table]}) > ($2, $3::uuid) ORDER BY r.tenant_id, r.${KEY[table]} LIMIT $4`, [after.tenant, after.id, limit]);
}

/** Versions of a tenant's live rows, by id, and whether this generation is said to hold them. */
export async function liveVersions(pool: EnginePool, table: IndexedTable, generation: string, tenant: string): Promise<{ id: string; version: number; indexed: boolean }[]> {
  const { rows } = await pool.query<{ id: string; version: number; indexed: boolean }>(
    `SELECT r.${KEY[table]} AS id, r.version, r.indexed_generation IS NOT DISTINCT FROM $2 AS indexed FROM ${table} r WHERE r.tenant_id = $1 AND ${LIVE[table]} ORDER BY 1`, [tenant, generation]);
  return rows;
}

/** Also those without a row: the index may hold one of theirs. */
export async function tenantsOf(pool: EnginePool, table: IndexedTable): Promise<string[]> {
  const { rows } = await pool.query<{ tenant: string }>(`SELECT tenant_id AS tenant FROM ${table} UNION SELECT id FROM tenants ORDER BY 1`);
  return rows.map(({ tenant }) => tenant);
}

/** Keeps vectors of rows whose version still is the one that was embedded. */
export async function keepVectors(pool: EnginePool, table: IndexedTable, embedder: string, rows: readonly (Version & { readonly vector: readonly number[] })[]): Promise<void> {
  await pool.query(
    `INSERT INTO ${VECTORS[table]} (tenant_id, id, version, embedder, vector)
     SELECT r.tenant_id, r.${KEY[table]}, r.version, $1, c.vector FROM unnest($2::text[], $3::uuid[], $4::int[], $5::bytea[]) AS c(tenant, id, version, vector)
     JOIN ${table} r ON r.tenant_id = c.tenant AND r.${KEY[table]} = c.id AND r.version = c.version ORDER BY 1, 2
     ON CONFLICT (tenant_id, id) DO UPDATE SET version = excluded.version, embedder = excluded.embedder, vector = excluded.vector`,
    [embedder, rows.map((row) => row.tenant), rows.map((row) => row.id), rows.map((row) => row.version), rows.map((row) => bytesOf(row.vector))]);
}

type Version = Pick<OwedRow, 'tenant' | 'id' | 'version'>;

/** Marks rows whose version still is the one that was indexed; answers those that have changed meanwhile. */
export async function markIndexed<V extends Version>(pool: EnginePool, table: IndexedTable, generation: string, rows: readonly V[]): Promise<V[]> {
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

/** Every live row that this generation is said to hold is owed again, a page at a time; answers how many. */
export async function oweAllAgain(pool: EnginePool, table: IndexedTable, generation: string): Promise<number> {
  const key = KEY[table];
  let [owed, after] = [0, { tenant: '', id: '00000000-0000-0000-0000-000000000000' }];
  for (;;) {
    const { rows: [last] } = await pool.query<{ tenant: string; id: string; owed: number }>(`
      WITH page AS MATERIALIZED (SELECT r.tenant_id, r.${key} AS id FROM ${table} r WHERE ${LIVE[table]} AND (r.tenant_id, r.${key}) > ($2, $3::uuid) ORDER BY 1, 2 LIMIT 1000),
      u AS (UPDATE ${table} m SET indexed_generation = NULL FROM page p WHERE m.tenant_id = p.tenant_id AND m.${key} = p.id AND m.indexed_generation = $1 RETURNING m.tenant_id)
      SELECT tenant_id AS tenant, id, (SELECT count(*)::int FROM u) AS owed FROM page ORDER BY 1 DESC, 2 DESC LIMIT 1`, [generation, after.tenant, after.id]);
    if (!last) return owed;
    owed += last.owed;
    after = last;
  }
}

/** Up to `limit` live rows that this generation is said to hold, of pages at random; all of them where there are no more. */
export async function sampleIndexed(pool: EnginePool, table: IndexedTable, generation: string, limit: number): Promise<Version[]> {
  const { rows: [size] } = await pool.query<{ percent: number }>(`SELECT least(100, 300.0 * $2::int / greatest(reltuples, 1))::float8 AS percent FROM pg_class WHERE oid = $1::regclass`, [table, limit]);
  const { rows } = await pool.query<Version>(
    `SELECT r.tenant_id AS tenant, r.${KEY[table]} AS id, r.version FROM ${table} r TABLESAMPLE SYSTEM ($3) WHERE ${LIVE[table]} AND r.indexed_generation = $1 LIMIT $2`, [generation, limit, size?.percent ?? 100]);
  return rows;
}

export interface RowNow extends Version { readonly live: boolean; /** That is said to hold it; null = owed. */ readonly generation: string | null }

/** Those of these rows that are there, as they are now. */
export async function rowsNow(pool: EnginePool, table: IndexedTable, rows: readonly Pick<Version, 'tenant' | 'id'>[]): Promise<RowNow[]> {
  return (await pool.query<RowNow>(
    `SELECT r.tenant_id AS tenant, r.${KEY[table]} AS id, r.version, ${LIVE[table]} AS live, r.indexed_generation AS generation FROM unnest($1::text[], $2::uuid[]) AS c(tenant, id) JOIN ${table} r ON r.tenant_id = c.tenant AND r.${KEY[table]} = c.id`,
    [rows.map(({ tenant }) => tenant), rows.map(({ id }) => id)])).rows;
}

/** Live rows that only another generation is said to hold. */
export async function countElsewhere(pool: EnginePool, table: IndexedTable, generation: string): Promise<number> {
  return (await pool.query<{ n: number }>(`SELECT count(*)::int AS n FROM ${table} r WHERE ${LIVE[table]} AND r.indexed_generation <> $1`, [generation])).rows[0]?.n ?? 0;
}
