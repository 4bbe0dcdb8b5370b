// The calls about schedules. To make one twice is refused by its name, so only what the server refused for its rate is tried again.
import type { NewScheduleBody, Occurrence, Page, Run, Schedule } from '../domain/wire.ts';
import type { Http } from './http.ts';
import { iteratePages, type Aborting, type Paging } from './paged-list.ts';

export interface ScheduleQuery extends Paging { readonly user?: string | undefined }

export function scheduleCalls(http: Http) {
  const pathOf = (id: string): string => `/v1/schedules/${encodeURIComponent(id)}`;
  const list = ({ signal, ...query }: ScheduleQuery & Aborting = {}): Promise<Page<Schedule>> => http.json('/v1/schedules', { query, signal });
  return {
    create: (body: NewScheduleBody, { signal }: Aborting = {}): Promise<Schedule> => http.json('/v1/schedules', { method: 'POST', body, signal, repeat: 'refused' }),
    /** One page, newest first. */
    list,
    iterate: (query: ScheduleQuery & Aborting = {}) => iteratePages(list, query),
    get: (id: string, { signal }: Aborting = {}): Promise<Schedule> => http.json(pathOf(id), { signal }),
    pause: (id: string, { signal }: Aborting = {}): Promise<Schedule> => http.json(`${pathOf(id)}/pause`, { method: 'POST', signal }),
    /** Goes on with the next occurrence from now. Throws `not_paused`. */
    resume: (id: string, { signal }: Aborting = {}): Promise<Schedule> => http.json(`${pathOf(id)}/resume`, { method: 'POST', signal, repeat: 'refused' }),
    /** One run now, besides its occurrences. */
    runNow: (id: string, { signal }: Aborting = {}): Promise<Run> => http.json(`${pathOf(id)}/run`, { method: 'POST', signal, repeat: 'refused' }),
    /** What it fired and skipped, one page, latest first. */
    occurrences: (id: string, { signal, ...query }: Paging & Aborting = {}): Promise<Page<Occurrence>> => http.json(`${pathOf(id)}/occurrences`, { query, signal }),
    delete: async (id: string, { signal }: Aborting = {}): Promise<void> => { await http.json(pathOf(id), { method: 'DELETE', signal }); },
  };
}
