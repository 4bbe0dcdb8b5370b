// One tool call: schema → permission → approval → cache → lock, rate, reserve → ledger intent → breaker, time limit → call with key → result. After
// a crash the ledger decides: a result is returned, a read or a keyed call is made again under its key, an unkeyed one is looked
// up or asks a person. It never calls an unkeyed tool twice without proof that the first call did nothing, and a fork asks
// before it repeats an effect its origin had.
import { createHash } from 'node:crypto';
import { monoMs } from '../clock.ts';
import type { BlobStore } from '../domain/blob.ts';
import { codeOf, isMainstayError, MainstayError, messageOf } from '../domain/errors.ts';
import { canonicalJson, storable, type Json } from '../domain/json.ts';
import { BUSINESS_RETRY_MS, LOCK_RETRY_MS, MAX_MESSAGE_BYTES } from '../domain/tunables.ts';
import type { Tool, ToolContext } from '../domain/tool.ts';
import type { WaitReason } from '../domain/status.ts';
import { faultPoint } from '../fault-points.ts';
import { isGuarded } from '../guards.ts';
import { newId } from '../ids.ts';
import type { Breakers } from '../limits/breakers.ts';
import type { LockLease, Locks } from '../limits/locks.ts';
import type { CachedRead, ToolCache } from '../limits/tool-cache.ts';
import type { ToolRates } from '../limits/tool-rates.ts';
import type { Metrics } from '../metrics.ts';
import type { RedisKeys } from '../redis.ts';
import { askApprovalIfHeld } from '../store/engine/approvals.ts';
import { permissionsOf } from '../store/engine/context.ts';
import { businessTwin, fillToolResult, isHeld, openToolCallIfHeld, originCall, type Place, type RecordedCall, type ToolOutcome } from '../store/engine/ledger.ts';
import { isUniqueViolation, type EnginePool } from '../store/engine/pool.ts';
import { keepValue, readValue } from '../values.ts';
import { refusal } from './permission.ts';
import { storableOutput } from './tool-output.ts';

export interface ToolDeps {
  readonly pool: EnginePool;
  readonly breakers: Breakers;
  readonly locks: Locks;
  readonly rates: ToolRates;
  readonly keys: RedisKeys;
  readonly metrics: Metrics;
  readonly blobs: BlobStore;
  readonly cache: ToolCache;
}

/** Not an error the caller sees: the run parks until it may go on. `delayMs` undefined = no time wakes it. */
export class Park {
  readonly reason: WaitReason;
  readonly delayMs: number | undefined;
  constructor(reason: WaitReason, delayMs: number | undefined) { this.reason = reason; this.delayMs = delayMs; }
}

/** A reserve; what is not settled is booked whole by the next claim. */
export interface Charge { settle(outcome: 'settled' | 'failed' | 'booked', costMicroUsd: bigint): Promise<void> }

export interface ToolCallRequest {
  readonly tool: Tool;
  readonly args: unknown;
  /** hex SHA-256 of tool and arguments, as the step gave them */
  readonly argsHash: string;
  readonly place: Place;
  readonly user: string | undefined;
  readonly signal: AbortSignal;
  /** What the ledger holds of this call from an earlier try. */
  readonly recorded: RecordedCall | undefined;
  /** The run a fork began with, and how many of its steps it took over. */
  readonly origin: { readonly run: string; readonly seq: number } | undefined;
  /** Reserves what a call may cost in every budget it falls under; a Park where one has no room. */
  readonly charge: (tool: string, atMostMicroUsd: bigint) => Promise<Charge | Park>;
  /** Shows the run's live progress. */
  readonly progress: (fraction: number, note: string | undefined) => void;
  readonly searchDocuments: ToolContext['searchDocuments'];
  /** Told how much of the run's inbox an open question has read. */
  readonly sawInbox: (seq: number) => void;
}

/** The tool's result, or a Park. Throws MainstayError: tool_input_invalid, tool_denied, approval_denied, tool_failed, tool_timeout, fenced. */
export async function callTool(deps: ToolDeps, request: ToolCallRequest): Promise<Json | Park> {
  const parsed = parse(request.tool, request.args);
  const call = new ToolCall(deps, request);
  const denied = await refusal(deps.pool, request.tool, parsed, request.user, request.place);
  if (denied) return call.refuse(denied);
  const origin = await call.origin();
  if (origin !== undefined && 'result' in origin) return call.adopt(origin.result, '{"fork":true}');
  const agreed = await call.approved(parsed, origin?.asks ?? false);
  if (agreed instanceof Park) return agreed;
  // a person may change the arguments, never what the run's user may do
  const deniedNow = agreed.edited ? await refusal(deps.pool, request.tool, agreed.args, request.user, request.place) : undefined;
  if (deniedNow) return call.refuse(deniedNow);
  const earlier = await call.settleEarlier();
  if (earlier instanceof Park) return earlier;
  if (earlier) return call.adopt(earlier.result, '{"lookup":true}');
  const cached = await call.cached();
  if (cached) return call.adopt(cached.result, '{"cached":true}');
  return call.make(agreed.args);
}

function parse(tool: Tool, args: unknown): unknown {
  const parsed = tool.input.safeParse(args);
  if (parsed.success) return parsed.data;
  throw new MainstayError('tool_input_invalid', `The arguments of ${tool.name} do not match its schema.`, { fields: parsed.error.issues.map((issue) => ({ path: issue.path.join('.'), message: issue.message })) });
}

class ToolCall {
  readonly #deps: ToolDeps;
  readonly #request: ToolCallRequest;
  readonly #startedMs = monoMs();
  /** A tool that is given up may go on talking: the run may be parked or ended by then. */
  #underWay = false;
  /** Stable over retries and takeovers: run, step, path. A fork repeats a keyed call under its origin's. */
  #key: string;
  #charge: Charge | undefined;
  #read: CachedRead | undefined;

  constructor(deps: ToolDeps, request: ToolCallRequest) {
    this.#deps = deps;
    this.#request = request;
    this.#key = isGuarded('key-of-place') ? request.recorded?.key ?? callKey(request.place) : newId();
  }

  /** A fork goes on with a call its origin left open, and asks before it repeats one its origin made. */
  async origin(): Promise<{ readonly result: Json } | { readonly asks: boolean } | undefined> {
    const { origin, place, tool, recorded, argsHash } = this.#request;
    if (!origin || recorded !== undefined || tool.effect === 'read') return undefined;
    const there = await originCall(this.#deps.pool, origin, place, tool.name, argsHash);
    if (!there) return undefined;
    if (!there.same) return { asks: true };
    if (there.status === 'succeeded') return { result: await this.#valueOf(there) };
    if (tool.effect === 'keyed') this.#key = there.key;
    return { asks: tool.effect === 'unkeyed' && there.status !== 'failed' };
  }

  /** The arguments a person agreed to; the call waits while nobody has. */
  async approved(args: unknown, must: boolean): Promise<{ readonly args: unknown; readonly edited: boolean } | Park> {
    const { tool, place, sawInbox } = this.#request;
    if (!must && !tool.approval?.asks(args as never)) return { args, edited: false };
    const hash = createHash('sha256').update(canonicalJson({ tool: tool.name, args })).digest('hex');
    const asked = await askApprovalIfHeld(this.#deps.pool, place, {
      id: newId(), argsHash: hash, subject: tool.name, request: storable(args, 'the arguments', MAX_MESSAGE_BYTES), expiresInMs: tool.approval?.expiresInMs ?? null, onExpiry: tool.approval?.onExpiry === 'approve' ? 'approved' : 'denied',
    });
    if (asked === 'fenced') throw fenced();
    if (asked === 'diverged') throw new MainstayError('step_diverged', `A person was asked about ${tool.name} with other arguments.`);
    if (!('decision' in asked)) { sawInbox(asked.inboxSeq); return new Park('approval', asked.dueInMs ?? undefined); }
    const { approved, reason, edited } = asked.decision;
    if (!approved) return this.refuse(new MainstayError('approval_denied', `A person said no to ${tool.name}${reason === null ? '.' : `: ${reason}`}`));
    return edited === null ? { args, edited: false } : { args: parse(tool, edited), edited: true };
  }

  /** What an earlier try left: nothing to heed (undefined), its result, or a question for a person. */
  async settleEarlier(): Promise<{ result: Json } | Park | undefined> {
    const { tool, recorded, args } = this.#request;
    if (tool.effect === 'read' || !recorded || !mayBeApplied(tool, recorded.status) || !isGuarded('unknown-asks')) return undefined;
    if (tool.effect === 'keyed' && recorded.startedMsAgo < tool.keyTtlMs) return undefined;
    const found = tool.lookup ? await tool.lookup(this.#key, this.#context(this.#request.signal)).catch(() => undefined) : undefined;
    if (found === 'not_applied') return undefined;
    if (found) return { result: storableOutput(found.result) };
    if (recorded.status === 'failed') await this.#open(args, undefined);
    if (recorded.status !== 'unknown') await this.#fill(failure('unknown', new MainstayError('outcome_unknown', `Whether ${tool.name} took effect is not known.`)));
    return new Park('outcome', undefined);
  }

  /** A result of the same read that may be given again: the permissions were asked before. */
  async cached(): Promise<{ readonly result: Json } | undefined> {
    const { tool, place, user, argsHash } = this.#request;
    if (tool.cacheMs === undefined) return undefined;
    const { epoch } = user === undefined ? { epoch: 0 } : await permissionsOf(this.#deps.pool, place.tenant, user);
    this.#read = { tenant: place.tenant, user, tool: tool.name, version: tool.version, argsHash, epoch };
    return this.#deps.cache.get(this.#read);
  }

  /** Reserve, intent, call, result. */
  async make(args: unknown): Promise<Json | Park> {
    const { tool, place } = this.#request;
    const business = tool.business?.key(args as never);
    if (business !== undefined && isGuarded('business-key')) {
      const twin = await businessTwin(this.#deps.pool, place, tool.name, business);
      if (twin?.status === 'succeeded') return this.adopt(await this.#valueOf({ result: twin.response, blob: twin.blob }), JSON.stringify({ sameAs: twin.run }));
      if (twin) return new Park('rate', BUSINESS_RETRY_MS); // another run is at it, or asks a person what became of it
    }
    const resource = tool.lock?.(args as never);
    let lease: LockLease | undefined;
    if (resource !== undefined) {
      const held = await this.#deps.locks.hold(this.#deps.keys.lock(place.tenant, resource));
      if (held === 'busy' || held === 'unavailable') return new Park('rate', LOCK_RETRY_MS);
      lease = held;
    }
    try {
      const fullMs = tool.rate === undefined ? 0 : await this.#deps.rates.take({ tool: tool.name, tenant: place.tenant, user: this.#request.user, rate: tool.rate });
      if (fullMs > 0) return new Park('rate', fullMs);
      const charge = tool.cost && await this.#request.charge(tool.name, tool.cost.atMost(args as never));
      if (charge instanceof Park) return charge;
      this.#charge = charge;
      let opened = false;
      try { opened = await this.#open(args, business); } finally { if (!opened) await charge?.settle('failed', 0n); }
      if (!opened) return new Park('rate', BUSINESS_RETRY_MS);
      faultPoint('intent-written');
      return await this.#callAndFill(args);
    } finally {
      await lease?.release();
    }
  }

  async refuse(error: MainstayError): Promise<never> {
    await this.#open(this.#request.args, undefined);
    await this.#fill(failure('denied', error));
    throw error;
  }

  /** A result that is known without a call. */
  async adopt(result: Json, meta: string): Promise<Json> {
    const { tool, place } = this.#request;
    await this.#open(this.#request.args, undefined);
    await this.#fill({ status: 'succeeded', response: await keepValue(this.#deps.blobs, place.tenant, result, `the result of ${tool.name}`), meta, errorCode: null, errorMessage: null });
    return result;
  }

  /** False: another run has taken the business key meanwhile, or the result has come by whoever held the run before; the step is
   *  called again and sees it. */
  async #open(args: unknown, business: string | undefined): Promise<boolean> {
    const { tool, place, argsHash } = this.#request;
    const intent = {
      key: this.#key, tool: tool.name, version: tool.version, effect: tool.effect, argsHash, request: storable(args, 'the arguments'), timeoutMs: tool.timeoutMs,
      business: business === undefined ? undefined : { key: business, windowMs: tool.business?.windowMs ?? 0 },
    };
    try {
      if (await openToolCallIfHeld(this.#deps.pool, place, intent)) return true;
    } catch (error) {
      if (business !== undefined && isUniqueViolation(error)) return false;
      throw error;
    }
    if (await isHeld(this.#deps.pool, place)) return false;
    throw fenced();
  }

  async #callAndFill(args: unknown): Promise<Json | Park> {
    const { tool, signal, place } = this.#request;
    let given: Promise<unknown> | undefined;
    this.#underWay = true;
    try {
      const result = await this.#deps.breakers.run(`tool:${tool.name}`, (callSignal) => (given = tool.run(args as never, this.#context(callSignal)).catch((error: unknown) => { throw asToolError(tool, error); })), { signal, timeoutMs: tool.timeoutMs, timeoutCode: 'tool_timeout' }).finally(() => { this.#underWay = false; });
      faultPoint('call-answered');
      const json = storableOutput(result);
      const stored = await keepValue(this.#deps.blobs, place.tenant, json, `the result of ${tool.name}`);
      await this.#fill({ status: 'succeeded', response: stored, meta: JSON.stringify({ bytes: stored.json === null ? Number(stored.blob?.split(':').at(-1)) : Buffer.byteLength(stored.json), searchable: tool.searchable }), errorCode: null, errorMessage: null });
      faultPoint('result-written');
      await this.#charge?.settle('settled', tool.cost?.of(args as never, result) ?? 0n);
      if (this.#read && tool.cacheMs !== undefined) await this.#deps.cache.put(this.#read, json, tool.cacheMs);
      return json;
    } catch (error) {
      const isFenced = codeOf(error) === 'fenced'; // by this worker itself, before the call left
      const notCalled = codeOf(error) === 'breaker_open' || isFenced;
      const cause = isMainstayError(error) && error.cause !== undefined ? error.cause : error;
      const harmless = notCalled || (tool.notApplied?.(cause) ?? false);
      const known = harmless || tool.effect !== 'unkeyed';
      await (harmless ? this.#charge?.settle('failed', 0n) : this.#charge?.settle('booked', tool.cost?.atMost(args as never) ?? 0n));
      const seen = isMainstayError(error) ? error : asToolError(tool, error);
      const isOpen = await this.#fill(failure(notCalled ? this.#stillSo() : harmless ? 'not_applied' : known ? 'failed' : 'unknown', seen));
      if (isFenced) throw error;
      if (notCalled) return new Park('rate', isMainstayError(error) ? error.retryAfterMs : undefined);
      if (known) throw seen;
      if (!isOpen) return new Park('rate', BUSINESS_RETRY_MS); // the result is on record and only the answer to that was lost: the step is called again and gets it
      this.#fillLate(given);
      return new Park('outcome', undefined);
    }
  }

  /** What is known of the effect when this try did not leave: an earlier one may have been applied, and that stands. */
  #stillSo(): 'failed' | 'unknown' | 'not_applied' {
    const { tool, recorded } = this.#request;
    if (tool.effect !== 'keyed' || recorded === undefined) return 'not_applied';
    return recorded.status === 'failed' ? 'failed' : recorded.status === 'intent' || recorded.status === 'unknown' ? 'unknown' : 'not_applied';
  }

  /** A call that was given up may still end: its result is a fact, and settles the run that asks. */
  #fillLate(given: Promise<unknown> | undefined): void {
    const { tool, place } = this.#request;
    void given?.then(async (result) => {
      const response = await keepValue(this.#deps.blobs, place.tenant, storableOutput(result), `the result of ${tool.name}`);
      await this.#fill({ status: 'succeeded', response, meta: '{"late":true}', errorCode: null, errorMessage: null, late: true });
    }).catch(() => undefined); // it failed late: still unknown, and a person is asked
  }

  #fill(outcome: Omit<ToolOutcome, 'durationMs'>): Promise<boolean> {
    const { tool, place } = this.#request;
    const durationMs = monoMs() - this.#startedMs;
    this.#deps.metrics.toolSeconds.observe({ tool: this.#deps.metrics.bound('tool', tool.name), outcome: outcome.status }, durationMs / 1_000);
    return fillToolResult(this.#deps.pool, place, { ...outcome, durationMs });
  }

  async #valueOf({ result, blob }: Pick<RecordedCall, 'result' | 'blob'>): Promise<Json> {
    return (blob === null ? result : await readValue(this.#deps.blobs, this.#request.place.tenant, blob)) as Json;
  }

  #context(signal: AbortSignal): ToolContext {
    const { place, user, progress, searchDocuments } = this.#request;
    return { tenant: place.tenant, user, run: place.run, key: this.#key, signal, searchDocuments, progress: (fraction, note) => { if (this.#underWay) progress(fraction, note); } };
  }
}

/** A keyed call that failed may have been applied: its key makes the next try safe, as long as the callee remembers it. */
const mayBeApplied = (tool: Tool, status: string): boolean => status === 'intent' || status === 'unknown' || (status === 'failed' && tool.effect === 'keyed');
const fenced = (): MainstayError => new MainstayError('fenced', 'Another worker holds the run.');
const failure = (status: 'failed' | 'unknown' | 'not_applied' | 'denied', error: MainstayError): Omit<ToolOutcome, 'durationMs'> => ({ status, response: undefined, meta: '{}', errorCode: error.code, errorMessage: error.message.slice(0, 500) });
const asToolError = (tool: Tool, error: unknown): MainstayError => (isMainstayError(error) ? error : new MainstayError('tool_failed', `${tool.name}: ${messageOf(error).slice(0, 300)}`, { cause: error }));
const callKey = (place: Place): string => `ms_${createHash('sha256').update(`${place.tenant}/${place.run}/${place.stepSeq}/${place.path}`).digest('hex').slice(0, 40)}`;
