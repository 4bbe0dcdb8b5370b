// One model call of a step: reserve the worst case in every budget → governor → breaker → call → settle with true usage. An
// attempt whose usage nobody learnt stays booked at its reserve. A turn is handed on while its settlement is under way. No room in a budget, the provider's limits, a spend limit and
// open breakers park the run; nothing waits in a worker. An outage that has opened the breaker is no failure of the step.
import { monoMs, wallMs } from '../clock.ts';
import { whoseBudget } from '../domain/budget.ts';
import { codeOf, isMainstayError, MainstayError, type ErrorCode } from '../domain/errors.ts';
import { storable } from '../domain/json.ts';
import { NO_USAGE, type Model, type ModelRequest, type ModelTurn, type Usage } from '../domain/model.ts';
import { isUnbilled } from '../domain/model-failure.ts';
import { costMicroUsd, estimateInputTokens, isPriced, worstCaseMicroUsd } from '../domain/prices.ts';
import { RATE_RETRY_MS } from '../domain/tunables.ts';
import { faultPoint } from '../fault-points.ts';
import { newId } from '../ids.ts';
import type { Breakers } from '../limits/breakers.ts';
import type { Governor } from '../limits/governor.ts';
import type { Quotas } from '../limits/quotas.ts';
import type { Metrics } from '../metrics.ts';
import { unwantBudgetIfHeld, wantBudgetIfHeld } from '../store/engine/budgets.ts';
import type { Engine } from '../store/engine/engine.ts';
import type { Place } from '../store/engine/ledger.ts';
import type { ModelIntent, ModelOutcome } from '../store/engine/model-ledger.ts';
import { Park } from '../tools/call-tool.ts';
import type { BudgetKeeper } from './keep-budgets.ts';

export interface ModelDeps {
  readonly engine: Engine;
  readonly model: Model;
  readonly governor: Governor;
  readonly quotas: Quotas;
  readonly breakers: Breakers;
  readonly budgets: BudgetKeeper;
  readonly metrics: Metrics;
}

export interface ModelCall {
  readonly place: Place;
  /** On whose behalf, for the quotas. */
  readonly user: string | undefined;
  readonly request: ModelRequest;
  /** hex SHA-256 of the request */
  readonly argsHash: string;
  readonly attempt: number;
  /** How often the step has failed before. */
  readonly failures: number;
  readonly signal: AbortSignal;
  /** Whether a run without room in a budget of its own ends (`budget_exceeded`) instead of asking. */
  readonly failsOverBudget: boolean;
  /** Whether this worker may still hold the run. */
  readonly alive: () => boolean;
  /** Takes the settlement of a turn that is under way: it must be durable before anything is that came of the turn. */
  readonly settling: (settled: Promise<void>) => void;
  /** Told how much of the run's inbox a call that found no room has read. */
  readonly sawInbox: (seq: number) => void;
}

/** Far below what a batch may hold, far above any context. */
const MAX_BATCHED_BYTES = 16 * 1024 * 1024;

/** Parked for these: the run is well, and its worker is free. */
const PARKS: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['breaker_open', 'rate_limited', 'spend_limit', 'quota_exhausted']);

/** The turn, or a Park. Throws `model_unpriced`, `budget_exceeded`, `fenced` and what the model port throws. */
export async function callModel(deps: ModelDeps, call: ModelCall): Promise<ModelTurn | Park> {
  const { request, place, attempt, user, signal, alive, settling } = call;
  const inputTokens = estimateInputTokens(request);
  const madeMs = wallMs();
  const reservedMicroUsd = isPriced(request.model) ? worstCaseMicroUsd(request.model, inputTokens, request.maxTokens, madeMs) : null;
  const parked = await reserve(deps, call, { place, attempt, model: request.model, argsHash: call.argsHash, reservedMicroUsd, lane: 'live' });
  if (parked) return parked;
  const startedMs = monoMs();
  const settle = (outcome: Omit<ModelOutcome, 'durationMs'>): Promise<void> => deps.budgets.settle({ place, attempt, outcome: { ...outcome, durationMs: monoMs() - startedMs } }, alive);
  const breaker = `model:${request.model}`;
  try {
    faultPoint('model-reserved');
    const waitMs = await deps.quotas.waitMs('tokens', place.tenant, user);
    if (waitMs > 0) throw new MainstayError('quota_exhausted', 'The quota of tokens is used up.', { retryAfterMs: waitMs });
    const turn = await deps.governor.run(request.model, { inputTokens, outputTokens: request.maxTokens }, (onLimits) =>
      deps.breakers.run(breaker, (callSignal) => deps.model.turn(request, { signal: callSignal, onLimits }), { signal }));
    faultPoint('model-answered');
    const cost = isPriced(request.model) ? costMicroUsd(request.model, turn.usage, madeMs) : 0n;
    const response = storable(turn, 'the answer of the model', 4 * 1024 * 1024);
    settling(settle({ status: 'settled', response, stopReason: turn.stopReason, requestId: turn.requestId ?? null, errorCode: null, usage: turn.usage, costMicroUsd: cost }).then(() => faultPoint('model-settled')));
    void deps.quotas.used('tokens', place.tenant, user, counted(turn.usage)).catch(() => undefined); // Postgres did not say which there are
    observe(deps.metrics, turn, cost, monoMs() - startedMs);
    return turn;
  } catch (error) {
    const code = codeOf(error);
    const unbilled = isUnbilled(error) || PARKS.has(code) || code === 'fenced'; // refused before it left, or by the provider's door
    await settle({ status: unbilled ? 'failed' : 'booked', response: null, stopReason: null, requestId: null, errorCode: code, usage: NO_USAGE, costMicroUsd: unbilled ? 0n : reservedMicroUsd ?? 0n });
    deps.metrics.modelSeconds.observe({ model: deps.metrics.bound('model', request.model), outcome: code }, (monoMs() - startedMs) / 1_000);
    if (isMainstayError(error) && PARKS.has(code)) return new Park('rate', error.retryAfterMs ?? RATE_RETRY_MS);
    const openMs = isMainstayError(error) && !signal.aborted && error.kind.on === 'retry' ? await deps.breakers.openAfter(breaker, call.failures + 1) : 0; // a run alone in an outage meets another worker each time
    if (openMs > 0) return new Park('rate', openMs);
    throw error;
  }
}

/** Puts a call where it waits for a batch, and parks. Throws `model_unpriced`, `budget_exceeded`, `fenced`. */
export async function joinBatch(deps: ModelDeps, call: Omit<ModelCall, 'signal' | 'settling' | 'failures' | 'alive'>): Promise<Park> {
  const { request, place, attempt } = call;
  const reservedMicroUsd = isPriced(request.model) ? worstCaseMicroUsd(request.model, estimateInputTokens(request), request.maxTokens, wallMs(), 'batch') : null;
  const item = { id: newId(), request: storable(request, 'the request', MAX_BATCHED_BYTES) };
  const parked = await reserve(deps, call, { place, attempt, model: request.model, argsHash: call.argsHash, reservedMicroUsd, lane: 'batch', item });
  if (parked) return parked;
  faultPoint('batch-joined');
  return new Park('batch', undefined); // news since the claim keeps it from parking: its result is such news
}

/** Undefined = reserved. A call that finds no room leaves word and looks once more: what makes room after that wakes the run. */
export async function reserve(deps: ModelDeps, { failsOverBudget, sawInbox }: Pick<ModelCall, 'failsOverBudget' | 'sawInbox'>, intent: ModelIntent): Promise<Park | undefined> {
  const { place, model } = intent;
  let answer = await deps.engine.reserveModelCall(intent);
  if (answer === 'reserved') return undefined;
  if (answer === 'fenced') throw fenced();
  if (intent.reservedMicroUsd === null) throw new MainstayError('model_unpriced', `There is no price for the model "${model}", and the budget of ${whoseBudget(answer.exhausted)} has to know it.`);
  if (failsOverBudget && answer.exhausted.startsWith('run:')) throw new MainstayError('budget_exceeded', 'The run has no room left in its own budget.');
  const key = answer.exhausted;
  const word = await wantBudgetIfHeld(deps.engine.pool, place, key, intent.reservedMicroUsd);
  if (!word) throw fenced();
  answer = await deps.engine.reserveModelCall(intent);
  if (answer === 'reserved') {
    await unwantBudgetIfHeld(deps.engine.pool, place, key).catch(() => undefined); // maintenance finds who is not woken for it
    return undefined;
  }
  if (answer === 'fenced') throw fenced();
  faultPoint('budget-wanted');
  sawInbox(word.inboxSeq);
  return new Park('budget', word.dueInMs ?? undefined);
}

/** Tokens as quotas count them: what came from a cache is free. */
const counted = ({ inputTokens, cacheWrite5mTokens, cacheWrite1hTokens, outputTokens }: Usage): number => inputTokens + cacheWrite5mTokens + cacheWrite1hTokens + outputTokens;

const fenced = (): MainstayError => new MainstayError('fenced', 'Another worker holds the run.');

function observe(metrics: Metrics, turn: ModelTurn, cost: bigint, durationMs: number): void {
  metrics.modelSeconds.observe({ model: metrics.bound('model', turn.model), outcome: 'ok' }, durationMs / 1_000);
  countTurn(metrics, turn, cost);
}

/** Its tokens and what it cost. */
export function countTurn(metrics: Metrics, { usage, model }: ModelTurn, cost: bigint): void {
  const label = metrics.bound('model', model);
  metrics.modelTokens.inc({ model: label, kind: 'input' }, usage.inputTokens);
  metrics.modelTokens.inc({ model: label, kind: 'output' }, usage.outputTokens);
  metrics.modelTokens.inc({ model: label, kind: 'cache_read' }, usage.cacheReadTokens);
  metrics.modelTokens.inc({ model: label, kind: 'cache_write' }, usage.cacheWrite5mTokens + usage.cacheWrite1hTokens);
  metrics.modelCostMicroUsd.inc({ model: label }, Number(cost));
}
