// Adding a document: its text is cut, and document and chunks are stored in one transaction. Nothing is embedded here; the chunks
// are owed to the index from the moment they are there.
import { chunksOf, type Owned } from '../domain/document.ts';
import { newId } from '../ids.ts';
import type { TenantTx } from '../store/app-store.ts';
import { addDocument } from '../store/documents.ts';

export interface DocumentToKeep extends Owned {
  readonly title: string;
  readonly text: string;
  /** `key:<id>` */
  readonly addedBy: string;
}

/** uuid of the document, new or as it was. */
export async function keepDocument(tx: TenantTx, one: DocumentToKeep): Promise<{ readonly id: string; readonly created: boolean }> {
  const chunks = chunksOf(one.text);
  return addDocument(tx, { ...one, id: newId(), chunks, chunkIds: chunks.map(() => newId()) });
}
