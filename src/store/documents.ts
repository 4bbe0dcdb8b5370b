// Documents and their chunks, under the app's row-level security: added once however often they are sent, listed, removed. A newer
// version of a source closes the older one in the same transaction. Nothing is deleted here: a removed document is emptied, and its
// row goes once the index has let go of it.
import { documentHash, sourceHash, textHash, type Chunk, type Owned } from '../domain/document.ts';
import type { Document } from '../generated/prisma/client.ts';
import type { TenantTx } from './app-store.ts';
import { closeNotes } from './document-notes.ts';
import { EMPTY_CHUNK, EMPTY_DOCUMENT } from './empty-documents.ts';

export type { Document };

export interface NewDocument extends Owned {
  /** uuid; those of its chunks, one each, in order */
  readonly id: string;
  readonly chunkIds: readonly string[];
  readonly title: string;
  readonly text: string;
  readonly chunks: readonly Chunk[];
  /** `key:<id>` */
  readonly addedBy: string;
}

/** The document's id, and whether it is new: the same content of the same owner and source is the row that is there. */
export async function addDocument(tx: TenantTx, one: NewDocument): Promise<{ readonly id: string; readonly created: boolean }> {
  const { tenant } = tx.scope;
  const hash = documentHash(one, one.title, one.text).toString('hex');
  const source = one.source === undefined ? null : sourceHash(one).toString('hex');
  // Two that bring the same at once go one after the other: the second finds what the first has written.
  await tx.db.$executeRawUnsafe(`SELECT pg_advisory_xact_lock(hashtextextended($1, 0))`, `document ${tenant} ${source ?? hash}`);
  const [same] = await tx.db.$queryRawUnsafe<{ id: string }[]>(`SELECT id::text AS id FROM documents WHERE tenant_id = $1 AND hash = decode($2, 'hex') AND closed_at IS NULL`, tenant, hash);
  if (same) return { id: same.id, created: false };
  const [old] = source === null ? [] : await tx.db.$queryRawUnsafe<{ id: string; version: number }[]>(`SELECT id::text AS id, version FROM documents WHERE tenant_id = $1 AND source_hash = decode($2, 'hex') AND closed_at IS NULL`, tenant, source);
  if (old) await close(tx, old.id, one.id);
  await tx.db.$executeRawUnsafe(`
    INSERT INTO documents (tenant_id, id, user_id, agent, title, source, hash, source_hash, version, bytes, chunks, added_by) VALUES ($1, $2::uuid, $3, $4, $5, $6, decode($7, 'hex'), decode($8, 'hex'), $9::int, $10::int, $11::int, $12)`,
  tenant, one.id, one.user ?? null, one.agent ?? null, one.title, one.source ?? null, hash, source, (old?.version ?? 0) + 1, Buffer.byteLength(one.text), one.chunks.length, one.addedBy);
  await addChunks(tx, one);
  return { id: one.id, created: true };
}

export async function addChunks(tx: TenantTx, one: Pick<NewDocument, 'id' | 'user' | 'agent' | 'chunks' | 'chunkIds'>): Promise<void> {
  await tx.db.$executeRawUnsafe(`
    INSERT INTO document_chunks (tenant_id, id, document_id, ordinal, user_id, agent, start_at, end_at, text, hash)
    SELECT $1, c.id, $2::uuid, c.ordinal, $3, $4, c.start_at, c.end_at, c.text, decode(c.hash, 'hex') FROM unnest($5::uuid[], $6::int[], $7::int[], $8::int[], $9::text[], $10::text[]) AS c(id, ordinal, start_at, end_at, text, hash)`,
  tx.scope.tenant, one.id, one.user ?? null, one.agent ?? null, [...one.chunkIds], one.chunks.map(({ ordinal }) => ordinal), one.chunks.map(({ start }) => start), one.chunks.map(({ end }) => end), one.chunks.map(({ text }) => text), one.chunks.map(({ text }) => textHash(text).toString('hex')));
}

/** Found no more from the commit on; its chunks are owed to the index, which lets go of them. */
async function close(tx: TenantTx, id: string, replacedBy: string): Promise<void> {
  await closeNotes(tx, id);
  await tx.db.$executeRawUnsafe(`UPDATE documents SET closed_at = now(), replaced_by = $3::uuid WHERE tenant_id = $1 AND id = $2::uuid`, tx.scope.tenant, id, replacedBy);
  await tx.db.$executeRawUnsafe(`UPDATE document_chunks SET closed_at = now(), version = version + 1, indexed_generation = NULL WHERE tenant_id = $1 AND document_id = $2::uuid AND closed_at IS NULL`, tx.scope.tenant, id);
}

/** Emptied at once, and what was noted of it holds no more. */
export async function removeDocument(tx: TenantTx, id: string): Promise<void> {
  await closeNotes(tx, id);
  await tx.db.$executeRawUnsafe(`UPDATE documents SET ${EMPTY_DOCUMENT} WHERE tenant_id = $1 AND id = $2::uuid AND erased_at IS NULL`, tx.scope.tenant, id);
  await tx.db.$executeRawUnsafe(`UPDATE document_chunks SET ${EMPTY_CHUNK} WHERE tenant_id = $1 AND document_id = $2::uuid AND erased_at IS NULL`, tx.scope.tenant, id);
}

export interface DocumentFilter {
  readonly user?: string | undefined;
  readonly agent?: string | undefined;
  readonly source?: string | undefined;
  readonly run?: string | undefined;
  readonly kind?: Document['kind'] | undefined;
  /** false: only what is found now */
  readonly includeReplaced: boolean;
  readonly before?: string | undefined;
  readonly limit: number;
}

/** Newest first; those removed are not there. */
export async function listDocuments(tx: TenantTx, { user, agent, source, run, kind, includeReplaced, before, limit }: DocumentFilter): Promise<Document[]> {
  return tx.own(await tx.db.document.findMany({
    where: {
      tenantId: tx.scope.tenant, erasedAt: null, ...(includeReplaced ? {} : { closedAt: null }), ...(user === undefined ? {} : { userId: user }), ...(agent === undefined ? {} : { agent }),
      ...(source === undefined ? {} : { source }), ...(run === undefined ? {} : { runId: run }), ...(kind === undefined ? {} : { kind }), ...(before === undefined ? {} : { id: { lt: before } }),
    },
    orderBy: { id: 'desc' }, take: limit,
  }));
}

export async function getDocument(tx: TenantTx, id: string): Promise<Document | undefined> {
  return tx.own(await tx.db.document.findMany({ where: { tenantId: tx.scope.tenant, id, erasedAt: null } }))[0];
}

/** Chunks of each of these that the index holds as they are, by document. */
export async function indexedChunks(tx: TenantTx, ids: readonly string[]): Promise<Map<string, number>> {
  if (ids.length === 0) return new Map();
  const rows = await tx.db.$queryRawUnsafe<{ id: string; n: number }[]>(`SELECT document_id::text AS id, count(*)::int AS n FROM document_chunks WHERE tenant_id = $1 AND document_id = ANY ($2::uuid[]) AND indexed_generation IS NOT NULL AND closed_at IS NULL GROUP BY 1`, tx.scope.tenant, [...ids]);
  return new Map(rows.map(({ id, n }) => [id, n]));
}

export interface ChunkRow { readonly id: string; readonly ordinal: number; readonly start: number; readonly end: number; readonly text: string }

/** Chunks from `from` on, in order. */
export async function chunksOfDocument(tx: TenantTx, id: string, from: number, limit: number): Promise<ChunkRow[]> {
  return tx.db.$queryRawUnsafe<ChunkRow[]>(`SELECT id::text AS id, ordinal, start_at AS start, end_at AS "end", text FROM document_chunks WHERE tenant_id = $1 AND document_id = $2::uuid AND ordinal >= $3::int ORDER BY ordinal LIMIT $4::int`, tx.scope.tenant, id, from, limit);
}
