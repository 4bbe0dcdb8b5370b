// Documents over all tenants: emptied for an erasure or when an older version has outlived its time, and deleted once the index has
// let go of their chunks in every generation.
import { RETENTION } from '../../domain/retention.ts';
import { CHUNKS_OF_PART } from '../../domain/read-document.ts';
import { EMPTY_CHUNK, EMPTY_DOCUMENT } from '../empty-documents.ts';
import { counting, RUNS, type Erasure, type ErasureKind } from './erase.ts';
import { TITLED } from './index-rows.ts';
import { inTransaction, type EnginePool } from './pool.ts';

const OF: Readonly<Record<ErasureKind, string>> = {
  memory: 'false AND $2::text IS NOT NULL', run: `run_id IN (${RUNS.run})`, user: 'user_id = $2', tenant: '$2::text IS NOT NULL',
};

/** Documents of the subject that still say something: at most `limit`. */
export async function documentsToErase(pool: EnginePool, { tenant, kind, subject }: Erasure, limit: number): Promise<string[]> {
  const { rows } = await pool.query<{ id: string }>(`SELECT id FROM documents WHERE tenant_id = $1 AND erased_at IS NULL AND ${OF[kind]} ORDER BY id LIMIT $3`, [tenant, subject, limit]);
  return rows.map(({ id }) => id);
}

/** Their chunks as they were given to the embedder. */
export async function textsOfDocuments(pool: EnginePool, tenant: string, ids: readonly string[]): Promise<string[]> {
  const { rows } = await pool.query<{ text: string }>(`SELECT ${TITLED('d', 'c')} AS text FROM document_chunks c JOIN documents d ON d.tenant_id = c.tenant_id AND d.id = c.document_id WHERE c.tenant_id = $1 AND d.id = ANY ($2::uuid[])`, [tenant, ids]);
  return rows.map(({ text }) => text);
}

/** Empties them, and counts them in the erasure. */
export const eraseDocuments = (pool: EnginePool, erasure: Erasure, ids: readonly string[]): Promise<void> => counting(pool, erasure, async (client) => {
  const documents = await client.query(`UPDATE documents SET ${EMPTY_DOCUMENT}, notes_due = CASE WHEN user_id = $3 OR $4 = 'tenant' THEN NULL ELSE notes_due END WHERE tenant_id = $1 AND id = ANY ($2::uuid[]) AND erased_at IS NULL`, [erasure.tenant, ids, erasure.subject, erasure.kind]); // their readers go with the subject
  const chunks = await client.query(`UPDATE document_chunks SET ${EMPTY_CHUNK} WHERE tenant_id = $1 AND document_id = ANY ($2::uuid[]) AND erased_at IS NULL`, [erasure.tenant, ids]);
  return [['documents', documents.rowCount ?? 0], ['chunks', chunks.rowCount ?? 0]];
});

/** Days that a tenant keeps what was replaced; the newest settings of each tenant count. */
const OWN_DAYS = `SELECT DISTINCT ON (tenant_id) tenant_id, (settings #>> '{retention,closedDays}')::int AS days FROM memory_policies ORDER BY tenant_id, version DESC`;

/** Empties versions that were replaced long ago. The shortest time of all tenants bounds what is read. */
export async function expireReplaced(pool: EnginePool, limit: number): Promise<void> {
  await inTransaction(pool, async (client) => {
    const { rows } = await client.query<{ tenant: string; id: string }>(`
      WITH own AS MATERIALIZED (${OWN_DAYS})
      UPDATE documents SET ${EMPTY_DOCUMENT} WHERE (tenant_id, id) IN (
        SELECT d.tenant_id, d.id FROM documents d LEFT JOIN own USING (tenant_id)
        WHERE d.closed_at < now() - make_interval(days => least($2, (SELECT min(days) FROM own))) AND d.closed_at < now() - make_interval(days => coalesce(own.days, $2)) AND d.erased_at IS NULL ORDER BY d.closed_at LIMIT $1 FOR UPDATE OF d SKIP LOCKED)
      RETURNING tenant_id AS tenant, id`, [limit, RETENTION.closedDays]);
    if (rows.length === 0) return;
    await client.query(`UPDATE document_chunks c SET ${EMPTY_CHUNK} FROM unnest($1::text[], $2::uuid[]) AS d(tenant, id) WHERE c.tenant_id = d.tenant AND c.document_id = d.id AND c.erased_at IS NULL`, [rows.map(({ tenant }) => tenant), rows.map(({ id }) => id)]);
  });
}

/** Emptied chunks by tenant, where no erasure is under way: that one counts what it lets go of. */
export async function emptiedChunks(pool: EnginePool, limit: number): Promise<Map<string, string[]>> {
  const { rows } = await pool.query<{ tenant: string; id: string }>(`
    SELECT tenant_id AS tenant, id FROM document_chunks c WHERE erased_at IS NOT NULL AND NOT EXISTS (SELECT FROM erasures e WHERE e.tenant_id = c.tenant_id AND e.finished_at IS NULL) ORDER BY tenant_id, id LIMIT $1`, [limit]);
  return new Map([...Map.groupBy(rows, ({ tenant }) => tenant)].map(([tenant, of]) => [tenant, of.map(({ id }) => id)]));
}

/** Deletes emptied documents that have no chunk any more. */
export async function dropEmptyDocuments(pool: EnginePool, tenant: string): Promise<void> {
  await pool.query(`DELETE FROM documents d WHERE tenant_id = $1 AND erased_at IS NOT NULL AND notes_due IS NULL AND NOT EXISTS (SELECT FROM document_chunks c WHERE c.tenant_id = d.tenant_id AND c.document_id = d.id)`, [tenant]);
}

export interface OwedReading { readonly tenant: string; readonly document: string; readonly user: string | null; readonly chunks: number }

/** Documents whose notes were asked for and whose reading runs are owed, oldest first. */
export async function owedReadings(pool: EnginePool, limit: number): Promise<OwedReading[]> {
  return (await pool.query<OwedReading>(`SELECT tenant_id AS tenant, id AS document, user_id AS "user", chunks FROM documents WHERE notes_due AND closed_at IS NULL ORDER BY created_at LIMIT $1`, [limit])).rows;
}

/** SQL: an erasure of each run that read one of the documents `d`. */
const ERASE_READERS = `INSERT INTO erasures (tenant_id, id, kind, subject, requested_by)
    SELECT r.tenant_id, gen_random_uuid(), 'run', r.id::text, 'document' FROM d CROSS JOIN LATERAL generate_series(0, d.chunks / ${CHUNKS_OF_PART}) AS p(part)
    JOIN agent_runs r ON r.tenant_id = d.tenant_id AND r.idempotency_key = 'read:' || d.id || ':' || p.part`;

/** Their runs are submitted. Those of a document that was removed meanwhile came too late to be erased with it, and are erased now. */
export async function readingsSubmitted(pool: EnginePool, { tenant, document, chunks }: OwedReading): Promise<void> {
  await pool.query(`UPDATE documents SET notes_due = false WHERE tenant_id = $1 AND id = $2 AND notes_due`, [tenant, document]);
  await pool.query(`WITH d AS (SELECT $1::text AS tenant_id, $2::uuid AS id, $3::int AS chunks WHERE NOT EXISTS (SELECT FROM documents WHERE tenant_id = $1 AND id = $2::uuid AND erased_at IS NULL)) ${ERASE_READERS}`, [tenant, document, chunks]);
}

/** What was read out of removed documents goes with them. */
export async function eraseReaders(pool: EnginePool, limit: number): Promise<void> {
  await pool.query(`
    WITH d AS (UPDATE documents SET notes_due = NULL WHERE (tenant_id, id) IN (SELECT tenant_id, id FROM documents WHERE erased_at IS NOT NULL AND notes_due IS NOT NULL LIMIT $1 FOR UPDATE SKIP LOCKED) RETURNING tenant_id, id, chunks)
    ${ERASE_READERS}`, [limit]);
}
