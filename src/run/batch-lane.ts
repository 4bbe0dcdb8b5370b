// The batch lane's other half: calls that wait are gathered into batches, sent, looked at, and their results settled, which wakes
// their runs. One leader at a time. A batch's row precedes its creation, so that a creation nobody answered is looked for: one
// of the provider's from that time with as many items is taken for it, and believed once its results name our items; when
// none is found its calls are booked at their reserves, for it may have been made, and go into another.
import { pause, wallMs } from '../clock.ts';
import { codeOf, isMainstayError, messageOf } from '../domain/errors.ts';
import { storable } from '../domain/json.ts';
import { BATCH_LOST, type BatchResult, type FELL_BACK, type ModelBatches } from '../domain/lane.ts';
import { NO_USAGE, type ModelRequest } from '../domain/model.ts';
import { isUnbilled } from '../domain/model-failure.ts';
import { costMicroUsd, isPriced } from '../domain/prices.ts';
import { BATCH_CREATE_MS, BATCH_KEPT_MS, BATCH_LOOK_MAX_MS, BATCH_LOOK_MS, BATCH_LOST_MS, BATCH_MAX_BYTES, BATCH_MAX_ITEMS, BATCH_PAGE, BATCH_REFUSED_MS, BATCH_SKEW_MS, BATCH_SWEEP_MS, BATCH_WAIT_MS } from '../domain/tunables.ts';
import { faultPoint } from '../fault-points.ts';
import { newId } from '../ids.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { Service } from '../service.ts';
import { batchCounts, batchIsOpen, batchWasNotSent, beginBatch, confirmBatch, disproveBatch, dropOldBatches, dueBatches, finishBatch, itemsById, itemsOf, knownProviderIds, lookLater, settleItems, unsentItems, unwantedItems, type BatchItem, type BatchRow, type Unsent } from '../store/engine/batches.ts';
import type { ModelOutcome } from '../store/engine/model-ledger.ts';
import { asLeader, type EnginePool } from '../store/engine/pool.ts';
import { countTurn } from './call-model.ts';
import type { BudgetKeeper } from './keep-budgets.ts';
import type { Dispatcher } from './offer-run.ts';

export interface BatchLaneDeps {
  readonly pool: EnginePool;
  readonly batches: ModelBatches;
  readonly budgets: BudgetKeeper;
  readonly dispatcher: Dispatcher;
  readonly metrics: Metrics;
  readonly log: Log;
  /** Other than the product's own, for tests. */
  readonly times?: Partial<typeof TIMES>;
}

const TIMES = { createMs: BATCH_CREATE_MS, waitMs: BATCH_WAIT_MS, lookMs: BATCH_LOOK_MS, lookMaxMs: BATCH_LOOK_MAX_MS, lostMs: BATCH_LOST_MS, maxItems: BATCH_MAX_ITEMS, maxBytes: BATCH_MAX_BYTES };
/** First key of the leader's advisory lock. */
const LOCK_CLASS = 0x6d62;
const BATCHES_A_SWEEP = 20;
const ITEM_ID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

type Unanswered = Pick<ModelOutcome, 'status' | 'errorCode' | 'costMicroUsd'>;
const fallsBack = (errorCode: (typeof FELL_BACK)[number] | 'cancelled') => (): Unanswered => ({ status: 'failed', errorCode, costMicroUsd: 0n });
const isLost = ({ reservedMicroUsd }: BatchItem): Unanswered => ({ status: 'booked', errorCode: BATCH_LOST, costMicroUsd: reservedMicroUsd });

export class BatchLane implements Service {
  readonly name = 'batches';
  readonly #deps: BatchLaneDeps;
  readonly #times: typeof TIMES;
  readonly #stopping = new AbortController();
  /** Models whose batches the provider refused for now. */
  readonly #notBeforeMs = new Map<string, number>();
  #loop: Promise<void> = Promise.resolve();

  constructor(deps: BatchLaneDeps) {
    this.#deps = deps;
    this.#times = { ...TIMES, ...deps.times };
  }

  start(): Promise<void> {
    this.#loop = (async () => {
      while (!this.#stopping.signal.aborted) {
        await asLeader(this.#deps.pool, LOCK_CLASS, () => this.sweep()).catch((error: unknown) => this.#deps.log.warn({ error: messageOf(error) }, 'batches were not looked at'));
        await pause(BATCH_SWEEP_MS, this.#stopping.signal);
      }
    })();
    return Promise.resolve();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#loop;
  }

  /** One round: what nobody wants any more is dropped, what is ripe is sent, what is under way is looked at. */
  async sweep(): Promise<void> {
    const { pool } = this.#deps;
    await this.#settle(await unwantedItems(pool, BATCH_PAGE), fallsBack('cancelled'));
    for (const unsent of await unsentItems(pool)) for (let left = unsent; this.#isRipe(left);) left = await this.#send(left);
    for (const batch of await dueBatches(pool, BATCHES_A_SWEEP)) {
      if (this.#stopping.signal.aborted) return;
      await (batch.state === 'sending' ? this.#find(batch) : this.#look(batch)).catch(async (error: unknown) => {
        this.#deps.log.warn({ batch: batch.id, error: messageOf(error) }, 'a batch could not be looked at');
        await lookLater(pool, batch.id, this.#times.lookMs);
      });
    }
    await dropOldBatches(pool, BATCH_KEPT_MS);
    await this.#gauge();
  }

  #isRipe({ model, items, bytes, oldestMs }: Unsent): boolean {
    const { maxItems, maxBytes, waitMs } = this.#times;
    return !this.#stopping.signal.aborted && items > 0 && (items >= maxItems || bytes >= maxBytes || oldestMs >= waitMs) && wallMs() >= (this.#notBeforeMs.get(model) ?? 0);
  }

  /** Sends one batch of a model; answers what is left. A creation that takes too long is one nobody answered. */
  async #send(unsent: Unsent): Promise<Unsent> {
    const { pool, batches, log } = this.#deps;
    const { model } = unsent;
    const id = newId();
    const { maxItems, maxBytes, createMs, lookMs } = this.#times;
    const items = await beginBatch(pool, { id, model, maxItems, maxBytes, lookInMs: createMs + lookMs });
    if (items.length === 0) return { ...unsent, items: 0 }; // another was faster
    faultPoint('batch-begun');
    try {
      const created = await batches.create(items.map((item) => ({ id: item.id, request: item.request as ModelRequest })));
      faultPoint('batch-created');
      await batchIsOpen(pool, id, created.id, false, lookMs);
      log.info({ batch: id, provider: created.id, model, items: items.length }, 'batch sent');
    } catch (error) {
      log.warn({ batch: id, model, code: codeOf(error), error: messageOf(error) }, 'batch not created');
      if (!isUnbilled(error)) await lookLater(pool, id, lookMs);
      else if (codeOf(error) === 'model_rejected' || codeOf(error) === 'context_exceeded') await this.#giveUp(id, 'refused', fallsBack('batch_refused'));
      else {
        this.#notBeforeMs.set(model, wallMs() + (isMainstayError(error) ? error.retryAfterMs ?? BATCH_REFUSED_MS : BATCH_REFUSED_MS));
        await batchWasNotSent(pool, id);
      }
    }
    return { ...unsent, items: unsent.items - items.length, bytes: unsent.bytes * (1 - items.length / unsent.items) };
  }

  /** Nobody answered its creation: it is looked for among the provider's. */
  async #find({ id, items, sentMs, disproved }: BatchRow): Promise<void> {
    const { pool, batches, log } = this.#deps;
    const candidates = (await batches.since(sentMs - BATCH_SKEW_MS)).filter((one) => one.items === items && !disproved.includes(one.id));
    const known = await knownProviderIds(pool, candidates.map((one) => one.id));
    const found = candidates.filter((one) => !known.has(one.id)).sort((a, b) => a.createdMs - b.createdMs)[0];
    if (found) {
      await batchIsOpen(pool, id, found.id, true, 0);
      log.warn({ batch: id, provider: found.id }, 'a batch whose creation was not answered was found');
    } else if (wallMs() - sentMs > this.#times.lostMs) {
      await this.#giveUp(id, 'lost', isLost);
      log.warn({ batch: id, items }, 'a batch whose creation was not answered was not found: its calls are booked and made again');
    } else await lookLater(pool, id, this.#times.lookMs);
  }

  async #look(batch: BatchRow): Promise<void> {
    const { pool, batches } = this.#deps;
    const providerId = batch.providerId ?? '';
    const seen = wallMs() - batch.sentMs > BATCH_KEPT_MS ? undefined : await batches.look(providerId);
    if (seen && !seen.ended && batch.cancelRequested) await batches.cancel(providerId);
    if (seen && !seen.ended) return lookLater(pool, batch.id, Math.min(this.#times.lookMaxMs, this.#times.lookMs * 2 ** batch.looks));
    const isOurs = seen === undefined || await this.#read(batch, batches.results(providerId));
    if (!isOurs && batch.adopted) return disproveBatch(pool, batch.id);
    await this.#giveUp(batch.id, 'done', fallsBack('batch_expired')); // items the results do not name
  }

  /** Settles results page by page; answers whether any of them is of this batch. */
  async #read(batch: BatchRow, results: AsyncIterable<BatchResult>): Promise<boolean> {
    let isOurs = false;
    let page: BatchResult[] = [];
    const settlePage = async (): Promise<void> => {
      const items = new Map((await itemsById(this.#deps.pool, page.map(({ id }) => id))).map((item) => [item.id, item]));
      isOurs ||= [...items.values()].some((item) => item.batch === batch.id);
      if (isOurs && batch.adopted) await confirmBatch(this.#deps.pool, batch.id);
      await this.#settleResults(page.flatMap((result) => { const item = items.get(result.id); return item ? [{ item, result }] : []; }));
      page = [];
    };
    for await (const result of results) {
      if (!ITEM_ID.test(result.id)) continue; // nothing of ours is named so
      page.push(result);
      if (page.length >= BATCH_PAGE) await settlePage();
    }
    await settlePage();
    return isOurs;
  }

  async #settleResults(answered: readonly { readonly item: BatchItem; readonly result: BatchResult }[]): Promise<void> {
    const { metrics } = this.#deps;
    const outcomes = answered.map(({ item, result }) => {
      const turn = 'turn' in result ? result.turn : undefined;
      const response = turn && storedTurn(turn);
      if (!turn || response === undefined) return { item, outcome: outcomeOf(item, fallsBack('unanswered' in result ? `batch_${result.unanswered}` : 'batch_errored')()) };
      const cost = isPriced(item.model) ? costMicroUsd(item.model, turn.usage, item.createdMs, 'batch') : 0n;
      countTurn(metrics, turn, cost);
      return { item, outcome: { ...outcomeOf(item, { status: 'settled', errorCode: null, costMicroUsd: cost }), response, stopReason: turn.stopReason, requestId: turn.requestId ?? null, usage: turn.usage } };
    });
    faultPoint('batch-answered');
    await this.#store(outcomes);
  }

  /** All that is left of a batch ends without an answer, then the batch. */
  async #giveUp(id: string, state: 'done' | 'lost' | 'refused', how: (item: BatchItem) => Unanswered): Promise<void> {
    for (let items = await itemsOf(this.#deps.pool, id, BATCH_PAGE); items.length > 0; items = await itemsOf(this.#deps.pool, id, BATCH_PAGE)) await this.#settle(items, how);
    await finishBatch(this.#deps.pool, id, state);
  }

  #settle(items: readonly BatchItem[], how: (item: BatchItem) => Unanswered): Promise<void> {
    return this.#store(items.map((item) => ({ item, outcome: outcomeOf(item, how(item)) })));
  }

  async #store(outcomes: readonly { readonly item: BatchItem; readonly outcome: ModelOutcome }[]): Promise<void> {
    if (outcomes.length === 0) return;
    const { news, ready } = await settleItems(this.#deps.pool, outcomes);
    this.#deps.budgets.passOn(news, new Map(outcomes.map(({ item }) => [item.tenant, item.run])));
    await this.#deps.dispatcher.offerMany(ready.map((run) => ({ ...run, dueInMs: 0 })));
  }

  async #gauge(): Promise<void> {
    const { pool, metrics } = this.#deps;
    const { unsent, sent, open, oldestMs } = await batchCounts(pool);
    metrics.batchItems.set({ state: 'waiting' }, unsent);
    metrics.batchItems.set({ state: 'sent' }, sent);
    metrics.batchesOpen.set(open);
    metrics.batchOldestSeconds.set(oldestMs / 1_000);
  }
}

const outcomeOf = ({ createdMs }: BatchItem, how: Unanswered): ModelOutcome => ({ ...how, response: null, stopReason: null, requestId: null, usage: NO_USAGE, durationMs: Math.max(0, wallMs() - createdMs) });

/** Undefined: too large to be kept; it is asked for again, live. */
function storedTurn(turn: unknown): string | undefined {
  try { return storable(turn, 'the answer of the model', 4 * 1024 * 1024); } catch { return undefined; }
}
