// A local server that speaks the Messages API from scripts, for development without a key and for tests. Production's
// adapter talks to it over HTTP and cannot tell; nothing in production knows of it. It binds to loopback only and keeps
// what it was asked in memory, for tests to look at.
//
//   POST /v1/messages                the answer of the first script that matches, streamed
//   POST /v1/messages/count_tokens   a count by length
//   /v1/messages/batches             create, list, retrieve, cancel, delete, results (batches.ts)
//   POST /stub/faults                { kind, times?, delayMs?, retryAfterS?, on?, when? }: the next `times` requests meet it
//   POST /stub/conversations         { when, turns }: a conversation told beforehand (conversations.ts)
//   POST /stub/batches               a BatchPlan for the batches to come; { end: true | id } ends those that are open
//   POST /stub/reset                 forgets faults, conversations, calls, batches and cached prompts
//   GET  /stub/calls                 what was asked of messages, oldest first
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pause, wallMs } from '../../clock.ts';
import { Answers, requestIdOf, wholeMessage } from './answers.ts';
import { Batches, type BatchPlan, type Said } from './batches.ts';
import { promptTokens } from './count-tokens.ts';
import { ampleLimits, refusalByFault, sendJson, sendRefusal, type Refusal } from './refusals.ts';
import { SCRIPTS } from './scripts/scripts.ts';
import { streamBroken, streamReply } from './stream-reply.ts';
import { fault as faultOfBody } from './validate.ts';
import { FAULT_KINDS, ROUTES, type Route, type StubCall, type StubConversation, type StubFault, type StubReply, type StubScript, type WireRequest } from './wire.ts';

export interface ModelStub {
  readonly url: string;
  stop(): Promise<void>;
  /** Every call so far, oldest first, of messages unless another route is named; the last 1,000 are kept, or as many as `keep` says. */
  calls(route?: Route): StubCall[];
  /** The next `times` requests it concerns meet this fault, after those already ordered. */
  addFault(fault: StubFault, times?: number): void;
  /** From now on this conversation goes as told. */
  tell(conversation: StubConversation): void;
  readonly batches: Pick<Batches, 'plan' | 'end' | 'all'>;
  reset(): void;
}

export interface ModelStubOptions {
  /** 0 or none: a free one. */
  readonly port?: number;
  /** Loopback unless a container must be reached. */
  readonly host?: string;
  /** Asked before the standard ones. */
  readonly scripts?: readonly StubScript[];
  readonly keep?: number;
  /** Longest prompt any model takes. */
  readonly contextTokens?: number;
}

/** Never kept: the key may be a real one that was pointed here by mistake. */
const KEY_HEADERS = ['x-api-key', 'authorization'];
const MAX_CALLS = 1_000;
const MAX_BODY_BYTES = 32 * 1024 * 1024;
const CONTEXT_TOKENS = 1_000_000;

export async function startModelStub(options: ModelStubOptions = {}): Promise<ModelStub> {
  const stub = new Stub(options);
  const server = createServer((request, response) => { void stub.serve(request, response); });
  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(options.port ?? 0, options.host ?? '127.0.0.1', resolve));
  return {
    url: `http://${options.host ?? '127.0.0.1'}:${(server.address() as AddressInfo).port}`,
    stop: () => new Promise((resolve) => {
      server.close(() => resolve());
      server.closeAllConnections();
    }),
    calls: (route = 'messages') => stub.calls.filter((call) => call.route === route),
    addFault: (fault, times = 1) => stub.addFault(fault, times),
    tell: (conversation) => stub.answers.tell(conversation),
    batches: stub.batches,
    reset: () => stub.reset(),
  };
}

const TARGETS: readonly (readonly [RegExp, Route])[] = [
  [/^POST \/v1\/messages$/, 'messages'],
  [/^POST \/v1\/messages\/count_tokens$/, 'count_tokens'],
  [/^POST \/v1\/messages\/batches$/, 'batch_create'],
  [/^GET \/v1\/messages\/batches$/, 'batch_list'],
  [/^GET \/v1\/messages\/batches\/([^/]+)$/, 'batch_retrieve'],
  [/^DELETE \/v1\/messages\/batches\/([^/]+)$/, 'batch_delete'],
  [/^POST \/v1\/messages\/batches\/([^/]+)\/cancel$/, 'batch_cancel'],
  [/^GET \/v1\/messages\/batches\/([^/]+)\/results$/, 'batch_results'],
];

/** One request of the API on its way to an answer. */
interface Asked {
  readonly route: Route;
  readonly batch: string;
  readonly query: URLSearchParams;
  readonly origin: string;
  readonly body: unknown;
  readonly headers: StubCall['headers'];
  readonly response: ServerResponse;
}
type Outcome = Pick<StubCall, 'status'> & Partial<Pick<StubCall, 'script' | 'fault' | 'usage' | 'requestId'>>;

class Stub {
  readonly calls: StubCall[] = [];
  readonly answers: Answers;
  readonly batches: Batches;
  readonly #keep: number;
  #faults: StubFault[] = [];
  #lastId = 0;

  constructor(options: ModelStubOptions) {
    this.answers = new Answers([...(options.scripts ?? []), ...SCRIPTS], options.contextTokens ?? CONTEXT_TOKENS);
    this.batches = new Batches(this.answers);
    this.#keep = options.keep ?? MAX_CALLS;
  }

  addFault(fault: StubFault, times: number): void {
    this.#faults.push(...Array.from({ length: times }, () => fault));
  }

  reset(): void {
    this.#faults = [];
    this.calls.length = 0;
    this.answers.reset();
    this.batches.reset();
  }

  async serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const { pathname, searchParams: query } = new URL(request.url ?? '/', 'http://stub');
      const body = request.method === 'POST' ? await readJson(request) : undefined;
      const path = `${request.method} ${pathname}`;
      if (pathname.startsWith('/stub/')) return this.#control(path, body, response);
      for (const [pattern, route] of TARGETS) {
        const match = pattern.exec(path);
        if (match) return await this.#api({ route, batch: match[1] ?? '', query, origin: `http://${request.headers.host ?? 'localhost'}`, body, headers: headersOf(request), response }, keyRefusal(request));
      }
      sendRefusal(response, { status: 404, type: 'not_found_error', message: `no such path: ${path}` }, this.#mintId());
    } catch (error) {
      if (response.headersSent) response.destroy();
      else if (error instanceof SyntaxError) sendRefusal(response, { status: 400, type: 'invalid_request_error', message: 'The request body is not valid JSON' }, this.#mintId());
      else sendRefusal(response, { status: 500, type: 'api_error', message: error instanceof Error ? error.message : String(error) }, this.#mintId());
    }
  }

  /** Key, form, fault, then the answer. */
  async #api(asked: Asked, noKey: Refusal | undefined): Promise<void> {
    const refusal = noKey ?? this.#formRefusal(asked);
    if (refusal) return this.#refuse(asked, refusal, {});
    const ordered = this.#takeFault(asked);
    const scripted = asked.route === 'messages' && !(ordered && refusalByFault(ordered)) ? this.answers.scripted(asked.body as WireRequest) : undefined;
    const fault = ordered ?? (scripted && 'fault' in scripted.answer ? scripted.answer.fault : undefined);
    const refused = fault && refusalByFault(fault);
    if (fault?.kind === 'slow' || (refused && fault.delayMs)) await pause(fault.delayMs ?? 1_000, closed(asked.response));
    if (refused) return this.#refuse(asked, refused, { script: scripted?.script, fault: fault.kind });
    if (scripted) return await this.#message(asked, scripted, fault);
    if (asked.route === 'count_tokens') return this.#say(asked, fault, { body: { input_tokens: promptTokens(asked.body as WireRequest) } });
    if (asked.route === 'batch_results') return await this.#results(asked, fault);
    return this.#say(asked, fault, this.#batch(asked));
  }

  #formRefusal({ route, body }: Asked): Refusal | undefined {
    if (route !== 'messages' && route !== 'count_tokens') return undefined;
    const wrong = faultOfBody(route === 'messages' ? body : { max_tokens: 1, ...(body as object) }) ?? this.answers.tooLong(body as WireRequest);
    return wrong === undefined ? undefined : { status: 400, type: 'invalid_request_error', message: wrong };
  }

  async #message(asked: Asked, { script, answer: scripted }: ReturnType<Answers['scripted']>, fault: StubFault | undefined): Promise<void> {
    const request = asked.body as WireRequest;
    const reply: StubReply = 'fault' in scripted || 'expired' in scripted ? { text: '…' } : scripted;
    const answer = this.answers.make(request, reply, 'standard');
    const { response } = asked;
    const headers = { 'request-id': requestIdOf(answer), 'anthropic-organization-id': 'org_stub', ...ampleLimits() };
    this.#note(asked, { status: 200, script, fault: fault?.kind, usage: answer.usage, requestId: requestIdOf(answer) });
    if (fault?.kind === 'answer_lost') return void response.socket?.destroy();
    if (!request.stream) return sendJson(response, 200, wholeMessage(answer), headers);
    response.writeHead(200, { 'content-type': 'text/event-stream; charset=utf-8', 'cache-control': 'no-cache', ...headers });
    if (!fault || fault.kind === 'slow') await streamReply(response, answer);
    else await streamBroken(response, answer, fault.kind, fault.delayMs ?? 20);
  }

  #batch({ route, batch, body, query, origin }: Asked): Said {
    switch (route) {
      case 'batch_create': return this.batches.create(body, origin);
      case 'batch_list': return this.batches.list(query, origin);
      case 'batch_cancel': return this.batches.cancel(batch, origin);
      case 'batch_delete': return this.batches.delete(batch);
      default: return this.batches.retrieve(batch, origin);
    }
  }

  /** `disconnect` breaks off within the second half of the lines. */
  async #results(asked: Asked, fault: StubFault | undefined): Promise<void> {
    const said = this.batches.results(asked.batch);
    if ('refusal' in said) return this.#refuse(asked, said.refusal, {});
    this.#note(asked, { status: 200, fault: fault?.kind, requestId: this.#mintId() });
    const { response } = asked;
    response.writeHead(200, { 'content-type': 'application/x-jsonl' });
    const text = said.lines.join('');
    if (fault?.kind === 'disconnect') {
      response.write(text.slice(0, Math.ceil(text.length * 0.6)));
      await pause(20); // lets what was written arrive
      response.socket?.destroy();
    } else response.end(text);
  }

  #say(asked: Asked, fault: StubFault | undefined, said: Said): void {
    if ('refusal' in said) return this.#refuse(asked, said.refusal, {});
    const requestId = this.#mintId();
    this.#note(asked, { status: 200, fault: fault?.kind, requestId });
    if (fault?.kind === 'answer_lost') asked.response.socket?.destroy();
    else sendJson(asked.response, 200, said.body, { 'request-id': requestId });
  }

  #refuse(asked: Asked, refusal: Refusal, outcome: Partial<Outcome>): void {
    this.#note(asked, { ...outcome, status: refusal.status });
    sendRefusal(asked.response, refusal, this.#mintId());
  }

  #takeFault({ route, body }: Asked): StubFault | undefined {
    const at = this.#faults.findIndex(({ on = 'messages', when }) => on === route && (when === undefined || JSON.stringify(body).includes(when)));
    return at < 0 ? undefined : this.#faults.splice(at, 1)[0];
  }

  #note({ route, body, headers }: Asked, { status, script, fault, usage, requestId }: Outcome): void {
    const request = status === 400 || (route !== 'messages' && route !== 'count_tokens') ? undefined : body as WireRequest;
    this.calls.push({ atMs: wallMs(), route, script, fault, status, requestId, request, usage, headers });
    if (this.calls.length > this.#keep) this.calls.shift();
  }

  /** Request ids of what has no message. */
  #mintId(): string { return `req_other${String(++this.#lastId).padStart(8, '0')}`; }

  #control(path: string, body: unknown, response: ServerResponse): void {
    switch (path) {
      case 'POST /stub/faults': return this.#orderFault(response, body);
      case 'POST /stub/conversations': return this.answers.tell(body as StubConversation), sendJson(response, 200, {});
      case 'POST /stub/batches': {
        const { end, ...plan } = body as BatchPlan & { end?: true | string };
        if (end === undefined) this.batches.plan(plan);
        else this.batches.end(end === true ? undefined : end);
        return sendJson(response, 200, {});
      }
      case 'POST /stub/reset': return this.reset(), sendJson(response, 200, {});
      case 'GET /stub/calls': return sendJson(response, 200, this.calls.filter(({ route }) => route === 'messages'));
      default: return sendJson(response, 404, { error: `no such path: ${path}` });
    }
  }

  #orderFault(response: ServerResponse, body: unknown): void {
    const { times = 1, ...fault } = (body ?? {}) as Partial<StubFault> & { times?: number };
    if (!fault.kind || !FAULT_KINDS.includes(fault.kind)) return sendJson(response, 400, { error: `kind: one of ${FAULT_KINDS.join(', ')}` });
    if (fault.on !== undefined && !ROUTES.includes(fault.on)) return sendJson(response, 400, { error: `on: one of ${ROUTES.join(', ')}` });
    this.addFault(fault as StubFault, times);
    sendJson(response, 200, { ordered: times });
  }
}

const headersOf = (request: IncomingMessage): StubCall['headers'] =>
  Object.fromEntries(Object.entries(request.headers).map(([name, value]) => [name, KEY_HEADERS.includes(name) ? 'given' : String(value)]));

function keyRefusal(request: IncomingMessage): Refusal | undefined {
  const key = request.headers['x-api-key'] ?? request.headers.authorization?.replace(/^Bearer /, '');
  if (!key) return { status: 401, type: 'authentication_error', message: 'x-api-key header is required' };
  return key === 'invalid' ? { status: 401, type: 'authentication_error', message: 'invalid x-api-key' } : undefined;
}

/** Aborts when the asker has gone. */
function closed(response: ServerResponse): AbortSignal {
  const gone = new AbortController();
  response.once('close', () => gone.abort());
  return gone.signal;
}

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
