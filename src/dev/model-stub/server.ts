// A local server that speaks the Messages API from scripts, for development without a key and for tests. Production's
// adapter talks to it over HTTP and cannot tell; nothing in production knows of it. It binds to loopback only and keeps
// what it was asked in memory, for tests to look at.
//
//   POST /v1/messages                the answer of the first script that matches, streamed
//   POST /v1/messages/count_tokens   a count by length
//   POST /stub/faults                { kind, times, delayMs?, retryAfterS? }: the next `times` messages meet this fault
//   POST /stub/reset                 forgets faults, calls and cached prompts
//   GET  /stub/calls                 what was asked, oldest first
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pause, wallMs } from '../../clock.ts';
import { PromptCache, promptTokens, tokensOf } from './count-tokens.ts';
import { SCRIPTS } from './scripts/scripts.ts';
import { blocksOfReply, stopReasonOf, streamBroken, streamReply, type Streamed } from './stream-reply.ts';
import { fault as faultOfBody } from './validate.ts';
import { FAULT_KINDS, type FaultKind, type StubCall, type StubFault, type StubReply, type StubScript, type WireRequest, type WireUsage } from './wire.ts';

export interface ModelStub {
  readonly url: string;
  stop(): Promise<void>;
  /** Every call so far, oldest first; the last 1,000 are kept, or as many as `keep` says. */
  calls(): StubCall[];
  /** The next `times` messages meet this fault, after those already ordered. */
  addFault(fault: StubFault, times?: number): void;
  reset(): void;
}

/** Never kept: the key may be a real one that was pointed here by mistake. */
const KEY_HEADERS = ['x-api-key', 'authorization'];
const MAX_CALLS = 1_000;
const MAX_BODY_BYTES = 32 * 1024 * 1024;

/** `port` 0 or none: a free one. `host`: loopback unless a container must be reached. `scripts`: asked before the standard ones. */
export async function startModelStub(options: { port?: number; host?: string; scripts?: readonly StubScript[]; keep?: number } = {}): Promise<ModelStub> {
  const stub = new Stub([...(options.scripts ?? []), ...SCRIPTS], options.keep ?? MAX_CALLS);
  const server = createServer((request, response) => { void stub.serve(request, response); });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(options.port ?? 0, options.host ?? '127.0.0.1', resolve));
  return {
    url: `http://${options.host ?? '127.0.0.1'}:${(server.address() as AddressInfo).port}`,
    stop: () => new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    }),
    calls: () => [...stub.calls],
    addFault: (fault, times = 1) => stub.addFault(fault, times),
    reset: () => stub.reset(),
  };
}

class Stub {
  readonly calls: StubCall[] = [];
  readonly #scripts: readonly StubScript[];
  readonly #cache = new PromptCache();
  readonly #keep: number;
  #faults: StubFault[] = [];
  #lastId = 0;

  constructor(scripts: readonly StubScript[], keep: number) {
    this.#scripts = scripts;
    this.#keep = keep;
  }

  addFault(fault: StubFault, times: number): void {
    this.#faults.push(...Array.from({ length: times }, () => fault));
  }

  reset(): void {
    this.#faults = [];
    this.calls.length = 0;
    this.#cache.clear();
  }

  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const route = `${request.method} ${new URL(request.url ?? '/', 'http://stub').pathname}`;
      const body = request.method === 'POST' ? await readJson(request) : undefined;
      if (route === 'POST /v1/messages') return await this.#messages(request, response, body);
      if (route === 'POST /v1/messages/count_tokens') return this.#countTokens(request, response, body);
      if (route === 'POST /stub/faults') return this.#orderFault(response, body);
      if (route === 'POST /stub/reset') return this.reset(), sendJson(response, 200, {});
      if (route === 'GET /stub/calls') return sendJson(response, 200, this.calls);
      sendError(response, 404, 'not_found_error', `no such path: ${route}`);
    } catch (error) {
      if (response.headersSent) response.destroy();
      else sendError(response, 500, 'api_error', error instanceof Error ? error.message : String(error));
    }
  }

  async #messages(request: IncomingMessage, response: ServerResponse, body: unknown): Promise<void> {
    const refusal = refusalOf(request, body);
    const call = this.#note(request, refusal ? undefined : body as WireRequest);
    if (refusal) return call({ status: refusal.status }), sendError(response, refusal.status, refusal.type, refusal.message);
    const asked = body as WireRequest;
    const script = this.#scripts.find((candidate) => candidate.matches(asked));
    const answer = script?.reply(asked) ?? { text: '' };
    const fault = this.#faults.shift() ?? ('fault' in answer ? answer.fault : undefined);
    const reply: StubReply = 'fault' in answer ? { text: '…' } : answer;
    if (fault?.kind === 'slow') await pause(fault.delayMs ?? 1_000, closed(response));
    const refused = fault && refusalByFault(fault);
    if (refused) return call({ status: refused.status, script: script?.name, fault: fault.kind }), sendError(response, refused.status, refused.type, refused.message, refused.headers, refused.details);
    const streamed = this.#streamed(asked, reply);
    call({ status: 200, script: script?.name, fault: fault?.kind, usage: streamed.usage, requestId: requestIdOf(streamed) });
    if (!asked.stream) return sendJson(response, 200, wholeMessage(streamed), limitHeaders());
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache', 'request-id': requestIdOf(streamed), ...limitHeaders() });
    if (!fault || fault.kind === 'slow') await streamReply(response, streamed);
    else await streamBroken(response, streamed, fault.kind, fault.delayMs ?? 20);
  }

  #streamed(asked: WireRequest, reply: StubReply): Streamed {
    const id = `msg_stub${String(++this.#lastId).padStart(8, '0')}`;
    const outputTokens = blocksOfReply(id, reply).reduce((sum, block) => sum + tokensOf(block.type === 'tool_use' ? block.name + block.json : block.text), 4);
    const usage = { ...this.#cache.use(asked, outputTokens, wallMs()), ...reply.usage };
    return { id, model: asked.model, reply, usage };
  }

  #countTokens(request: IncomingMessage, response: ServerResponse, body: unknown): void {
    const refusal = refusalOf(request, { max_tokens: 1, ...(body as object) });
    if (refusal) sendError(response, refusal.status, refusal.type, refusal.message);
    else sendJson(response, 200, { input_tokens: promptTokens(body as WireRequest) });
  }

  #orderFault(response: ServerResponse, body: unknown): void {
    const { kind, times = 1, delayMs, retryAfterS } = (body ?? {}) as { kind?: FaultKind; times?: number; delayMs?: number; retryAfterS?: number };
    if (!kind || !FAULT_KINDS.includes(kind)) return sendError(response, 400, 'invalid_request_error', `kind: one of ${FAULT_KINDS.join(', ')}`);
    this.addFault({ kind, ...(delayMs !== undefined && { delayMs }), ...(retryAfterS !== undefined && { retryAfterS }) }, times);
    sendJson(response, 200, { ordered: times });
  }

  /** Begins the record of a call; the returned function writes it down with its outcome. */
  #note(request: IncomingMessage, body: WireRequest | undefined): (outcome: { status: number; script?: string | undefined; fault?: FaultKind | undefined; usage?: WireUsage; requestId?: string }) => void {
    const headers = Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, KEY_HEADERS.includes(name) ? 'given' : String(value)]));
    return ({ status, script, fault, usage, requestId }) => {
      this.calls.push({ atMs: wallMs(), path: '/v1/messages', script, fault, status, requestId, request: body, usage, headers });
      if (this.calls.length > this.#keep) this.calls.shift();
    };
  }
}

const requestIdOf = ({ id }: Streamed): string => `req_${id.slice(4)}`;

interface Refusal {
  readonly status: number;
  readonly type: string;
  readonly message: string;
  readonly headers?: Record<string, string>;
  readonly details?: unknown;
}

function refusalOf(request: IncomingMessage, body: unknown): Refusal | undefined {
  const key = request.headers['x-api-key'] ?? request.headers.authorization?.replace(/^Bearer /, '');
  if (!key) return { status: 401, type: 'authentication_error', message: 'x-api-key header is required' };
  if (key === 'invalid') return { status: 401, type: 'authentication_error', message: 'invalid x-api-key' };
  const wrong = faultOfBody(body);
  return wrong === undefined ? undefined : { status: 400, type: 'invalid_request_error', message: wrong };
}

function refusalByFault(fault: StubFault): Refusal | undefined {
  switch (fault.kind) {
    case 'overloaded': return { status: 529, type: 'overloaded_error', message: 'Overloaded' };
    case 'server_error': return { status: 500, type: 'api_error', message: 'Internal server error' };
    case 'rejected': return { status: 400, type: 'invalid_request_error', message: 'rejected by order' };
    case 'rate_limit': return {
      status: 429, type: 'rate_limit_error', message: 'This request would exceed your rate limit',
      headers: { 'retry-after': String(fault.retryAfterS ?? 1), 'anthropic-ratelimit-requests-remaining': '0' },
    };
    case 'spend_limit': return {
      status: 429, type: 'rate_limit_error', message: 'You have reached your spend limit',
      details: { error_code: 'enforced_spend_limit_reached' },
    };
    default: return undefined;
  }
}

function wholeMessage({ id, model, reply, usage }: Streamed): unknown {
  const content = blocksOfReply(id, reply).map((block) =>
    block.type === 'tool_use' ? { type: 'tool_use', id: block.id, name: block.name, input: JSON.parse(block.json) as unknown, caller: { type: 'direct' } }
      : block.type === 'thinking' ? { type: 'thinking', thinking: block.text, signature: 'c3R1Yg==' }
        : { type: 'text', text: block.text, citations: null });
  return { id, type: 'message', role: 'assistant', model, content, stop_reason: stopReasonOf(reply), stop_sequence: null, usage };
}

/** Aborts when the asker has gone. */
function closed(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  return gone.signal;
}

const limitHeaders = (): Record<string, string> => ({
  'anthropic-ratelimit-requests-limit': '1000',
  'anthropic-ratelimit-requests-remaining': '999',
  'anthropic-ratelimit-requests-reset': new Date(wallMs() + 60_000).toISOString(),
  'anthropic-ratelimit-input-tokens-limit': '450000',
  'anthropic-ratelimit-input-tokens-remaining': '449000',
  'anthropic-ratelimit-input-tokens-reset': new Date(wallMs() + 60_000).toISOString(),
});

async function readJson(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > MAX_BODY_BYTES) throw new Error('request_too_large');
    chunks.push(chunk);
  }
  return bytes === 0 ? {} : JSON.parse(Buffer.concat(chunks).toString('utf8'));
}

function sendJson(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}

function sendError(response: ServerResponse, status: number, type: string, message: string, headers: Record<string, string> = {}, details?: unknown): void {
  sendJson(response, status, { type: 'error', error: { type, message, ...(details !== undefined && { details }) }, request_id: 'req_stub_error' }, { 'request-id': 'req_stub_error', ...headers });
}
