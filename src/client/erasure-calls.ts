// The calls about erasures. To ask twice erases nothing more, so a request that may not have arrived is tried again.
import type { Erasure, NewErasureBody, Page } from '../domain/wire.ts';
import type { Http } from './http.ts';
import { iteratePages, type Aborting, type Paging } from './paged-list.ts';

export function erasureCalls(http: Http) {
  const list = ({ signal, ...query }: Paging & Aborting = {}): Promise<Page<Erasure>> => http.json('/v1/erasures', { query, signal });
  return {
    /** `{ memory }`, `{ run }`, `{ user }` or `{ tenant }`: asks for it; the answer has the id to look by. */
    create: (body: NewErasureBody, { signal }: Aborting = {}): Promise<Erasure> => http.json('/v1/erasures', { method: 'POST', body, signal, repeat: 'safe' }),
    get: (id: string, { signal }: Aborting = {}): Promise<Erasure> => http.json(`/v1/erasures/${encodeURIComponent(id)}`, { signal }),
    /** One page, newest first. */
    list,
    iterate: (query: Paging & Aborting = {}) => iteratePages(list, query),
  };
}
