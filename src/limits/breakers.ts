// Breakers around models and tools: opossum counts this process' calls and decides when a callee fails too often; that
// decision is shared through Redis, so the whole fleet stops at once and sends one probe (opossum alone would send one per
// worker). Only faults of the callee count. Each call gets an AbortSignal of its own, and a call that ignores it is left
// behind. While Redis is gone each process judges for itself. An open breaker throws `breaker_open` with the time to wait.
import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import CircuitBreaker from 'opossum';
import { monoMs } from '../clock.ts';
import { MainstayError, isMainstayError, type ErrorCode } from '../domain/errors.ts';
import type { Log } from '../log.ts';
import type { RedisKeys } from '../redis.ts';
import { guardedCall, type CallOptions } from './guarded-call.ts';
import { OPEN_CAP_MS, OPEN_MS, PROBE_MS, SharedCircuit } from './shared-circuit.ts';

export type BreakerState = 'closed' | 'open' | 'half_open';

export interface BreakerOptions {
  readonly redis: Redis;
  readonly keys: RedisKeys;
  readonly log: Log;
  /** For the gauge: called with each change as this process sees it, and once with `closed` for a new name. */
  readonly onState?: (name: string, state: BreakerState) => void;
  /** Calls in the window before failures can open it: one bad call among two is no outage. */
  readonly minimumCalls?: number;
  /** Share of failures above which it opens. */
  readonly failurePercent?: number;
  /** Long enough that slow callees have several calls in it. */
  readonly windowMs?: number;
  readonly openMs?: number;
  readonly openCapMs?: number;
  readonly probeMs?: number;
  /** How old the knowledge that a breaker is closed may be, which saves a trip to Redis per call. */
  readonly trustClosedMs?: number;
}

/** Codes that say the callee is at fault. A rate limit is not one: the callee works, and said when to come back. */
const CALLEE_AT_FAULT: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'model_unavailable', 'model_cut_off', 'model_stalled', 'tool_failed', 'tool_timeout', 'embedder_failed', 'index_unavailable', 'unavailable',
]);

/** What a callee says to everybody, with the time it lasts. */
const FOR_ALL: ReadonlySet<ErrorCode> = new Set<ErrorCode>(['breaker_open', 'spend_limit']);

const MINIMUM_CALLS = 5;

/** Redis is not asked again for this long after it failed to answer: calls must not each wait for it. */
const REDIS_REST_MS = 1_000;

interface Circuit {
  readonly name: string;
  readonly local: CircuitBreaker<[() => Promise<unknown>], unknown>;
  readonly shared: SharedCircuit;
  state: BreakerState;
  openUntilMs: number;
  /** What the callee itself refuses everybody with, while it is open for that. */
  why: ErrorCode;
  closedUntilMs: number;
  redisRestsUntilMs: number;
  /** The opening that is on its way to Redis. */
  tripping: Promise<void> | undefined;
  /** Redis was not told of the opening; it is, when it answers again. */
  untold: boolean;
}

export class Breakers {
  readonly #options: BreakerOptions;
  readonly #circuits = new Map<string, Circuit>();

  constructor(options: BreakerOptions) {
    this.#options = options;
  }

  /** Runs `work` behind the breaker `name` (`model:<name>`, `tool:<name>`). Rejects with the work's own error, with
   *  `breaker_open`, with `timeoutCode` when `timeoutMs` is over, or with the reason of the caller's signal. */
  async run<T>(name: string, work: (signal: AbortSignal) => Promise<T>, options: CallOptions = {}): Promise<T> {
    const circuit = this.#circuit(name);
    const token = randomUUID();
    const admission = await this.#admit(circuit, token);
    const call = (): Promise<T> => guardedCall(work, options);
    try {
      if (admission === 'probe') return await this.#probe(circuit, token, call);
      return await this.#counted(circuit, call);
    } catch (error) {
      await this.#obey(circuit, error);
      throw error;
    }
  }

  /** Milliseconds for which this process knows it to be open; 0 = it is not. */
  openForMs(name: string): number {
    const circuit = this.#circuits.get(name);
    return circuit?.state === 'open' ? Math.max(1, circuit.openUntilMs - monoMs()) : 0;
  }

  /** A caller knows of so many failures in a row, in whatever processes they were: enough of them open it as this process' own
   *  would. Milliseconds for which it is open; 0 = it is not. */
  async openAfter(name: string, failures: number): Promise<number> {
    const circuit = this.#circuit(name);
    if (failures >= (this.#options.minimumCalls ?? MINIMUM_CALLS) && circuit.local.closed && circuit.state === 'closed') {
      circuit.local.open();
      await circuit.tripping;
    }
    return this.openForMs(name);
  }

  /** As this process last saw it. */
  stateOf(name: string): BreakerState { return this.#circuits.get(name)?.state ?? 'closed'; }

  close(): void {
    for (const circuit of this.#circuits.values()) circuit.local.shutdown();
    this.#circuits.clear();
  }

  async #admit(circuit: Circuit, token: string): Promise<'closed' | 'probe' | 'alone'> {
    const nowMs = monoMs();
    // An open breaker is asked about each time: a person may have closed it, and who is refused parks for long.
    const alone = (): 'alone' => { if (nowMs < circuit.openUntilMs) throw this.#openError(circuit, circuit.openUntilMs - nowMs); return 'alone'; };
    if (circuit.tripping) return 'alone'; // Redis may not know of our opening yet
    if (nowMs < circuit.redisRestsUntilMs) return alone();
    if (nowMs < circuit.closedUntilMs && circuit.local.closed) return 'closed';
    try {
      if (circuit.untold) await this.#tell(circuit);
      const admission = await circuit.shared.admit(token);
      if (admission.state === 'open') {
        this.#opened(circuit, admission.waitMs, admission.why === 'spend_limit' ? admission.why : 'breaker_open');
        throw this.#openError(circuit, admission.waitMs);
      }
      if (admission.state === 'probe') this.#show(circuit, 'half_open');
      else this.#closed(circuit);
      return admission.state;
    } catch (error) {
      if (isMainstayError(error)) throw error;
      circuit.redisRestsUntilMs = monoMs() + REDIS_REST_MS;
      return alone();
    }
  }

  /** A call of a closed breaker, or of one that Redis says nothing about: opossum counts it. */
  async #counted<T>(circuit: Circuit, call: () => Promise<T>): Promise<T> {
    const { local } = circuit;
    const wasHalfOpen = local.halfOpen;
    try {
      return (await local.fire(call)) as T;
    } catch (error) {
      if (error instanceof Error && 'code' in error && error.code === 'EOPENBREAKER') throw this.#openError(circuit, this.#options.openMs ?? OPEN_MS);
      // To opossum an error that does not count is a success, and would close a half-open circuit: it proves nothing.
      if (wasHalfOpen && !atFault(error)) local.open();
      await circuit.tripping; // whoever opens it tells the fleet before going on
      throw error;
    }
  }

  /** The fleet's one probe. Its outcome alone decides, so opossum does not see it. */
  async #probe<T>(circuit: Circuit, token: string, call: () => Promise<T>): Promise<T> {
    try {
      const result = await call();
      await circuit.shared.probed(token, 'closed').then(() => this.#closed(circuit), () => undefined);
      return result;
    } catch (error) {
      if (atFault(error)) await circuit.shared.trip({ token }).then((waitMs) => this.#opened(circuit, waitMs), () => undefined);
      else await circuit.shared.probed(token, 'unclear').catch(() => undefined); // the probe's place ends by its own time
      throw error;
    }
  }

  /** A callee that says for how long it will refuse everybody (a spend limit) opens the breaker for that time, at once, or until a
   *  person closes it. */
  async #obey(circuit: Circuit, error: unknown): Promise<void> {
    if (!isMainstayError(error) || !FOR_ALL.has(error.code) || error.retryAfterMs === undefined || error instanceof OpenError) return;
    this.#opened(circuit, error.retryAfterMs, error.code);
    await circuit.shared.trip({ forcedMs: error.retryAfterMs, code: error.code }).catch(() => undefined); // this process obeys; the others will be told by the callee
  }

  #circuit(name: string): Circuit {
    const known = this.#circuits.get(name);
    if (known) return known;
    const { redis, keys, minimumCalls = MINIMUM_CALLS, failurePercent = 50, windowMs = 60_000, openMs = OPEN_MS, openCapMs = OPEN_CAP_MS, probeMs = PROBE_MS } = this.#options;
    const local = new CircuitBreaker<[() => Promise<unknown>], unknown>((call) => call(), {
      name,
      timeout: false, // opossum would leave the call running; guardedCall aborts it
      volumeThreshold: minimumCalls,
      errorThresholdPercentage: failurePercent,
      rollingCountTimeout: windowMs,
      rollingCountBuckets: 12,
      rollingPercentilesEnabled: false,
      enableSnapshots: false,
      resetTimeout: openMs,
      errorFilter: (error: unknown) => !atFault(error),
    });
    const shared = new SharedCircuit(redis, keys.breaker(name), { openMs, openCapMs, probeMs });
    const circuit: Circuit = { name, local, shared, state: 'closed', openUntilMs: 0, why: 'breaker_open', closedUntilMs: 0, redisRestsUntilMs: 0, tripping: undefined, untold: false };
    local.on('open', () => this.#trip(circuit));
    local.on('halfOpen', () => { if (monoMs() < circuit.redisRestsUntilMs) this.#show(circuit, 'half_open'); });
    local.on('close', () => this.#show(circuit, 'closed'));
    this.#circuits.set(name, circuit);
    this.#options.onState?.(name, 'closed');
    return circuit;
  }

  /** This process has seen enough failures: the fleet is told. */
  #trip(circuit: Circuit): void {
    this.#options.log.warn({ breaker: circuit.name }, 'breaker opened');
    this.#show(circuit, 'open');
    circuit.untold = monoMs() < circuit.redisRestsUntilMs;
    if (circuit.untold) return;
    circuit.tripping = this.#tell(circuit).catch(() => {
      circuit.untold = true;
      circuit.redisRestsUntilMs = monoMs() + REDIS_REST_MS;
    }).finally(() => { circuit.tripping = undefined; });
  }

  async #tell(circuit: Circuit): Promise<void> {
    const waitMs = await circuit.shared.trip();
    circuit.untold = false;
    this.#opened(circuit, waitMs);
  }

  #opened(circuit: Circuit, waitMs: number, why: ErrorCode = 'breaker_open'): void {
    circuit.openUntilMs = monoMs() + waitMs;
    circuit.why = why;
    circuit.closedUntilMs = 0;
    this.#show(circuit, 'open');
  }

  #closed(circuit: Circuit): void {
    circuit.openUntilMs = 0;
    circuit.closedUntilMs = monoMs() + (this.#options.trustClosedMs ?? 500);
    if (!circuit.local.closed) circuit.local.close();
    this.#show(circuit, 'closed');
  }

  #show(circuit: Circuit, state: BreakerState): void {
    if (circuit.state === state) return;
    circuit.state = state;
    this.#options.onState?.(circuit.name, state);
  }

  /** Up to a fifth more than the time to wait, a minute at most, so that not all who wait come back in the same moment. */
  #openError({ name, why }: Circuit, waitMs: number): OpenError {
    const said = why === 'spend_limit' ? `The spend limit behind ${name} is reached.` : `${name} fails too often and is not called for now.`;
    return new OpenError(why, said, { retryAfterMs: Math.ceil(waitMs + Math.random() * Math.min(waitMs / 5, 60_000)) });
  }
}

/** Thrown by the breaker itself, as against a callee's own `breaker_open`. */
class OpenError extends MainstayError {}

/** What is not ours was thrown by the callee's code. */
const atFault = (error: unknown): boolean => !isMainstayError(error) || CALLEE_AT_FAULT.has(error.code);
