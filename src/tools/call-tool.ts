// One tool call: permission → schema → ledger intent → lock, breaker, time limit → call with key → result. After a crash the
// ledger decides: a result is returned, a read or a keyed call is made again, an unkeyed one is looked up or asks a person.
// It never calls an unkeyed tool twice without proof that the first call did nothing.
import { createHash } from 'node:crypto';
import { monoMs } from '../clock.ts';
import { codeOf, isMainstayError, MainstayError, messageOf } from '../domain/errors.ts';
import { storable, type Json } from '../domain/json.ts';
import { LOCK_RETRY_MS, MAX_TOOL_OUTPUT_BYTES } from '../domain/tunables.ts';
import type { Tool, ToolContext } from '../domain/tool.ts';
import type { WaitReason } from '../domain/status.ts';
import type { Breakers } from '../limits/breakers.ts';
import type { LockLease, Locks } from '../limits/locks.ts';
import type { Metrics } from '../metrics.ts';
import type { RedisKeys } from '../redis.ts';
import { auditAccess, permissionsOf, type Permissions } from '../store/engine/context.ts';
import { fillToolResult, openToolCallIfHeld, type Place, type RecordedCall, type ToolOutcome } from '../store/engine/ledger.ts';
import type { EnginePool } from '../store/engine/pool.ts';

export interface ToolDeps {
  readonly pool: EnginePool;
  readonly breakers: Breakers;
  readonly locks: Locks;
  readonly keys: RedisKeys;
  readonly metrics: Metrics;
}

/** Not an error the caller sees: the run parks until it may go on. */
export class Park {
  readonly reason: WaitReason;
  readonly delayMs: number | undefined;
  constructor(reason: WaitReason, delayMs: number | undefined) { this.reason = reason; this.delayMs = delayMs; }
}

export interface ToolCallRequest {
  readonly tool: Tool;
  readonly args: unknown;
  /** hex SHA-256 of tool and arguments */
  readonly argsHash: string;
  readonly place: Place;
  readonly user: string | undefined;
  readonly signal: AbortSignal;
  /** What the ledger holds of this call from an earlier try. */
  readonly recorded: RecordedCall | undefined;
}

/** The tool's result, or a Park. Throws MainstayError: tool_input_invalid, tool_denied, tool_failed, tool_timeout, fenced. */
export async function callTool(deps: ToolDeps, request: ToolCallRequest): Promise<Json | Park> {
  const { tool, place } = request;
  const key = callKey(place);
  const context: ToolContext = { tenant: place.tenant, user: request.user, run: place.run, key, signal: request.signal };
  const open = async (): Promise<void> => {
    const intent = { key, tool: tool.name, version: tool.version, effect: tool.effect, argsHash: request.argsHash, request: storable(request.args, 'the arguments') };
    if (!(await openToolCallIfHeld(deps.pool, place, intent))) throw new MainstayError('fenced', 'Another worker holds the run.');
  };
  const fill = (outcome: Omit<ToolOutcome, 'durationMs'>, sinceMs: number): Promise<boolean> => {
    const durationMs = monoMs() - sinceMs;
    deps.metrics.toolSeconds.observe({ tool: deps.metrics.bound('tool', tool.name), outcome: outcome.status }, durationMs / 1_000);
    return fillToolResult(deps.pool, place, { ...outcome, durationMs });
  };

  const startedMs = monoMs();
  const denied = await refusal(deps, request);
  if (denied) {
    await open();
    await fill(failed('denied', denied), startedMs);
    throw denied;
  }
  const parsed = tool.input.safeParse(request.args);
  if (!parsed.success) throw new MainstayError('tool_input_invalid', `The arguments of ${tool.name} do not match its schema.`, { fields: parsed.error.issues.map((issue) => ({ path: issue.path.join('.'), message: issue.message })) });

  const earlier = await settleEarlier(request, context, key);
  if (earlier instanceof Park) {
    if (request.recorded?.status === 'intent') await fill(failed('unknown', new MainstayError('outcome_unknown', `Whether ${tool.name} took effect is not known.`)), startedMs);
    return earlier;
  }
  if (earlier) {
    await fill(succeeded(earlier.result), startedMs);
    return earlier.result;
  }

  const resource = tool.lock?.(parsed.data as never);
  let lease: LockLease | undefined;
  if (resource !== undefined) {
    const held = await deps.locks.hold(deps.keys.lock(place.tenant, resource));
    if (held === 'busy' || held === 'unavailable') return new Park('rate', LOCK_RETRY_MS);
    lease = held;
  }
  try {
    await open();
    return await callAndFill(deps, request, parsed.data, context, fill);
  } finally {
    await lease?.release();
  }
}

async function callAndFill(deps: ToolDeps, { tool, signal }: ToolCallRequest, args: unknown, context: ToolContext, fill: (outcome: Omit<ToolOutcome, 'durationMs'>, sinceMs: number) => Promise<boolean>): Promise<Json | Park> {
  const startedMs = monoMs();
  try {
    const result = await deps.breakers.run(`tool:${tool.name}`, (callSignal) => tool.run(args as never, { ...context, signal: callSignal }).catch((error: unknown) => { throw asToolError(tool, error); }), { signal, timeoutMs: tool.timeoutMs, timeoutCode: 'tool_timeout' });
    const json = (result ?? null) as Json;
    const text = storable(json, `the result of ${tool.name}`, MAX_TOOL_OUTPUT_BYTES);
    await fill({ status: 'succeeded', response: text, meta: JSON.stringify({ bytes: Buffer.byteLength(text) }), errorCode: null, errorMessage: null }, startedMs);
    return json;
  } catch (error) {
    const notCalled = codeOf(error) === 'breaker_open';
    const cause = isMainstayError(error) && error.cause !== undefined ? error.cause : error;
    const harmless = notCalled || (tool.notApplied?.(cause) ?? false);
    const known = harmless || tool.effect !== 'unkeyed';
    const seen = isMainstayError(error) ? error : asToolError(tool, error);
    await fill(failed(harmless ? 'not_applied' : known ? 'failed' : 'unknown', seen), startedMs);
    if (notCalled) return new Park('rate', isMainstayError(error) ? error.retryAfterMs : undefined);
    if (!known) return new Park('outcome', undefined);
    throw seen;
  }
}

/** What an earlier try left: nothing to heed (undefined), its result, or a question for a person. */
async function settleEarlier({ tool, recorded }: ToolCallRequest, context: ToolContext, key: string): Promise<{ result: Json } | Park | undefined> {
  if (!recorded || (recorded.status !== 'intent' && recorded.status !== 'unknown')) return undefined;
  if (tool.effect === 'read' || (tool.effect === 'keyed' && recorded.startedMsAgo < tool.keyTtlMs)) return undefined;
  const found = tool.lookup ? await tool.lookup(key, context).catch(() => undefined) : undefined;
  if (found === 'not_applied') return undefined;
  return found ? { result: (found.result ?? null) as Json } : new Park('outcome', undefined);
}

/** Deny by default: scopes and dataset are asked of Postgres at this moment; every access to a dataset leaves its line. */
async function refusal(deps: ToolDeps, { tool, args, user, place }: ToolCallRequest): Promise<MainstayError | undefined> {
  const parsed = tool.input.safeParse(args);
  const dataset = parsed.success ? tool.dataset?.(parsed.data as never) : undefined;
  if (tool.scopes.length === 0 && dataset === undefined) return undefined;
  const permitted: Pick<Permissions, 'scopes' | 'datasets'> = user === undefined ? { scopes: [], datasets: [] } : await permissionsOf(deps.pool, place.tenant, user);
  const missing = tool.scopes.find((scope) => !permitted.scopes.includes(scope));
  const allowed = missing === undefined && (dataset === undefined || permitted.datasets.includes(dataset));
  if (dataset !== undefined || !allowed) {
    await auditAccess(deps.pool, { tenant: place.tenant, actor: `run:${place.run}`, user, action: `tool.${tool.name}`, objectType: dataset === undefined ? 'scope' : 'dataset', objectId: dataset ?? missing ?? '', allowed });
  }
  if (allowed) return undefined;
  return new MainstayError('tool_denied', dataset !== undefined && missing === undefined ? `The user may not read the dataset "${dataset}".` : `The user does not hold the scope "${missing}".`);
}

const succeeded = (result: Json): Omit<ToolOutcome, 'durationMs'> => ({ status: 'succeeded', response: storable(result, 'the result', MAX_TOOL_OUTPUT_BYTES), meta: '{"lookup":true}', errorCode: null, errorMessage: null });
const failed = (status: 'failed' | 'unknown' | 'not_applied' | 'denied', error: MainstayError): Omit<ToolOutcome, 'durationMs'> => ({ status, response: null, meta: '{}', errorCode: error.code, errorMessage: error.message.slice(0, 500) });
const asToolError = (tool: Tool, error: unknown): MainstayError => (isMainstayError(error) ? error : new MainstayError('tool_failed', `${tool.name}: ${messageOf(error).slice(0, 300)}`, { cause: error }));

/** Stable over retries and takeovers: run, step, path. */
const callKey = (place: Place): string => `ms_${createHash('sha256').update(`${place.tenant}/${place.run}/${place.stepSeq}/${place.path}`).digest('hex').slice(0, 40)}`;
