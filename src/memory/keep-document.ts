// Adding a document: its text is cut, and document and chunks are stored in one transaction. Nothing is embedded here; the chunks
// are owed to the index from the moment they are there.
import { chunksOf, type Owned } from '../domain/document.ts';
import { newId } from '../ids.ts';
import type { TenantTx } from '../store/app-store.ts';
import { askForNotes } from '../store/document-notes.ts';
import { addDocument } from '../store/documents.ts';

export interface DocumentToKeep extends Owned {
  /** Facts are to be read out of it, through the memory gate. */
  readonly extract?: boolean | undefined;
  readonly title: string;
  readonly text: string;
  /** `key:<id>` */
  readonly addedBy: string;
}

/** uuid of the document, new or as it was. */
export async function keepDocument(tx: TenantTx, one: DocumentToKeep): Promise<{ readonly id: string; readonly created: boolean }> {
  const chunks = chunksOf(one.text);
  const added = await addDocument(tx, { ...one, id: newId(), chunks, chunkIds: chunks.map(() => newId()) });
  if (one.extract) await askForNotes(tx, added.id);
  return added;
}
