// One request of the client: address, key, JSON both ways, a time limit for each try, and tries again where that is safe.
// Safe means: the same request twice is the request once. Reads, PUT and DELETE are so by themselves, a submission by its
// idempotency key; where neither holds the caller says `repeat: 'refused'` and only a refusal (429) is tried again.
// It must never try again after the caller's signal has aborted.
import { errorOf, isPassing, MainstayApiError, unreachable } from './api-error.ts';

export interface MainstayOptions {
  /** Where the API is, e.g. `http://127.0.0.1:7400`. */
  readonly baseUrl: string;
  readonly apiKey: string;
  /** Another fetch: of a test, or one that goes through a proxy. */
  readonly fetch?: typeof globalThis.fetch;
  /** Longest one try may take, milliseconds; 30,000 unless told. A `wait` adds its own time. */
  readonly timeoutMs?: number;
  /** Tries after the first one of a request that failed in passing; 4 unless told. */
  readonly retries?: number;
}

export interface Call {
  readonly method?: 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Values that are undefined are left out. */
  readonly query?: object | undefined;
  readonly body?: unknown;
  readonly headers?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal | undefined;
  /** Time the server was asked to take before it answers, milliseconds. */
  readonly extraMs?: number;
  readonly repeat?: 'safe' | 'refused';
}

export interface Http {
  /** The answer's JSON; undefined for an answer without a body. Throws MainstayApiError. */
  json<T>(path: string, call?: Call): Promise<T>;
  /** One try, whose body the caller reads; `signal` ends it, also while it is read. Throws MainstayApiError. */
  open(path: string, call: Call & { readonly signal: AbortSignal }): Promise<Response>;
  readonly timeoutMs: number;
}

/** Longer than the slowest ordinary answer of the API, shorter than a person's patience. */
const TIMEOUT_MS = 30_000;
/** With the back-off below: about 8 seconds, the restart of an API. */
const RETRIES = 4;
/** First pause; it doubles with each try up to the cap, and half of it is chance, so that clients do not come back together. */
const BACKOFF_MS = 500;
const BACKOFF_CAP_MS = 10_000;
/** A server that asks for a longer pause than this is left alone: the caller decides. */
const RETRY_AFTER_CAP_S = 60;

export function makeHttp(options: MainstayOptions): Http {
  const base = options.baseUrl.replace(/\/+$/, '');
  if (!/^https?:\/\/[^/]/.test(base)) throw new TypeError(`baseUrl must begin with http:// or https://, not "${options.baseUrl}"`);
  const ask: typeof globalThis.fetch = options.fetch ?? ((...words) => globalThis.fetch(...words)); // looked up at each call: it may be instrumented later
  const timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  const retries = options.retries ?? RETRIES;

  /** `read` is part of the try: a connection may also break while the body comes. */
  async function attempt<T>(path: string, call: Call, signal: AbortSignal | undefined, read: (response: Response) => Promise<T>): Promise<T> {
    const url = `${base}${path}${queryOf(call.query)}`;
    try {
      const response = await ask(url, {
        method: call.method ?? 'GET', redirect: 'error', // a redirect would carry the key to where nobody meant it to go
        headers: { accept: 'application/json', ...(call.body === undefined ? {} : { 'content-type': 'application/json' }), ...call.headers, authorization: `Bearer ${options.apiKey}` },
        ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }), ...(signal === undefined ? {} : { signal }),
      });
      if (!response.ok) throw await errorOf(response);
      return await read(response);
    } catch (error) {
      call.signal?.throwIfAborted();
      throw error instanceof MainstayApiError ? error : unreachable(base, error);
    }
  }

  return {
    timeoutMs,
    open: (path, call) => attempt(path, call, call.signal, (response) => Promise.resolve(response)),
    async json<T>(path: string, call: Call = {}): Promise<T> {
      for (let tries = 0; ; tries++) {
        call.signal?.throwIfAborted();
        const limit = AbortSignal.timeout(timeoutMs + (call.extraMs ?? 0));
        const signal = call.signal === undefined ? limit : AbortSignal.any([call.signal, limit]);
        try {
          return await attempt(path, call, signal, bodyOf<T>);
        } catch (error) {
          const again = isPassing(error) && tries < retries && (call.repeat !== 'refused' || error.status === 429) && (error.retryAfterS ?? 0) <= RETRY_AFTER_CAP_S;
          if (!again) throw error;
          await pause(backoffMs(tries, error.retryAfterS), call.signal);
        }
      }
    },
  };
}

/** The pause before try number `tries` + 1; never shorter than what the server asked for. */
export function backoffMs(tries: number, retryAfterS = 0): number {
  const wholeMs = Math.min(BACKOFF_CAP_MS, BACKOFF_MS * 2 ** tries);
  return retryAfterS * 1_000 + wholeMs / 2 + Math.random() * (wholeMs / 2);
}

/** Resolves after `ms`; rejects with the signal's reason as soon as it aborts. */
export const pause = (ms: number, signal?: AbortSignal): Promise<void> =>
  new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason as Error);
    const stop = (): void => { clearTimeout(timer); reject(signal?.reason as Error); };
    const timer = setTimeout(() => { signal?.removeEventListener('abort', stop); resolve(); }, ms);
    signal?.addEventListener('abort', stop, { once: true });
  });

/** A random key that nobody else chooses. `randomUUID` is missing in browsers on plain http. */
export const newKey = (): string =>
  [...globalThis.crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, '0')).join('');

async function bodyOf<T>(response: Response): Promise<T> {
  const text = await response.text();
  if (text === '') return undefined as T;
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    throw new MainstayApiError({ code: 'not_json', status: response.status, detail: 'The answer is not JSON.', advice: 'This is no answer of the Mainstay API: check the address and what stands before it.', cause });
  }
}

function queryOf(query: object | undefined): string {
  const pairs = Object.entries(query ?? {}).filter(([, value]) => value !== undefined).map(([name, value]) => [name, String(value)] as [string, string]);
  return pairs.length === 0 ? '' : `?${new URLSearchParams(pairs).toString()}`;
}
