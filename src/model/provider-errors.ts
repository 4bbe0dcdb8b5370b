// What a failure of the provider means to a run. Every error leaves here as a MainstayError whose cause holds safe facts
// only; the SDK's own errors quote requests and headers and go no further.
//
//   429                       rate_limited, wait as told: the run is parked, nothing sleeps on a worker
//   429/402 spend limit       spend_limit until the month turns: no call of this key can succeed until somebody raises it, so
//                             the breaker of the model opens for the fleet, until then or until a person closes it
//   529, 5xx, 408, 409, none  model_unavailable
//   400 prompt is too long    context_exceeded: an agent makes its conversation shorter
//   400, 401, 403, 404, …     model_rejected: sending it again changes nothing
import Anthropic, { type APIError } from '@anthropic-ai/sdk';
import { MainstayError, type ErrorCode } from '../domain/errors.ts';
import { ModelFailure } from '../domain/model-failure.ts';

/** Longest wait a `retry-after` may order, and the one used where none is given. Hours are obeyed, for a parked run costs
 *  nothing; a day and more is a header gone wrong. */
export const RETRY_AFTER_CAP_MS = 86_400_000;
const RETRY_AFTER_DEFAULT_MS = 10_000;
/** Of the provider's sentence, which may repeat parts of the request. */
const MESSAGE_CHARACTERS = 300;

const SPEND_LIMITS = new Set(['enforced_spend_limit_reached', 'contract_spend_limit_reached', 'linked_organization_spend_limit_reached', 'linked_organization_billing_unavailable']);

/** The provider has no code for it: only its sentence, "prompt is too long: 1000123 tokens > 1000000 maximum". */
const TOO_LONG = /prompt is too long|exceeds? (the )?(maximum )?context/i;

/** Error types of the provider, for errors inside a stream, which have no HTTP status. */
const STATUS_OF_TYPE: Readonly<Record<string, number>> = {
  invalid_request_error: 400, authentication_error: 401, billing_error: 402, permission_error: 403, not_found_error: 404,
  request_too_large: 413, rate_limit_error: 429, api_error: 500, timeout_error: 504, overloaded_error: 529,
};

type ProviderError = APIError<number | undefined, Headers | undefined, object | undefined>;

/** `nowMs`: wall clock, for a `retry-after` given as a date. */
export function mainstayErrorOf(error: unknown, nowMs: number): MainstayError {
  if (error instanceof MainstayError) return error;
  if (error instanceof Anthropic.APIConnectionError) return failure('model_unavailable', 'The model provider cannot be reached.', { billed: neverConnected(error) ? 'no' : 'unknown' });
  if (error instanceof Anthropic.APIError) return ofApiError(error as ProviderError, nowMs);
  // Everything else broke the stream after it began: a reset connection, a malformed event.
  return failure('model_cut_off', 'The stream broke before the model had finished its turn.', { billed: 'unknown' });
}

/** Codes of Node and undici for a request that never left: an outage must not eat budgets by booking each attempt. */
const NEVER_CONNECTED = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'UND_ERR_CONNECT_TIMEOUT']);

function neverConnected(error: unknown): boolean {
  for (let cause = error as { code?: unknown; cause?: unknown } | null | undefined, depth = 0; cause && depth < 5; cause = cause.cause as typeof cause, depth++) {
    if (NEVER_CONNECTED.has(String(cause.code))) return true;
  }
  return false;
}

function ofApiError(error: ProviderError, nowMs: number): MainstayError {
  const status = error.status ?? STATUS_OF_TYPE[error.type ?? ''] ?? 500;
  // A refusal is answered by its HTTP status; an error inside a stream, or a failing server, may come after generation began.
  const refused = error.status !== undefined && (error.status < 500 || error.status === 529);
  const facts = { httpStatus: error.status, requestId: error.requestID ?? undefined, billed: refused ? 'no' as const : 'unknown' as const };
  const said = `The model provider answered ${status}${error.type ? ` ${error.type}` : ''}${error.apiMessage ? `: ${error.apiMessage.slice(0, MESSAGE_CHARACTERS)}` : ''}`;
  if (status === 402 || SPEND_LIMITS.has(error.errorCode ?? '')) return failure('spend_limit', `${said} (spend limit)`, facts, untilNextMonth(nowMs));
  if (status === 429) return failure('rate_limited', said, facts, retryAfterMs(error.headers, nowMs));
  if (status >= 500 || status === 408 || status === 409) return failure('model_unavailable', said, facts, optionalRetryAfterMs(error.headers, nowMs));
  return failure(status === 400 && TOO_LONG.test(error.apiMessage ?? '') ? 'context_exceeded' : 'model_rejected', said, facts);
}

export function failure(code: ErrorCode, detail: string, facts: { httpStatus?: number | undefined; requestId?: string | undefined; billed: 'no' | 'unknown' }, waitMs?: number): MainstayError {
  return new MainstayError(code, detail, { cause: new ModelFailure(detail, facts), ...(waitMs !== undefined && { retryAfterMs: waitMs }) });
}

/** A spend limit counts by calendar months, UTC. */
function untilNextMonth(nowMs: number): number {
  const now = new Date(nowMs);
  return Date.UTC(now.getUTCFullYear(), now.getUTCMonth() + 1, 1) - nowMs;
}

const retryAfterMs = (headers: Headers | undefined, nowMs: number): number => optionalRetryAfterMs(headers, nowMs) ?? RETRY_AFTER_DEFAULT_MS;

/** `retry-after-ms`, else `retry-after` in seconds or as a date; never below zero, never above the cap. */
function optionalRetryAfterMs(headers: Headers | undefined, nowMs: number): number | undefined {
  const ms = headers?.get('retry-after-ms');
  const other = headers?.get('retry-after');
  const waits = [ms ? Number(ms) : Number.NaN, other ? Number(other) * 1_000 : Number.NaN, other ? Date.parse(other) - nowMs : Number.NaN];
  const wait = waits.find((candidate) => Number.isFinite(candidate));
  return wait === undefined ? undefined : Math.min(Math.max(wait, 0), RETRY_AFTER_CAP_MS);
}
