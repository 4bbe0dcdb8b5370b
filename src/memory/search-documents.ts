// Search of documents for a run: what its user and its agent may see. Each search leaves an audit line with the ids of what was
// shown, written only while the worker that asks holds the run.
import type { FoundPassages, Passage as Shown } from '../domain/wire-documents.ts';
import { publicId } from '../ids.ts';
import type { AppStore } from '../store/app-store.ts';
import { audit } from '../store/audit.ts';
import { holdRun, type HeldRun } from '../store/hold-run.ts';
import type { FindChunks, FindPassages, Passage } from './find-chunks.ts';

export type SearchDocuments = (request: FindChunks & HeldRun) => Promise<FoundPassages>;

/** Throws `fenced`, and what Postgres throws when it does not answer. */
export const makeSearchDocuments = (store: AppStore, find: FindPassages): SearchDocuments => async (request) => {
  const { passages, semantic, degraded } = await find(request);
  const data = passages.map(shownPassage);
  await store.withTenant({ tenant: request.tenant, user: request.user ?? null }, async (tx) => {
    await holdRun(tx, request);
    await audit(tx, { actor: `run:${request.run}`, userId: request.user, action: 'document.read', objectType: 'document', objectId: 'search', allowed: true, details: { ids: data.map(({ id }) => id) } });
  });
  return { data, semantic, degraded };
};

/** A passage with the ids that the world knows. */
export const shownPassage = ({ id, document, run, createdAt, ...rest }: Passage): Shown =>
  ({ ...rest, id: publicId('chunk', id), document: publicId('document', document), run: run === null ? null : publicId('run', run), createdAt: createdAt.toISOString() });
