// What a tool's call costs is reserved and booked where a model's is: a row of the same ledger, named `tool:<name>`, in the same budgets.
import { NO_USAGE } from '../domain/model.ts';
import { monoMs } from '../clock.ts';
import type { Place } from '../store/engine/ledger.ts';
import { attemptsOf } from '../store/engine/model-ledger.ts';
import type { Charge, Park } from '../tools/call-tool.ts';
import { reserve, type ModelCall, type ModelDeps } from './call-model.ts';

export type Charging = Pick<ModelCall, 'failsOverBudget' | 'sawInbox' | 'alive'>;

/** Rows of tools stand beside the calls of models at the same places. */
const pathOf = ({ path }: Place): string => `${path}$`;

export async function chargeTool(deps: ModelDeps, call: Charging, at: Place, argsHash: string, tool: string, atMostMicroUsd: bigint): Promise<Charge | Park> {
  const place = { ...at, path: pathOf(at) };
  const attempt = (await attemptsOf(deps.engine.pool, place)) + 1;
  const parked = await reserve(deps, call, { place, attempt, model: `tool:${tool}`, argsHash, reservedMicroUsd: atMostMicroUsd, lane: 'live' });
  if (parked) return parked;
  const startedMs = monoMs();
  return {
    settle: (status, costMicroUsd) => deps.budgets.settle({ place, attempt, outcome: { status, response: null, stopReason: null, requestId: null, errorCode: null, usage: NO_USAGE, costMicroUsd, durationMs: monoMs() - startedMs } }, call.alive),
  };
}
