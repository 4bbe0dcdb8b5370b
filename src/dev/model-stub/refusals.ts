// Every way in which the provider refuses a request, with the headers it comes with. A fault of one of these kinds is answered
// before anything was generated; whatever else may go wrong happens inside a stream (stream-reply.ts).
import type { ServerResponse } from 'node:http';
import { wallMs } from '../../clock.ts';
import type { FaultKind, StubFault } from './wire.ts';

export interface Refusal {
  readonly status: number;
  readonly type: string;
  readonly message: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly details?: unknown;
}

const PLAIN: Partial<Record<FaultKind, Refusal>> = {
  rejected: { status: 400, type: 'invalid_request_error', message: 'rejected by order' },
  unauthorized: { status: 401, type: 'authentication_error', message: 'invalid x-api-key' },
  unpaid: { status: 402, type: 'billing_error', message: 'Your credit balance is too low' },
  forbidden: { status: 403, type: 'permission_error', message: 'Your API key does not have permission to use this model' },
  not_found: { status: 404, type: 'not_found_error', message: 'model: not found' },
  timed_out: { status: 408, type: 'timeout_error', message: 'Request timed out' },
  conflict: { status: 409, type: 'invalid_request_error', message: 'Conflict' },
  too_large: { status: 413, type: 'request_too_large', message: 'Request exceeds the maximum size' },
  unprocessable: { status: 422, type: 'invalid_request_error', message: 'Unprocessable' },
  spend_limit: { status: 429, type: 'rate_limit_error', message: 'You have reached your spend limit', details: { error_code: 'enforced_spend_limit_reached' } },
  server_error: { status: 500, type: 'api_error', message: 'Internal server error' },
  unavailable: { status: 503, type: 'api_error', message: 'Service unavailable' },
  gateway_timeout: { status: 504, type: 'timeout_error', message: 'Gateway timeout' },
  overloaded: { status: 529, type: 'overloaded_error', message: 'Overloaded' },
};

/** What a fault answers instead of a message; undefined for one that lets the answer begin. */
export function refusalByFault(fault: StubFault): Refusal | undefined {
  if (fault.kind === 'rate_limit' || fault.kind === 'ramp_limit') {
    return {
      status: 429, type: 'rate_limit_error', message: 'This request would exceed your rate limit',
      headers: { 'retry-after': String(fault.retryAfterS ?? 1), ...limitHeaders('requests', 0), ...limitHeaders('input-tokens', 0) },
      ...(fault.kind === 'ramp_limit' && { details: { error_code: 'ramp_limit_exceeded' } }),
    };
  }
  return PLAIN[fault.kind];
}

const LIMITS = { requests: 1_000, tokens: 540_000, 'input-tokens': 450_000, 'output-tokens': 90_000 } as const;

/** The headers of one limit, with what remains of it. */
function limitHeaders(limit: keyof typeof LIMITS, remaining: number): Record<string, string> {
  return {
    [`anthropic-ratelimit-${limit}-limit`]: String(LIMITS[limit]),
    [`anthropic-ratelimit-${limit}-remaining`]: String(remaining),
    [`anthropic-ratelimit-${limit}-reset`]: new Date(wallMs() + 60_000).toISOString(),
  };
}

/** What an answered message says of the limits: nearly all of them remains. */
export const ampleLimits = (): Record<string, string> => ({
  ...limitHeaders('requests', LIMITS.requests - 1), ...limitHeaders('tokens', LIMITS.tokens - 1_000),
  ...limitHeaders('input-tokens', LIMITS['input-tokens'] - 1_000), ...limitHeaders('output-tokens', LIMITS['output-tokens']),
});

export const errorBody = ({ type, message, details }: Refusal, requestId: string | null): unknown =>
  ({ type: 'error', error: { type, message, ...(details !== undefined && { details }) }, request_id: requestId });

export function sendJson(response: ServerResponse, status: number, body: unknown, headers: Readonly<Record<string, string>> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

export function sendRefusal(response: ServerResponse, refusal: Refusal, requestId: string): void {
  sendJson(response, refusal.status, errorBody(refusal, requestId), { 'request-id': requestId, 'anthropic-organization-id': 'org_stub', ...refusal.headers });
}
