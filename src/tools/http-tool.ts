// A tool that is a request over HTTP: to origins that were named beforehand, with a cap on what comes back and a time limit. The
// model writes arguments, never an address; what it writes ends in a path, a query or a body. Secrets are read when the call leaves and
// stand in no record.
import type { z } from 'zod';
import { MainstayError } from '../domain/errors.ts';
import type { Tool } from '../domain/tool.ts';
import { defineTool, type ToolOptions } from './define-tool.ts';
import { NotSent, send, type OutboundAnswer } from './outbound.ts';

export interface HttpCall {
  readonly method?: 'GET' | 'HEAD' | 'POST' | 'PUT' | 'PATCH' | 'DELETE';
  /** Below the origin, each part already encoded; use `encodeURIComponent` for what comes from the model. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as JSON. */
  readonly json?: unknown;
}

export interface HttpToolOptions<I> extends Pick<ToolOptions<I, unknown>, 'name' | 'version' | 'description' | 'input' | 'timeoutMs' | 'scopes' | 'dataset' | 'lock' | 'approval' | 'businessKey' | 'businessWindowMs' | 'keyTtlMs' | 'mayRepeat'> {
  /** `https://api.example.com`, without a path. */
  readonly origin: string;
  readonly call: (args: I) => HttpCall;
  /** What a second call does. Unset: `keyed` with `keyHeader`; else `read` if `reads`, else `unkeyed`. */
  readonly reads?: boolean;
  /** Header in which the callee takes an idempotency key, such as `Idempotency-Key`: the tool is `keyed` then. */
  readonly keyHeader?: string;
  /** Headers with secrets, asked for at each call. */
  readonly secrets?: () => Readonly<Record<string, string>> | Promise<Readonly<Record<string, string>>>;
  /** Of the answer; a mebibyte unless told. What is longer is cut, and says so. */
  readonly maxBytes?: number;
  /** Addresses inside this network that may be reached, for development: `['127.0.0.1']`. */
  readonly allowInside?: readonly string[];
}

const MIB = 1024 * 1024;
/** Refused before anything was done. */
const REFUSED = new Set([400, 401, 403, 404, 405, 406, 410, 411, 413, 414, 415, 417, 422, 428, 429, 431]);

/** Status, media type and body: parsed where it is JSON, text where it is text, else bytes. Throws `tool_failed` from 400 on and for a redirect, `tool_denied` for an address inside. */
export function httpTool<I>({ origin, call, reads = false, keyHeader, secrets, maxBytes = MIB, allowInside = [], ...options }: HttpToolOptions<I>): Tool {
  const base = new URL(origin);
  if (!/^https?:$/.test(base.protocol) || base.pathname !== '/' || base.search !== '' || base.username !== '') throw new MainstayError('bad_request', `The origin of ${options.name} must be like https://api.example.com, without path, query or login.`);
  return defineTool<I, unknown>({
    ...options as Omit<ToolOptions<I, unknown>, 'run' | 'effect'> & { readonly input: z.ZodType<I> },
    effect: keyHeader !== undefined ? 'keyed' : reads ? 'read' : 'unkeyed',
    notApplied: (error) => error instanceof NotSent || error instanceof HttpFailure && REFUSED.has(error.status),
    run: async (args, { key, signal }) => {
      const { method = 'GET', path, query = {}, headers = {}, json } = call(args);
      const url = targetOf(base, path, query);
      const answer = await send({
        url, method, signal, maxBytes, allowInside, body: json === undefined ? undefined : JSON.stringify(json),
        headers: { accept: 'application/json, text/*;q=0.9, */*;q=0.1', ...(json === undefined ? {} : { 'content-type': 'application/json' }), ...headers, ...(keyHeader === undefined ? {} : { [keyHeader]: key }), ...await secrets?.() },
      });
      if (answer.status >= 300) throw new HttpFailure(answer, `${base.host} answered ${answer.status}${answer.status < 400 ? ', a redirect, which is not followed' : `: ${answer.body.toString('utf8', 0, 300)}`}.`);
      return { status: answer.status, type: String(answer.headers['content-type'] ?? ''), ...(answer.isCut ? { cut: true } : {}), body: bodyOf(answer) };
    },
  });
}

/** The origin stays what it was, whatever the path says. */
function targetOf(base: URL, path: string, query: NonNullable<HttpCall['query']>): URL {
  const url = new URL(base);
  url.pathname = path.startsWith('/') ? path : `/${path}`;
  for (const [name, value] of Object.entries(query)) if (value !== undefined) url.searchParams.set(name, String(value));
  return url;
}

class HttpFailure extends MainstayError {
  readonly status: number;
  constructor({ status }: OutboundAnswer, detail: string) {
    super('tool_failed', detail);
    this.status = status;
  }
}

function bodyOf({ headers, body, isCut }: OutboundAnswer): unknown {
  const type = String(headers['content-type'] ?? '');
  const text = new TextDecoder().decode(body);
  if (/[/+]json\b/.test(type) && !isCut) try { return JSON.parse(text) as unknown; } catch { return text; }
  return /^text\/|[/+](json|xml)\b|^$/.test(type) ? text : body;
}
