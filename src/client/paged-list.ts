// Lists come in pages; who wants everything iterates, and the pages are fetched as they are needed.
import type { Page } from '../domain/wire.ts';

export interface Aborting { readonly signal?: AbortSignal | undefined }

export interface Paging {
  /** Items of a page: 50 unless told, 200 at most. */
  readonly limit?: number | undefined;
  /** `nextCursor` of the page before. */
  readonly cursor?: string | undefined;
}

export async function* iteratePages<Item, Query extends Paging & Aborting>(list: (query: Query) => Promise<Page<Item>>, query: Query): AsyncGenerator<Item, void, undefined> {
  let page = await list(query);
  for (;;) {
    yield* page.data;
    if (page.nextCursor === null) return;
    page = await list({ ...query, cursor: page.nextCursor });
  }
}
