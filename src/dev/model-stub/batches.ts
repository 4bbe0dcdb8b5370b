// Message batches as the provider keeps them. Nothing of an item is to be seen before the end of its batch: no custom id is ever
// listed, and all items count as `processing` until then. Results come in an order of their own. Time passes by looking: what
// a batch has become by now is decided whenever somebody asks.
import { wallMs } from '../../clock.ts';
import { wholeMessage, type Answers } from './answers.ts';
import { errorBody, refusalByFault, type Refusal } from './refusals.ts';
import { fault as faultOfBody } from './validate.ts';
import type { WireRequest } from './wire.ts';

/** How the batches created from now on go. */
export interface BatchPlan {
  /** From creation to end; `held`: until `endBatches`. */
  readonly endsAfterMs?: number | 'held';
  /** From `cancel` to the end. */
  readonly cancelTakesMs?: number;
  /** From creation to expiry, which is the end of a batch still open then. */
  readonly expiresAfterMs?: number;
  /** How many items, in the order given, are answered before a cancel or an expiry; 0 unless told. */
  readonly answeredEarly?: number;
}

const DAY_MS = 86_400_000;
const DEFAULT_PLAN = { endsAfterMs: 1_000, cancelTakesMs: 0, expiresAfterMs: DAY_MS, answeredEarly: 0 } as const;
const MAX_REQUESTS = 100_000;
const MAX_PAGE = 1_000;

type Result = { type: 'succeeded'; message: unknown } | { type: 'errored'; error: unknown } | { type: 'canceled' } | { type: 'expired' };
interface Item { readonly custom_id: string; readonly params: WireRequest }

interface Batch {
  readonly id: string;
  readonly items: readonly Item[];
  readonly plan: Required<BatchPlan>;
  readonly createdMs: number;
  canceledMs: number | undefined;
  /** Of `endBatches`. */
  toldToEnd: boolean;
  ended: { readonly atMs: number; readonly results: readonly { custom_id: string; result: Result }[] } | undefined;
}

/** What the HTTP side sends: a body, or a refusal. */
export type Said = { readonly body: unknown } | { readonly refusal: Refusal };

const notFound: Said = { refusal: { status: 404, type: 'not_found_error', message: 'Message batch not found' } };
const wrong = (message: string): Said => ({ refusal: { status: 400, type: 'invalid_request_error', message } });

export class Batches {
  readonly #answers: Answers;
  readonly #batches: Batch[] = [];
  #plan: Required<BatchPlan> = DEFAULT_PLAN;
  #lastId = 0;

  constructor(answers: Answers) { this.#answers = answers; }

  /** Unnamed parts of the plan are as at the start. */
  plan(plan: BatchPlan): void { this.#plan = { ...DEFAULT_PLAN, ...plan }; }

  reset(): void {
    this.#batches.length = 0;
    this.#plan = DEFAULT_PLAN;
  }

  /** Those still open end at the next look; all of them or the one. */
  end(id?: string): void {
    for (const batch of this.#batches) if (id === undefined || batch.id === id) batch.toldToEnd = true;
  }

  /** What a person at the provider could see, for tests: items with their requests, oldest batch first, and the results of those that ended. */
  all(): { id: string; items: readonly Item[]; results: readonly { custom_id: string; result: Result }[] }[] { return this.#batches.map(({ id, items, ended }) => ({ id, items, results: ended?.results ?? [] })); }

  create(body: unknown, origin: string): Said {
    const requests = (body as { requests?: unknown } | undefined)?.requests;
    if (!Array.isArray(requests) || requests.length === 0) return wrong('requests: at least one request is required');
    if (requests.length > MAX_REQUESTS) return wrong(`requests: at most ${MAX_REQUESTS} requests`);
    const items = requests as readonly Partial<Item>[];
    const bad = items.findIndex(({ custom_id: id, params }) => typeof id !== 'string' || !/^[a-zA-Z0-9_-]{1,64}$/.test(id) || params === null || typeof params !== 'object');
    if (bad >= 0) return wrong(`requests.${bad}: a custom_id of 1 to 64 letters, digits, "_" or "-" and params are required`);
    if (new Set(items.map(({ custom_id: id }) => id)).size < items.length) return wrong('requests: custom_id must be unique within a batch');
    const batch: Batch = {
      id: `msgbatch_stub${String(++this.#lastId).padStart(6, '0')}`, items: items as readonly Item[], plan: this.#plan, createdMs: wallMs(), canceledMs: undefined, toldToEnd: false, ended: undefined,
    };
    this.#batches.push(batch);
    return { body: wireOf(batch, origin) };
  }

  retrieve(id: string, origin: string): Said {
    const batch = this.#find(id);
    return batch ? { body: wireOf(batch, origin) } : notFound;
  }

  /** Newest first; `after_id` goes on to older ones, `before_id` back to newer ones. */
  list(query: URLSearchParams, origin: string): Said {
    const limit = Number(query.get('limit') ?? 20);
    if (!Number.isInteger(limit) || limit < 1 || limit > MAX_PAGE) return wrong(`limit: 1 to ${MAX_PAGE}`);
    const newest = [...this.#batches].reverse();
    const [after, before] = ['after_id', 'before_id'].map((name) => query.get(name)).map((id) => (id === null ? undefined : newest.findIndex((batch) => batch.id === id)));
    if (after === -1 || before === -1) return wrong('after_id, before_id: no such batch');
    const rest = after !== undefined ? newest.slice(after + 1) : before !== undefined ? newest.slice(0, before) : newest;
    const page = before !== undefined && after === undefined ? rest.slice(-limit) : rest.slice(0, limit);
    return { body: { data: page.map((batch) => wireOf(this.#look(batch), origin)), has_more: rest.length > page.length, first_id: page[0]?.id ?? null, last_id: page.at(-1)?.id ?? null } };
  }

  /** Of an ended batch it changes nothing. */
  cancel(id: string, origin: string): Said {
    const batch = this.#find(id);
    if (!batch) return notFound;
    if (!batch.ended) batch.canceledMs ??= wallMs();
    return { body: wireOf(batch, origin) };
  }

  delete(id: string): Said {
    const batch = this.#find(id);
    if (!batch) return notFound;
    if (!batch.ended) return wrong('A batch in progress must be canceled before it can be deleted');
    this.#batches.splice(this.#batches.indexOf(batch), 1);
    return { body: { id, type: 'message_batch_deleted' } };
  }

  /** The lines of the results, last item first. */
  results(id: string): { readonly lines: readonly string[] } | { readonly refusal: Refusal } {
    const batch = this.#find(id);
    if (!batch?.ended) return batch ? { refusal: { status: 404, type: 'not_found_error', message: 'The batch has no results yet' } } : { refusal: { status: 404, type: 'not_found_error', message: 'Message batch not found' } };
    return { lines: [...batch.ended.results].reverse().map((line) => `${JSON.stringify(line)}\n`) };
  }

  #find(id: string): Batch | undefined {
    const batch = this.#batches.find((candidate) => candidate.id === id);
    return batch && this.#look(batch);
  }

  /** Ends a batch whose time has come. */
  #look(batch: Batch): Batch {
    const { endsAfterMs, expiresAfterMs, cancelTakesMs } = batch.plan;
    const ends = [
      { at: batch.canceledMs === undefined ? Infinity : batch.canceledMs + cancelTakesMs, left: 'canceled' as const },
      { at: batch.toldToEnd ? wallMs() : endsAfterMs === 'held' ? Infinity : batch.createdMs + endsAfterMs, left: undefined },
      { at: batch.createdMs + expiresAfterMs, left: 'expired' as const },
    ].sort((a, b) => a.at - b.at);
    const [first] = ends;
    if (!batch.ended && first && first.at <= wallMs()) {
      const answered = first.left === undefined ? batch.items.length : batch.plan.answeredEarly;
      batch.ended = { atMs: first.at, results: batch.items.map((item, index) => ({ custom_id: item.custom_id, result: index < answered ? this.#answer(item) : { type: first.left ?? 'expired' } })) };
    }
    return batch;
  }

  /** An item is checked only now, as the provider does, and answered by the scripts; a fault of a script becomes its error. */
  #answer({ params }: Item): Result {
    const errored = (refusal: Refusal): Result => ({ type: 'errored', error: errorBody(refusal, null) });
    const fault = params.stream === true ? 'stream: not supported in a batch' : faultOfBody(params) ?? this.#answers.tooLong(params);
    if (fault !== undefined) return errored({ status: 400, type: 'invalid_request_error', message: fault });
    const { answer } = this.#answers.scripted(params);
    if ('expired' in answer) return { type: 'expired' };
    if ('fault' in answer) return errored(refusalByFault(answer.fault) ?? { status: 500, type: 'api_error', message: 'Internal server error' });
    return { type: 'succeeded', message: wholeMessage(this.#answers.make(params, answer, 'batch')) };
  }
}

function wireOf(batch: Batch, origin: string): unknown {
  const count = (type: Result['type']): number => batch.ended?.results.filter(({ result }) => result.type === type).length ?? 0;
  const at = (ms: number | undefined): string | null => (ms === undefined ? null : new Date(ms).toISOString());
  return {
    id: batch.id, type: 'message_batch',
    processing_status: batch.ended ? 'ended' : batch.canceledMs === undefined ? 'in_progress' : 'canceling',
    request_counts: { processing: batch.ended ? 0 : batch.items.length, succeeded: count('succeeded'), errored: count('errored'), canceled: count('canceled'), expired: count('expired') },
    created_at: at(batch.createdMs), ended_at: at(batch.ended?.atMs), expires_at: at(batch.createdMs + batch.plan.expiresAfterMs), cancel_initiated_at: at(batch.canceledMs), archived_at: null,
    results_url: batch.ended ? `${origin}/v1/messages/batches/${batch.id}/results` : null,
  };
}
