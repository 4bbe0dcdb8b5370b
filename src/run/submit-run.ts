// Submit a run: the one use case behind every door. Checks everything first, so that bad input changes nothing; commits one
// row; then offers it. Accepted means the row is committed, whether or not Redis is there.
import { hash } from 'node:crypto';
import { MainstayError, messageOf } from '../domain/errors.ts';
import { canonicalJson, requestDigest, storable } from '../domain/json.ts';
import { isPriced } from '../domain/prices.ts';
import { LANES, type Lane } from '../domain/lane.ts';
import type { Machine } from '../domain/machine.ts';
import { MULTITASK_STRATEGIES, type MultitaskStrategy, type RunStatus } from '../domain/status.ts';
import { MAX_NAME, MAX_PRIORITY, MAX_RUNNING_LIMIT } from '../domain/tunables.ts';
import { faultPoint } from '../fault-points.ts';
import { isGuarded } from '../guards.ts';
import { newId } from '../ids.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import { hasBudget } from '../store/engine/budgets.ts';
import type { Engine } from '../store/engine/engine.ts';
import { isConnectionError, isTimeout } from '../store/engine/pool.ts';
import { submitInterrupting, submitSteering } from '../store/engine/multitask.ts';
import type { NewRun, Submitted } from '../store/engine/submit.ts';
import { readyRun, sessionHead } from '../store/engine/sweeps.ts';
import { INTERRUPT } from '../store/engine/workers.ts';
import type { Dispatcher } from './offer-run.ts';
import type { Registry } from './registry.ts';

export interface SubmitRequest {
  readonly tenant: string;
  /** Who asks, for metrics: http, intake, cli, internal. */
  readonly door: string;
  readonly agent: string;
  readonly input: unknown;
  readonly user?: string | undefined;
  readonly session?: string | undefined;
  /** -1000 to 1000; higher goes first among the tenant's own runs. */
  readonly priority?: number | undefined;
  /** Of runs of the tenant with this key at most `limit` are running. */
  readonly concurrency?: { readonly key: string; readonly limit: number } | undefined;
  readonly metadata?: unknown;
  /** ISO 8601 with zone */
  readonly startAt?: string | undefined;
  readonly delayMs?: number | undefined;
  readonly multitaskStrategy?: MultitaskStrategy | undefined;
  /** Of its calls of the model; unset: as its agent says. */
  readonly lane?: Lane | undefined;
  /** ISO 8601 with zone: by when the result is wanted. Nearer than two hours no call goes into a batch. */
  readonly deadlineAt?: string | undefined;
  readonly idempotencyKey?: string | undefined;
  /** Ends as `expired` when it has not started so many milliseconds after it may. */
  readonly expiresInMs?: number | undefined;
  /** Until it starts, the last submit of the key (of this agent, user and session) is what the run runs. */
  readonly debounce?: Debounce | undefined;
  /** uuid of the run this one is made for: the one that spawned it, or the one it remembers. */
  readonly parent?: string | undefined;
  /** Where the parent's step spawned it. */
  readonly parentPlace?: { readonly stepSeq: number; readonly path: string } | undefined;
}

export interface Debounce {
  readonly key: string;
  /** The run starts when no further submit has come for so long. */
  readonly windowMs: number;
  /** And so long after the first at the latest; the first submit's counts. */
  readonly maxMs?: number | undefined;
}

export interface SubmitResult {
  /** uuid */
  readonly id: string;
  /** false: the run of an earlier submit, by its idempotency key, or of the debounce key this was folded into. */
  readonly created: boolean;
  readonly status: RunStatus;
}

export interface SubmitDeps {
  readonly engine: Engine;
  readonly registry: Registry;
  readonly dispatcher: Dispatcher;
  /** Says to all workers which run somebody wants ended. */
  readonly tell: (told: string) => Promise<unknown>;
  readonly metrics: Metrics;
  readonly log: Log;
  /** Model of agents that name none. */
  readonly defaultModel: string;
}

export type SubmitRun = (request: SubmitRequest) => Promise<SubmitResult>;

const YEAR_MS = 366 * 86_400_000;

/** The row of a request that has passed every check; nothing is written. Throws the caller's errors. */
export function prepareRun({ registry, defaultModel }: Pick<SubmitDeps, 'registry' | 'defaultModel'>, request: SubmitRequest): NewRun {
  const machine = registry.newest(request.agent);
  if (!machine.visible && request.door !== 'internal') throw new MainstayError('agent_unknown', `There is no agent "${request.agent}".`);
  return newRun(machine, request, defaultModel);
}

export function makeSubmitRun(deps: SubmitDeps): SubmitRun {
  return async (request) => {
    const run = prepareRun(deps, request);
    await orUnavailable(refuseUnpriced(deps, [run]));
    const submitted = await orUnavailable(store(deps, run, request.multitaskStrategy ?? 'enqueue'));
    if (submitted.requestHash !== run.requestHash && isGuarded('submit-idempotency')) throw new MainstayError('idempotency_conflict', 'The idempotency key was used before with another request.');
    if (submitted.created) {
      faultPoint('run-submitted');
      deps.metrics.runsSubmitted.inc({ agent: deps.metrics.bound('agent', run.agent), door: deps.metrics.bound('door', request.door) });
      await offerIfFirst(deps, run, submitted);
    }
    return { id: submitted.id, created: submitted.created, status: submitted.status };
  };
}

/** A model without a price is refused here where a budget the run falls under is known already, not at its first call. Throws `model_unpriced`. */
export async function refuseUnpriced({ engine }: Pick<SubmitDeps, 'engine'>, runs: readonly NewRun[]): Promise<void> {
  for (const { tenant, agent, user, model, budgetMicroUsd } of runs) {
    if (model === null || isPriced(model)) continue;
    if (budgetMicroUsd !== null || (await hasBudget(engine.pool, tenant, agent, user))) throw new MainstayError('model_unpriced', `There is no price for the model "${model}" of ${agent}, and a budget has to know it.`);
  }
}

async function store(deps: SubmitDeps, run: NewRun, strategy: MultitaskStrategy): Promise<Submitted> {
  if (run.debounceKey !== null) return deps.engine.submitDebounced(run); // folded in, it is not offered again: the wake-up of its first submit comes early and is delayed by the rest
  if (strategy === 'enqueue' || run.session === null) return deps.engine.submit(run);
  if (strategy === 'steer') return submitSteering(deps.engine.pool, run);
  if (strategy === 'interrupt') return interrupt(deps, run);
  const { submitted: [submitted], busy } = await deps.engine.submitTogether([run], [run.id]);
  if (!submitted || busy.size > 0) throw new MainstayError('session_busy', `The session "${run.session}" has an unfinished run.`);
  return submitted;
}

/** The run under way is asked to end: its worker is told, or it is offered so that one ends it. Both are hints. */
async function interrupt({ engine, dispatcher, tell, log }: SubmitDeps, run: NewRun): Promise<Submitted> {
  const { submitted, head, children } = await submitInterrupting(engine.pool, run);
  try {
    for (const told of [...(head?.status === 'running' ? [head.id + INTERRUPT] : []), ...children]) await tell(told);
    const ready = head?.status === 'queued' ? await readyRun(engine.pool, run.tenant, head.id) : undefined;
    if (ready) await dispatcher.offer(ready, 0);
  } catch (error) {
    log.debug({ run: head?.id, error: messageOf(error) }, 'interrupted, but nobody was told: the lease and maintenance tell');
  }
  return submitted;
}

/** What the store answers; a lost connection to it becomes `unavailable`. */
export async function orUnavailable<T>(answer: Promise<T>): Promise<T> {
  try {
    return await answer;
  } catch (error) {
    if (isConnectionError(error) || isTimeout(error)) throw new MainstayError('unavailable', 'Postgres does not answer.', { retryAfterMs: 2_000, cause: error });
    throw error;
  }
}

/** A run without a session is offered as it was stored, where the caller knows. In a session: commit, then look; of two racing
 *  submits and an end, one always sees who the head is. Never rejects. */
export async function offerIfFirst(deps: Pick<SubmitDeps, 'engine' | 'dispatcher' | 'log'>, run: NewRun, stored?: Submitted): Promise<void> {
  const { pool } = deps.engine;
  try {
    const head = run.session !== null ? await sessionHead(pool, run.tenant, run.user ?? '', run.session)
      : stored ? { ...stored, tenant: run.tenant, pool: run.pool, priority: run.priority } : await readyRun(pool, run.tenant, run.id);
    if (head && head.id === (stored ?? run).id) await deps.dispatcher.offer(head, head.dueInMs);
  } catch (error) {
    deps.log.warn({ run: run.id, error: String(error) }, 'accepted, but not offered: maintenance will');
  }
}

function newRun(machine: Machine, request: SubmitRequest, defaultModel: string): NewRun {
  const user = name('user', request.user);
  const session = name('session', request.session);
  if (session !== null && user === null) throw new MainstayError('bad_request', 'A session belongs to a user: name the user too.', { fields: [{ path: 'user', message: 'required with session' }] });
  const priority = request.priority ?? 0;
  if (!Number.isInteger(priority) || Math.abs(priority) > MAX_PRIORITY) throw new MainstayError('bad_request', `priority must be a whole number from -${MAX_PRIORITY} to ${MAX_PRIORITY}.`, { fields: [{ path: 'priority', message: 'out of range' }] });
  if (request.multitaskStrategy !== undefined && !MULTITASK_STRATEGIES.includes(request.multitaskStrategy)) throw new MainstayError('bad_request', `multitask_strategy must be one of ${MULTITASK_STRATEGIES.join(', ')}.`);
  const input = validInput(machine, request.input);
  const metadata = request.metadata ?? {};
  if (typeof metadata !== 'object' || metadata === null || Array.isArray(metadata)) throw new MainstayError('bad_request', 'metadata must be an object.', { fields: [{ path: 'metadata', message: 'not an object' }] });
  const start = startOf(request);
  const debounce = debounceOf(request, machine.name);
  const requestHash = requestDigest({ agent: request.agent, input: request.input ?? null, user, session, priority, metadata, startAt: request.startAt ?? null, delayMs: request.delayMs ?? null, ...(request.expiresInMs === undefined ? {} : { expiresInMs: request.expiresInMs }), ...(request.concurrency === undefined ? {} : { concurrency: request.concurrency }), ...(request.lane === undefined ? {} : { lane: request.lane }), ...(request.deadlineAt === undefined ? {} : { deadlineAt: request.deadlineAt }) });
  return {
    tenant: request.tenant, id: newId(), agent: machine.name, version: machine.version, pool: machine.pool, visible: machine.visible, user, session, parent: request.parent ?? null,
    parentStepSeq: request.parentPlace?.stepSeq ?? null, parentPath: request.parentPlace?.path ?? null, expiresInMs: expiryOf(request),
    start: machine.start, priority, ...concurrencyOf(request), idempotencyKey: name('idempotencyKey', request.idempotencyKey), requestHash,
    metadata: storable(metadata, 'metadata', 16 * 1024), input, model: machine.model ?? defaultModel, budgetMicroUsd: machine.budgetMicroUsd?.toString() ?? null, ...laneOf(request, machine), ...start, ...debounce,
  };
}

/** The input as the schema understands it, as JSON text. */
function validInput(machine: Machine, input: unknown): string {
  storable(input, 'input');
  const parsed = machine.input.safeParse(input);
  if (!parsed.success) {
    const fields = parsed.error.issues.slice(0, 20).map((issue) => ({ path: ['input', ...issue.path.map(String)].join('.'), message: issue.message }));
    throw new MainstayError('input_invalid', `The input does not match the schema of "${machine.name}": ${fields.map((field) => `${field.path}: ${field.message}`).join('; ').slice(0, 500)}`, { fields });
  }
  return storable(parsed.data, 'input');
}

/** A caller's name: there, not blank, not too long, printable. Undefined becomes null. */
function name(what: string, text: string | undefined): string | null {
  if (text === undefined) return null;
  if (typeof text !== 'string' || text.trim() === '' || text.length > MAX_NAME || /[\p{Cc}\p{Cs}]/u.test(text)) {
    throw new MainstayError('bad_request', `${what} must have 1 to ${MAX_NAME} printable characters.`, { fields: [{ path: what, message: 'not a name' }] });
  }
  return text;
}

function concurrencyOf({ concurrency }: SubmitRequest): { concurrencyKey: string | null; concurrencyLimit: number | null } {
  if (concurrency === undefined) return { concurrencyKey: null, concurrencyLimit: null };
  const { key, limit } = concurrency;
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_RUNNING_LIMIT) throw new MainstayError('bad_request', `concurrency.limit must be a whole number from 1 to ${MAX_RUNNING_LIMIT}.`, { fields: [{ path: 'concurrency.limit', message: 'out of range' }] });
  return { concurrencyKey: name('concurrency.key', key), concurrencyLimit: limit };
}

function expiryOf({ expiresInMs }: SubmitRequest): number | null {
  if (expiresInMs === undefined) return null;
  if (!Number.isFinite(expiresInMs) || expiresInMs < 1 || expiresInMs > YEAR_MS) throw new MainstayError('bad_request', 'expiresInMs must be from 1 to a year.', { fields: [{ path: 'expiresInMs', message: 'out of range' }] });
  return expiresInMs;
}

function laneOf({ lane, deadlineAt }: SubmitRequest, machine: Machine): { lane: Lane | null; deadlineAt: string | null } {
  if (lane !== undefined && !LANES.includes(lane)) throw new MainstayError('bad_request', `lane must be one of ${LANES.join(', ')}.`, { fields: [{ path: 'lane', message: 'no lane' }] });
  return { lane: lane ?? (machine.lane === 'realtime' ? null : machine.lane), deadlineAt: deadlineAt === undefined ? null : timeOf('deadlineAt', deadlineAt) };
}

/** Throws unless it is a time with its zone. */
function timeOf(path: string, text: string): string {
  const whole = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(:\d{2}(\.\d+)?)?(Z|[+-]\d{2}:\d{2})$/.test(text) ? new Date(text) : undefined;
  if (!whole || Number.isNaN(whole.getTime())) throw new MainstayError('bad_request', `${path} must be a time such as 2026-11-24T09:00:00Z, with its zone.`, { fields: [{ path, message: 'not a time' }] });
  return whole.toISOString();
}

function startOf({ startAt, delayMs }: SubmitRequest): { startAt: string | null; delayMs: number } {
  if (startAt !== undefined && delayMs !== undefined) throw new MainstayError('bad_request', 'Give startAt or delayMs, not both.', { fields: [{ path: 'delayMs', message: 'not with startAt' }] });
  if (delayMs !== undefined && (!Number.isFinite(delayMs) || delayMs < 0 || delayMs > YEAR_MS)) throw new MainstayError('bad_request', 'delayMs must be from 0 to a year.', { fields: [{ path: 'delayMs', message: 'out of range' }] });
  if (startAt === undefined) return { startAt: null, delayMs: delayMs ?? 0 };
  return { startAt: timeOf('startAt', startAt), delayMs: 0 };
}

type Debounced = Pick<NewRun, 'debounceKey' | 'debounceMaxMs'> & { readonly delayMs?: number };

/** A key counts within its agent, user and session: nobody folds into another's run. The window is the delay. */
function debounceOf({ debounce, user, session, idempotencyKey, startAt, delayMs, multitaskStrategy }: SubmitRequest, agent: string): Debounced {
  if (debounce === undefined) return { debounceKey: null, debounceMaxMs: null };
  const { windowMs, maxMs } = debounce;
  const refuse = (path: string, detail: string): MainstayError => new MainstayError('bad_request', detail, { fields: [{ path, message: detail }] });
  const key = name('debounce.key', debounce.key);
  if (idempotencyKey !== undefined) throw refuse('debounce', 'Give debounce or an idempotency key, not both: many submits are one run.');
  if (startAt !== undefined || delayMs !== undefined) throw refuse('debounce', 'Give debounce, or startAt or delayMs: the window is the delay.');
  if (multitaskStrategy !== undefined && multitaskStrategy !== 'enqueue') throw refuse('debounce', `Give debounce or multitask_strategy \`${multitaskStrategy}\`: the run waits for more before it stands in its session.`);
  if (!Number.isFinite(windowMs) || windowMs < 1 || windowMs > YEAR_MS) throw refuse('debounce.windowMs', 'debounce.windowMs must be from 1 to a year.');
  if (maxMs !== undefined && (!Number.isFinite(maxMs) || maxMs < windowMs || maxMs > YEAR_MS)) throw refuse('debounce.maxMs', 'debounce.maxMs must be from windowMs to a year.');
  return { debounceKey: hash('sha256', canonicalJson([agent, user ?? null, session ?? null, key])), debounceMaxMs: maxMs ?? null, delayMs: windowMs };
}
