// Every error as RFC 9457 problem+json with a stable code, whatever threw it: our own errors, fastify's, the database's. What
// is not ours is `internal`, logged under the request's id, and its text stays inside.
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify';
import { ERRORS, isMainstayError, MainstayError, messageOf, type ErrorCode } from '../domain/errors.ts';
import { FIELDS_MAX } from '../domain/tunables.ts';
import type { Problem } from '../domain/wire.ts';
import type { Log } from '../log.ts';
import { isConnectionError, isTimeout } from '../store/engine/pool.ts';

export const PROBLEM_TYPE = 'application/problem+json; charset=utf-8';

/** Fastify's codes that are the caller's doing. */
const OURS: Readonly<Record<string, { code: ErrorCode; detail: string }>> = {
  FST_ERR_CTP_INVALID_MEDIA_TYPE: { code: 'unsupported_media_type', detail: 'The body is not application/json.' },
  FST_ERR_CTP_EMPTY_JSON_BODY: { code: 'bad_json', detail: 'The body is empty.' },
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: { code: 'bad_request', detail: 'Content-Length does not match the body.' },
  FST_ERR_BAD_URL: { code: 'bad_request', detail: 'The address is not a valid URL.' },
  FST_ERR_ASYNC_CONSTRAINT: { code: 'bad_request', detail: 'The address is not a valid URL.' },
};

/** Any thrown value as an error with a code. bodyLimit: of its route, in bytes */
export function asMainstayError(error: unknown, bodyLimit?: number): MainstayError {
  if (isMainstayError(error)) return error;
  const { code, statusCode, validation, validationContext } = error as Partial<FastifyError>;
  if (validation) return invalid(validation, validationContext ?? 'request');
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') return new MainstayError('body_too_large', `The body is larger than ${bodyLimit} bytes.`);
  const known = code === undefined ? undefined : OURS[code];
  if (known) return new MainstayError(known.code, known.detail);
  if (isConnectionError(error) || isTimeout(error)) return new MainstayError('unavailable', 'Postgres does not answer.', { retryAfterMs: 2_000, cause: error });
  if (statusCode !== undefined && statusCode >= 400 && statusCode < 500) return new MainstayError('bad_request', messageOf(error).slice(0, 200));
  return new MainstayError('internal', 'Something went wrong on our side.', { cause: error });
}

function invalid(issues: NonNullable<FastifyError['validation']>, where: string): MainstayError {
  const fields = issues.slice(0, FIELDS_MAX).map(({ instancePath, message, params }) => {
    const unknown = (params as { keys?: unknown } | undefined)?.keys;
    const path = [...instancePath.split('/').filter(Boolean), ...(Array.isArray(unknown) ? [unknown.map(String).join(', ').slice(0, 100)] : [])].join('.');
    return { path: path || where, message: message ?? 'invalid' };
  });
  return new MainstayError('bad_request', `The ${where === 'querystring' ? 'query' : where} is not as documented: ${fields.map(({ path, message }) => `${path}: ${message}`).join('; ').slice(0, 500)}`, { fields });
}

export function problemOf(error: MainstayError, requestId: string): Problem {
  const { code, fields } = error;
  const { status, advice } = ERRORS[code];
  return { type: `urn:mainstay:problem:${code}`, title: code.replaceAll('_', ' '), status, detail: error.message, code, advice, fields: [...fields], requestId };
}

/** Answers with the problem; logs what is ours to mend. */
export function sendProblem(thrown: unknown, request: FastifyRequest, reply: FastifyReply, log: Log): FastifyReply {
  const error = asMainstayError(thrown, request.routeOptions.bodyLimit);
  const problem = problemOf(error, request.id);
  if (problem.status >= 500) log.error({ requestId: request.id, code: error.code, error: messageOf(error.cause ?? error), stack: error.cause instanceof Error ? error.cause.stack : undefined }, 'request failed');
  if (error.code === 'unauthenticated') void reply.header('www-authenticate', 'Bearer realm="mainstay"');
  if (error.retryAfterMs !== undefined || problem.status === 503) void reply.header('retry-after', String(Math.max(1, Math.ceil((error.retryAfterMs ?? 1_000) / 1_000))));
  return reply.code(problem.status).header('content-type', PROBLEM_TYPE).send(JSON.stringify(problem));
}
