// The calls about documents. Added twice a document is one, and removed twice it is gone: a request that may not have arrived is
// sent again.
import type { Page } from '../domain/wire.ts';
import type { AddedDocument, Document, DocumentChunk, FoundPassages, NewDocumentBody } from '../domain/wire-documents.ts';
import type { Http } from './http.ts';
import { iteratePages, type Aborting, type Paging } from './paged-list.ts';

export interface DocumentQuery extends Paging {
  readonly user?: string | undefined;
  readonly agent?: string | undefined;
  readonly kind?: Document['kind'] | undefined;
  readonly source?: string | undefined;
  readonly run?: string | undefined;
  /** Also older versions. */
  readonly include?: 'replaced' | undefined;
}

export interface PassageQuery {
  readonly q: string;
  readonly user?: string | undefined;
  readonly agent?: string | undefined;
  readonly kind?: Document['kind'] | undefined;
  /** 10 unless told, 50 at most. */
  readonly limit?: number | undefined;
}

export function documentCalls(http: Http) {
  const path = (id: string, rest = ''): string => `/v1/documents/${encodeURIComponent(id)}${rest}`;
  const list = ({ signal, ...query }: DocumentQuery & Aborting = {}): Promise<Page<Document>> => http.json('/v1/documents', { query, signal });
  const chunks = (id: string, { signal, ...query }: Paging & Aborting = {}): Promise<Page<DocumentChunk>> => http.json(path(id, '/chunks'), { query, signal });
  return {
    /** Stored when it answers; found by its words at once, by meaning as soon as it is indexed. */
    add: (body: NewDocumentBody, { signal }: Aborting = {}): Promise<AddedDocument> => http.json('/v1/documents', { method: 'POST', body, signal, repeat: 'safe' }),
    /** One page, newest first. */
    list,
    iterate: (query: DocumentQuery & Aborting = {}) => iteratePages(list, query),
    get: (id: string, { signal }: Aborting = {}): Promise<Document> => http.json(path(id), { signal }),
    /** One page, in the order of the text. */
    chunks,
    iterateChunks: (id: string, query: Paging & Aborting = {}) => iteratePages((page: Paging & Aborting) => chunks(id, page), query),
    search: ({ signal, ...query }: PassageQuery & Aborting): Promise<FoundPassages> => http.json('/v1/documents/search', { query, signal }),
    remove: (id: string, { signal }: Aborting = {}): Promise<void> => http.json(path(id), { method: 'DELETE', signal }),
  };
}
