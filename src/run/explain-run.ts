// Explain a run: the one use case behind `mainstay explain` and the API. It gathers what Postgres has on record, where the
// ready queue holds the run and what stands in the way of its next call, and lets src/domain/explain.ts judge. Read only; it
// answers while Redis is away, and says so where that is the cause.
import type { Redis } from 'ioredis';
import { MainstayError } from '../domain/errors.ts';
import { explain, type Explanation, type RunFacts } from '../domain/explain.ts';
import type { Machine, RunInfo } from '../domain/machine.ts';
import { publicId } from '../ids.ts';
import { breakerWaitMs, heldLocks } from '../limits/read-breakers.ts';
import type { RedisKeys } from '../redis.ts';
import type { AppStore, Scope } from '../store/app-store.ts';
import type { Engine } from '../store/engine/engine.ts';
import { storedFacts, type StoredFacts } from '../store/engine/explain.ts';
import { getRun, type AgentRun } from '../store/read-runs.ts';
import type { PoolQueue } from './offer-run.ts';
import type { Registry } from './registry.ts';

export interface ExplainDeps {
  readonly store: AppStore;
  readonly engine: Engine;
  readonly registry: Registry;
  readonly queues: ReadonlyMap<string, PoolQueue>;
  /** A client with a short command timeout (openLimitsRedis). */
  readonly redis: Redis;
  readonly keys: RedisKeys;
}

export interface ExplainedRun extends Explanation {
  /** Public id. */
  readonly run: string;
  readonly status: RunFacts['status'];
}

/** Throws `not_found`, also for a run out of scope. `id`: uuid. */
export type ExplainRun = (scope: Scope, id: string) => Promise<ExplainedRun>;

export function makeExplainRun(deps: ExplainDeps): ExplainRun {
  return async (scope, id) => {
    const row = await deps.store.withTenant(scope, (tx) => getRun(tx, id));
    const run = publicId('run', id);
    const stored = row && (await storedFacts(deps.engine.pool, scope.tenant, id, run));
    if (!row || !stored) throw new MainstayError('not_found', 'There is no such run.');
    const facts = await gather(deps, row, run, stored);
    return { run, status: facts.status, ...explain(facts) };
  };
}

async function gather(deps: ExplainDeps, row: AgentRun, run: string, stored: StoredFacts): Promise<RunFacts> {
  const machine = deps.registry.forRun(row.agent, row.version);
  const [breakerUntilMs, locks, place] = await Promise.all([
    stored.refused === null ? null : breakerWaitMs(deps.redis, deps.keys, stored.refused.callee).then((waitMs) => (waitMs === 0 ? null : stored.nowMs + waitMs), () => null),
    stored.waitReason === 'rate' ? locksInTheWay(deps, row, machine) : [],
    deps.queues.get(stored.pool)?.ready.placeOf(row.tenantId, row.id).catch(() => null) ?? null,
  ]);
  return {
    ...stored, run, breakerUntilMs, locks, place, attempts: machine?.attempts ?? null,
    approvals: stored.approvals.map((approval) => ({ ...approval, id: publicId('approval', approval.id) })),
    limits: stored.limits.map((limit) => ({ ...limit, holders: limit.holders.map((holder) => publicId('run', holder)) })),
    children: stored.children.map((child) => ({ ...child, run: publicId('run', child.run) })),
    before: stored.before && { ...stored.before, run: publicId('run', stored.before.run) },
  };
}

/** Resources the machine names for this run that somebody holds. Its function is code of others: what it throws says nothing. */
async function locksInTheWay({ redis, keys }: ExplainDeps, row: AgentRun, machine: Machine | undefined): Promise<string[]> {
  try {
    const input: unknown = machine?.input.parse(row.input);
    const resources = machine?.locks?.(input as never, infoOf(row)) ?? [];
    const held = new Set(await heldLocks(redis, resources.map((resource) => keys.lock(row.tenantId, resource))));
    return resources.filter((resource) => held.has(keys.lock(row.tenantId, resource)));
  } catch {
    return [];
  }
}

function infoOf(row: AgentRun): RunInfo {
  const { tenantId: tenant, id, userId, sessionId, agent, version, model, attempt, fence, parentId, forkedFrom, forkedSeq, metadata } = row;
  return {
    tenant, id, user: userId ?? undefined, session: sessionId ?? undefined, agent, version, model: model ?? '', attempt, fence, parent: parentId ?? undefined,
    fork: forkedFrom === null ? undefined : { run: forkedFrom, seq: forkedSeq ?? 0 }, metadata: metadata as RunInfo['metadata'],
  };
}
