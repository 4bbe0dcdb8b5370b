// What the reading of a document takes from Postgres, under the app's row-level security.
import { CHUNKS_OF_PART } from '../domain/read-document.ts';
import type { TenantTx } from './app-store.ts';
import { CLOSED } from './memory-sql.ts';

export interface DocumentPart {
  /** uuid */
  readonly document: string;
  readonly user: string | null;
  readonly agent: string | null;
  readonly createdMs: number;
  /** In order; ids are uuids. */
  readonly chunks: readonly { readonly id: string; readonly text: string }[];
}

/** Undefined: the document was replaced, removed or never was. */
export async function partOfDocument(tx: TenantTx, document: string, part: number): Promise<DocumentPart | undefined> {
  const rows = await tx.db.$queryRawUnsafe<{ user: string | null; agent: string | null; createdMs: number; id: string; text: string }[]>(`
    SELECT d.user_id AS "user", d.agent, (extract(epoch FROM d.created_at) * 1000)::float8 AS "createdMs", c.id::text AS id, c.text FROM documents d JOIN document_chunks c ON c.tenant_id = d.tenant_id AND c.document_id = d.id
    WHERE d.tenant_id = $1 AND d.id = $2::uuid AND d.closed_at IS NULL AND c.ordinal >= $3::int AND c.ordinal < $3::int + ${CHUNKS_OF_PART} ORDER BY c.ordinal`, tx.scope.tenant, document, part * CHUNKS_OF_PART);
  const [first] = rows;
  return first && { document, user: first.user, agent: first.agent, createdMs: first.createdMs, chunks: rows.map(({ id, text }) => ({ id, text })) };
}

/** Whether it is there still, and stays until the transaction ends. */
export async function holdDocument(tx: TenantTx, document: string): Promise<boolean> {
  return (await tx.db.$queryRawUnsafe<unknown[]>(`SELECT 1 FROM documents WHERE tenant_id = $1 AND id = $2::uuid AND closed_at IS NULL FOR SHARE`, tx.scope.tenant, document)).length === 1;
}

/** The runs that read it are owed, unless they were asked for before. */
export async function askForNotes(tx: TenantTx, document: string): Promise<void> {
  await tx.db.$executeRawUnsafe(`UPDATE documents SET notes_due = true WHERE tenant_id = $1 AND id = $2::uuid AND notes_due IS NULL AND closed_at IS NULL`, tx.scope.tenant, document);
}

/** Notes that rest on this document alone hold no more, from the commit on. */
export async function closeNotes(tx: TenantTx, document: string): Promise<void> {
  await tx.db.$executeRawUnsafe(`
    UPDATE memories SET ${CLOSED}
    WHERE tenant_id = $1 AND document_id = $2::uuid AND valid_to IS NULL AND NOT EXISTS (SELECT FROM json_array_elements(evidence) e WHERE e ->> 'document_id' IS DISTINCT FROM $2::uuid::text)`, tx.scope.tenant, document);
}
