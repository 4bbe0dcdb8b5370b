// The typed HTTP client of Mainstay: no dependencies, only fetch, so that an application may copy it as it stands.
// It promises that a submission is never made twice by a retry (every POST carries an idempotency key), that a stream
// continues after a broken connection where it stopped, and that an AbortSignal ends every call at once. It must never
// import anything but types and its own folder; therefore its fixed numbers stand here and not with the engine's.
// Node 20 and later, and browsers.
import type { FoundSummaries } from '../domain/wire-summaries.ts';
import type { MemoryWorth } from '../domain/wire-worth.ts';
import type * as wire from '../domain/wire.ts';
import { approvalCalls } from './control-calls.ts';
import { makeHttp, newKey, type Http, type MainstayOptions } from './http.ts';
import { iteratePages, type Aborting, type Paging } from './paged-list.ts';
import { runCalls } from './run-calls.ts';
import { documentCalls } from './document-calls.ts';
import { erasureCalls } from './erasure-calls.ts';
import { scheduleCalls } from './schedule-calls.ts';

export { MainstayApiError } from './api-error.ts';
export type { ApprovalQuery, OnceOptions } from './control-calls.ts';
export type { DocumentQuery, PassageQuery } from './document-calls.ts';
export type { MainstayOptions } from './http.ts';
export type { Aborting, Paging } from './paged-list.ts';
export type { ScheduleQuery } from './schedule-calls.ts';
export type { CreateOptions, RunQuery, StreamOptions, WaitOptions } from './run-calls.ts';

export interface MemoryQuery extends Paging {
  readonly user?: string | undefined;
  readonly type?: wire.Memory['type'] | undefined;
  readonly scope?: wire.Memory['scope'] | undefined;
  readonly run?: string | undefined;
  /** Also those a newer one has replaced. */
  readonly include?: 'superseded' | undefined;
}

export interface AuditQuery extends Paging {
  readonly action?: string | undefined;
  readonly objectType?: string | undefined;
  readonly objectId?: string | undefined;
  readonly user?: string | undefined;
}

/** ISO dates or times; without them the last 30 days. */
export interface UsageQuery { readonly from?: string | undefined; readonly to?: string | undefined; readonly user?: string | undefined }

/** Required unless the key is bound to a user. */
export interface OfUser { readonly user?: string | undefined }

/**
 * `new Mainstay({ baseUrl, apiKey })`. Every call takes a `signal` and throws MainstayApiError; what fails in passing is
 * tried again a few times first.
 */
export class Mainstay {
  readonly runs: ReturnType<typeof runCalls>;
  readonly approvals: ReturnType<typeof approvalCalls>;
  readonly schedules: ReturnType<typeof scheduleCalls>;
  readonly sessions: ReturnType<typeof sessionCalls>;
  readonly memories: ReturnType<typeof memoryCalls>;
  readonly documents: ReturnType<typeof documentCalls>;
  readonly summaries: ReturnType<typeof summaryCalls>;
  readonly agents: ReturnType<typeof agentCalls>;
  readonly usage: ReturnType<typeof usageCalls>;
  readonly budgets: ReturnType<typeof budgetCalls>;
  readonly quotas: ReturnType<typeof quotaCalls>;
  readonly audit: ReturnType<typeof auditCalls>;
  readonly keys: ReturnType<typeof keyCalls>;
  readonly permissions: ReturnType<typeof permissionCalls>;
  readonly limits: ReturnType<typeof limitCalls>;
  readonly erasures: ReturnType<typeof erasureCalls>;

  constructor(options: MainstayOptions) {
    const http = makeHttp(options);
    this.runs = runCalls(http);
    this.approvals = approvalCalls(http);
    this.schedules = scheduleCalls(http);
    this.sessions = sessionCalls(http);
    this.memories = memoryCalls(http);
    this.documents = documentCalls(http);
    this.summaries = summaryCalls(http);
    this.agents = agentCalls(http);
    this.usage = usageCalls(http);
    this.budgets = budgetCalls(http);
    this.quotas = quotaCalls(http);
    this.audit = auditCalls(http);
    this.keys = keyCalls(http);
    this.permissions = permissionCalls(http);
    this.limits = limitCalls(http);
    this.erasures = erasureCalls(http);
  }
}

const segment = encodeURIComponent;

function sessionCalls(http: Http) {
  const list = ({ signal, ...query }: OfUser & Paging & Aborting = {}): Promise<wire.Page<wire.Session>> => http.json('/v1/sessions', { query, signal });
  const messages = (id: string, { signal, ...query }: OfUser & Paging & Aborting = {}): Promise<wire.Page<wire.Message>> => http.json(`/v1/sessions/${segment(id)}/messages`, { query, signal });
  return {
    list,
    iterate: (query: OfUser & Paging & Aborting = {}) => iteratePages(list, query),
    get: (id: string, { signal, ...query }: OfUser & Aborting = {}): Promise<wire.Session> => http.json(`/v1/sessions/${segment(id)}`, { query, signal }),
    /** One page, newest first. */
    messages,
    iterateMessages: (id: string, query: OfUser & Paging & Aborting = {}) => iteratePages((page: OfUser & Paging & Aborting) => messages(id, page), query),
  };
}

const summaryCalls = (http: Http) => ({
  /** Finds earlier runs by what they came to, best first: of `user`, or those `agent` made for nobody. */
  search: ({ signal, ...query }: { readonly q: string; readonly user?: string | undefined; readonly agent?: string | undefined; readonly limit?: number | undefined } & Aborting): Promise<FoundSummaries> => http.json('/v1/summaries/search', { query, signal }),
});

function memoryCalls(http: Http) {
  const list = ({ signal, ...query }: MemoryQuery & Aborting = {}): Promise<wire.Page<wire.Memory>> => http.json('/v1/memories', { query, signal });
  return {
    list,
    iterate: (query: MemoryQuery & Aborting = {}) => iteratePages(list, query),
    get: (id: string, { signal }: Aborting = {}): Promise<wire.Memory> => http.json(`/v1/memories/${segment(id)}`, { signal }),
    /** Says that it is useful, wrong or outdated; the last two take it out of recall. */
    feedback: (id: string, body: wire.MemoryFeedbackBody, { signal }: Aborting = {}): Promise<wire.MemoryFeedbackAnswer> => http.json(`/v1/memories/${segment(id)}/feedback`, { method: 'POST', body, signal }),
    /** The runs it was shown to, the newest first. */
    uses: (id: string, { signal }: Aborting = {}): Promise<wire.Page<wire.MemoryUse>> => http.json(`/v1/memories/${segment(id)}/uses`, { signal }),
    /** What came of runs with memory beside those that were left without, how much of it was used, and what each type adds. */
    worth: ({ signal, ...query }: { readonly from?: string | undefined; readonly to?: string | undefined; readonly agent?: string | undefined } & Aborting = {}): Promise<MemoryWorth> => http.json('/v1/memory-worth', { query, signal }),
    /** Another version takes its place; `version` as the caller has seen it. Throws `memory_changed` when it is another by now. */
    correct: (id: string, body: wire.CorrectMemoryBody, { signal }: Aborting = {}): Promise<wire.Memory> => http.json(`/v1/memories/${segment(id)}`, { method: 'PATCH', body, signal }),
    /** Finds memories as a recall of this user and agent does, best first. */
    search: ({ signal, ...query }: { readonly q: string; readonly user?: string | undefined; readonly agent?: string | undefined; readonly asOf?: string | undefined; readonly limit?: number | undefined } & Aborting): Promise<wire.FoundMemories> => http.json('/v1/memories/search', { query, signal }),
    /** What is pinned is closed by no cap and by no rule of retention. */
    pin: (id: string, pinned: boolean, { signal }: Aborting = {}): Promise<wire.Memory> => http.json(`/v1/memories/${segment(id)}/pin`, { method: 'PUT', body: { pinned }, signal }),
    /** What the tenant has set for its memory, and what holds by it. */
    policy: ({ signal }: Aborting = {}): Promise<wire.MemoryPolicy> => http.json('/v1/memory-policy', { signal }),
    /** Changes what is given; null goes back to what holds for everybody. */
    setPolicy: (body: wire.NewMemoryPolicyBody, { signal }: Aborting = {}): Promise<wire.MemoryPolicy> => http.json('/v1/memory-policy', { method: 'PATCH', body, signal }),
    /** Takes the candidate at this place of a run's verdicts out of quarantine; with a scope, for more than it was proposed for. */
    promote: (run: string, index: number, { scope, signal }: { readonly scope?: wire.Memory['scope'] | undefined } & Aborting = {}): Promise<wire.Promoted> =>
      http.json(`/v1/runs/${segment(run)}/memories/${index}/promote`, { method: 'POST', body: scope === undefined ? {} : { scope }, signal }),
  };
}

const agentCalls = (http: Http) => ({
  /** The agents of this installation, with the schema of their input, in one page. */
  list: ({ signal }: Aborting = {}): Promise<wire.Page<wire.Agent>> => http.json('/v1/agents', { signal }),
});

const usageCalls = (http: Http) => ({
  get: ({ signal, ...query }: UsageQuery & Aborting = {}): Promise<wire.Usage> => http.json('/v1/usage', { query, signal }),
});

const budgetCalls = (http: Http) => ({
  /** In one page: those of the tenant, its agents and users, or that of a run (run_…). */
  list: ({ signal, ...query }: { readonly run?: string | undefined } & Aborting = {}): Promise<wire.Page<wire.Budget>> => http.json('/v1/budgets', { query, signal }),
  /** Sets a limit, or with null takes it away; setting it twice is as good as once. Answers the budgets of that subject. */
  set: (body: wire.NewBudgetBody, { signal }: Aborting = {}): Promise<wire.Page<wire.Budget>> => http.json('/v1/budgets', { method: 'PUT', body, signal }),
});

const quotaCalls = (http: Http) => ({
  /** All of them, in one page. */
  list: ({ signal }: Aborting = {}): Promise<wire.Page<wire.Quota>> => http.json('/v1/quotas', { signal }),
  /** Sets a quota, or with `most` null takes it away; answers all of them. */
  set: (body: wire.NewQuotaBody, { signal }: Aborting = {}): Promise<wire.Page<wire.Quota>> => http.json('/v1/quotas', { method: 'PUT', body, signal }),
});

function auditCalls(http: Http) {
  const list = ({ signal, ...query }: AuditQuery & Aborting = {}): Promise<wire.Page<wire.AuditLine>> => http.json('/v1/audit', { query, signal });
  return { list, iterate: (query: AuditQuery & Aborting = {}) => iteratePages(list, query) };
}

function keyCalls(http: Http) {
  const list = ({ signal, ...query }: Paging & Aborting = {}): Promise<wire.Page<wire.ApiKey>> => http.json('/v1/keys', { query, signal });
  return {
    list,
    iterate: (query: Paging & Aborting = {}) => iteratePages(list, query),
    /** `key` is shown this once. Tried again only where it was refused: a second try after a lost answer could make a second key. */
    create: (body: wire.NewKeyBody, { signal }: Aborting = {}): Promise<wire.CreatedKey> =>
      http.json('/v1/keys', { method: 'POST', body, headers: { 'idempotency-key': newKey() }, signal, repeat: 'refused' }),
    revoke: (id: string, { signal }: Aborting = {}): Promise<void> => http.json(`/v1/keys/${segment(id)}`, { method: 'DELETE', signal }),
  };
}

const permissionCalls = (http: Http) => ({
  get: (user: string, { signal }: Aborting = {}): Promise<wire.Permission> => http.json(`/v1/permissions/${segment(user)}`, { signal }),
  /** Replaces the whole set: what is not named is taken away. */
  put: (user: string, body: wire.NewPermissionBody, { signal }: Aborting = {}): Promise<wire.Permission> => http.json(`/v1/permissions/${segment(user)}`, { method: 'PUT', body, signal }),
});

const limitCalls = (http: Http) => ({
  get: ({ signal }: Aborting = {}): Promise<wire.Limits> => http.json('/v1/limits', { signal }),
  /** null = the agent has no limit of its own. */
  setAgent: (agent: string, maxRunning: number | null, { signal }: Aborting = {}): Promise<wire.Limits> => http.json(`/v1/limits/agents/${segment(agent)}`, { method: 'PUT', body: { maxRunning }, signal }),
});
