// The one error the client throws for what the API or the way to it did. `code` is the API's stable code, or one of two of
// the client's own: `unreachable` (no answer came, status 0) and `timeout` (a wait ran out, status 0). An abort by the
// caller's own signal is no error of ours: its reason is thrown as it is.
import type { Problem } from '../domain/wire.ts';

export interface ApiErrorParts {
  readonly code: string;
  readonly status: number;
  readonly detail: string;
  readonly advice: string;
  readonly fields?: readonly { readonly path: string; readonly message: string }[];
  readonly requestId?: string | undefined;
  readonly retryAfterS?: number | undefined;
  readonly cause?: unknown;
}

/** `message` is the API's `detail`: one sentence for a person. */
export class MainstayApiError extends Error {
  readonly code: string;
  /** HTTP status; 0 when no answer came. */
  readonly status: number;
  /** What to do about it. */
  readonly advice: string;
  /** The offending paths of the request, where it was the request. */
  readonly fields: readonly { readonly path: string; readonly message: string }[];
  /** Names the request in the server's log. */
  readonly requestId: string | undefined;
  readonly retryAfterS: number | undefined;

  constructor({ code, status, detail, advice, fields, requestId, retryAfterS, cause }: ApiErrorParts) {
    super(detail, cause === undefined ? undefined : { cause });
    this.name = 'MainstayApiError';
    this.code = code;
    this.status = status;
    this.advice = advice;
    this.fields = fields ?? [];
    this.requestId = requestId;
    this.retryAfterS = retryAfterS;
  }
}

/** No answer came: the request may or may not have been carried out. */
export const unreachable = (url: string, cause: unknown): MainstayApiError => {
  const inner = cause instanceof Error && cause.cause instanceof Error ? cause.cause : cause; // fetch wraps the reason
  const { code, message } = (inner ?? {}) as { code?: unknown; message?: unknown };
  const reason = [code, message].find((one) => typeof one === 'string' && one !== '') ?? 'no reason given'; // refused on all addresses: a code, no message
  return new MainstayApiError({ code: 'unreachable', status: 0, detail: `${url} gave no answer: ${reason as string}`, advice: 'Check the address, and that the API runs.', cause });
};

/** The error an answer that is no success stands for, whether or not it is a problem of the API (a proxy may have spoken). */
export async function errorOf(response: Response): Promise<MainstayApiError> {
  const problem = await response.json().catch(() => undefined) as Partial<Problem> | null | undefined;
  const ours = typeof problem?.code === 'string' ? problem : undefined;
  return new MainstayApiError({
    status: response.status,
    code: ours?.code ?? `http_${response.status}`,
    detail: ours?.detail ?? `The server answered ${response.status}${response.statusText === '' ? '' : ` ${response.statusText}`}.`,
    advice: ours?.advice ?? 'This is no answer of the Mainstay API: check the address and what stands before it.',
    fields: ours?.fields ?? [],
    requestId: ours?.requestId ?? response.headers.get('x-request-id') ?? undefined,
    retryAfterS: retryAfterOf(response.headers),
  });
}

/** Seconds. A date is measured against the answer's own date, because the clocks of two machines differ. */
function retryAfterOf(headers: Headers): number | undefined {
  const text = headers.get('retry-after');
  if (text === null) return undefined;
  const seconds = /^\d+(\.\d+)?$/.test(text.trim()) ? Number(text) : (Date.parse(text) - Date.parse(headers.get('date') ?? '')) / 1_000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : undefined;
}

/** A failure that passes by itself: no answer, too many requests, or something before or behind the API that is away. */
export const isPassing = (error: unknown): error is MainstayApiError =>
  error instanceof MainstayApiError && (error.code === 'unreachable' || [429, 502, 503, 504].includes(error.status));
