// One model call of a step: reserve the worst case → breaker → call → settle with true usage. An attempt whose usage nobody
// learnt stays booked at its reserve. Out of budget, rate limited and open breakers park the run; nothing waits in a worker.
import { monoMs, wallMs } from '../clock.ts';
import { codeOf, isMainstayError, MainstayError } from '../domain/errors.ts';
import { storable } from '../domain/json.ts';
import { NO_USAGE, type Model, type ModelRequest, type ModelTurn } from '../domain/model.ts';
import { isUnbilled } from '../domain/model-failure.ts';
import { costMicroUsd, estimateInputTokens, worstCaseMicroUsd } from '../domain/prices.ts';
import { faultPoint } from '../fault-points.ts';
import type { Breakers } from '../limits/breakers.ts';
import type { Metrics } from '../metrics.ts';
import { reserveModelCallIfHeld, settleModelCall, type Place } from '../store/engine/ledger.ts';
import type { EnginePool } from '../store/engine/pool.ts';
import { Park } from '../tools/call-tool.ts';

export interface ModelDeps {
  readonly pool: EnginePool;
  readonly model: Model;
  readonly breakers: Breakers;
  readonly metrics: Metrics;
}

/** How long a run waits before it asks again for room in a budget. */
const BUDGET_RETRY_MS = 30_000;
const RATE_RETRY_MS = 5_000;

export async function callModel(deps: ModelDeps, place: Place, request: ModelRequest, argsHash: string, attempt: number, signal: AbortSignal): Promise<ModelTurn | Park> {
  const reservedMicroUsd = worstCaseMicroUsd(request.model, estimateInputTokens(request), request.maxTokens, wallMs());
  const reserved = await reserveModelCallIfHeld(deps.pool, place, { attempt, model: request.model, argsHash, reservedMicroUsd });
  if (reserved === 'fenced') throw new MainstayError('fenced', 'Another worker holds the run.');
  if (reserved !== 'reserved') {
    if (reserved.exhausted === 'run') throw new MainstayError('budget_exceeded', 'The run has no room left in its own budget.');
    return new Park('budget', BUDGET_RETRY_MS);
  }
  const startedMs = monoMs();
  const settle = (outcome: Parameters<typeof settleModelCall>[3]): Promise<void> => settleModelCall(deps.pool, place, attempt, outcome);
  try {
    faultPoint('model-reserved');
    const turn = await deps.breakers.run(`model:${request.model}`, (callSignal) => deps.model.turn(request, { signal: callSignal }), { signal });
    faultPoint('model-answered');
    const cost = costMicroUsd(request.model, turn.usage, wallMs());
    await settle({ status: 'settled', response: storable(turn, 'the answer of the model', 4 * 1024 * 1024), stopReason: turn.stopReason, requestId: turn.requestId ?? null, errorCode: null, usage: turn.usage, costMicroUsd: cost, durationMs: monoMs() - startedMs });
    faultPoint('model-settled');
    observe(deps.metrics, turn, cost, monoMs() - startedMs);
    return turn;
  } catch (error) {
    const unbilled = isUnbilled(error) || ['breaker_open', 'fenced'].includes(codeOf(error)); // refused before it left
    await settle({ status: unbilled ? 'failed' : 'booked', response: null, stopReason: null, requestId: null, errorCode: codeOf(error), usage: NO_USAGE, costMicroUsd: unbilled ? 0n : reservedMicroUsd, durationMs: monoMs() - startedMs });
    deps.metrics.modelSeconds.observe({ model: deps.metrics.bound('model', request.model), outcome: codeOf(error) }, (monoMs() - startedMs) / 1_000);
    if (isMainstayError(error) && (error.code === 'breaker_open' || error.code === 'rate_limited')) return new Park('rate', error.retryAfterMs ?? RATE_RETRY_MS);
    throw error;
  }
}

function observe(metrics: Metrics, { usage, model }: ModelTurn, cost: bigint, durationMs: number): void {
  const label = metrics.bound('model', model);
  metrics.modelSeconds.observe({ model: label, outcome: 'ok' }, durationMs / 1_000);
  metrics.modelTokens.inc({ model: label, kind: 'input' }, usage.inputTokens);
  metrics.modelTokens.inc({ model: label, kind: 'output' }, usage.outputTokens);
  metrics.modelTokens.inc({ model: label, kind: 'cache_read' }, usage.cacheReadTokens);
  metrics.modelTokens.inc({ model: label, kind: 'cache_write' }, usage.cacheWrite5mTokens + usage.cacheWrite1hTokens);
  metrics.modelCostMicroUsd.inc({ model: label }, Number(cost));
}
