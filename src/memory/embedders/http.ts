// What the HTTP embedders share: batches of 128 texts, one request at a time, a time limit, and a strict reading of the
// reply. What passes (too many requests, a server that restarts, a connection that breaks) is tried again a little later, while whoever
// asked still waits. A reply is never trusted to be complete, in order, or of our length.
import { z } from 'zod';
import { monoMs, pause, wallMs } from '../../clock.ts';
import { MainstayError, messageOf } from '../../domain/errors.ts';

export interface HttpEmbedding {
  /** Name for sentences, e.g. `Voyage`. */
  readonly name: string;
  readonly url: string;
  readonly apiKey: string | undefined;
  readonly dimensions: number;
  /** The request's body for these texts. */
  body(texts: readonly string[]): Record<string, unknown>;
  /** For one request, with all its tries. */
  readonly timeoutMs: number;
  /** Aborts when the embedder is closed. */
  readonly signal: AbortSignal;
}

/** Texts per request: what Voyage and most OpenAI-compatible servers take at least. */
const batch = 128;
/** Tries of one request, and the pause before the second; it doubles, less up to a quarter by chance, and is at least what the server asks for. */
const tries = 3;
const pauseMs = 250;
/** Refusals that pass: a request that took too long, too many of them, a server in trouble. */
const passes = (status: number): boolean => status === 408 || status === 429 || status >= 500;
/** Longest error text read of a reply. */
const maxErrorChars = 200;

const replySchema = z.object({ data: z.array(z.object({ index: z.number().int(), embedding: z.array(z.number()) })) });

/** Unit vectors of all texts, in their order. `untilMs`: nothing is tried again after it (`monoMs`). Throws `embedder_failed`. */
export async function embedOverHttp(service: HttpEmbedding, texts: readonly string[], untilMs = Infinity): Promise<number[][]> {
  const vectors: number[][] = [];
  for (let at = 0; at < texts.length; at += batch) {
    const part = texts.slice(at, at + batch).map((text) => (text.trim() === '' ? '-' : text.toWellFormed())); // an empty text is refused by all of them
    vectors.push(...read(service, await request(service, service.body(part), untilMs), part.length));
  }
  return vectors;
}

type Reply = { readonly json: unknown } | { readonly error: MainstayError; readonly mayPass: boolean };

async function request(service: HttpEmbedding, body: Record<string, unknown>, untilMs: number): Promise<unknown> {
  const endMs = monoMs() + service.timeoutMs;
  for (let tried = 1; ; tried++) {
    const reply = await post(service, body, endMs);
    if ('json' in reply) return reply.json;
    const waitMs = Math.max(reply.error.retryAfterMs ?? 0, pauseMs * 2 ** (tried - 1) * (1 - Math.random() / 4));
    if (!reply.mayPass || tried === tries || monoMs() + waitMs >= Math.min(endMs, untilMs)) throw reply.error;
    await pause(waitMs, service.signal);
  }
}

async function post(service: HttpEmbedding, body: Record<string, unknown>, endMs: number): Promise<Reply> {
  const late = AbortSignal.timeout(Math.max(1, Math.ceil(endMs - monoMs())));
  try {
    const response = await fetch(service.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(service.apiKey === undefined ? {} : { authorization: `Bearer ${service.apiKey}` }) },
      body: JSON.stringify(body),
      redirect: 'error', // a redirect would carry the key elsewhere
      signal: AbortSignal.any([service.signal, late]),
    });
    return response.ok ? { json: await response.json() } : { error: await refusal(service, response), mayPass: passes(response.status) };
  } catch (error) {
    if (service.signal.aborted) throw failure(service, 'was closed');
    const why = late.aborted ? `did not answer within ${service.timeoutMs} ms` : `could not be asked: ${messageOf(error)}`;
    return { error: failure(service, why, { cause: error }), mayPass: isBroken(error) };
  }
}

/** The connection was refused or broke off: its cause has a code, which a redirect or a wrong reply has not. */
const isBroken = (error: unknown): boolean => typeof (error as { cause?: { code?: unknown } } | undefined)?.cause?.code === 'string';

async function refusal(service: HttpEmbedding, response: Response): Promise<MainstayError> {
  const text = (await response.text().catch(() => '')).slice(0, maxErrorChars);
  const waitMs = waitOf(response.headers.get('retry-after'));
  const said = service.apiKey === undefined ? text : text.replaceAll(service.apiKey, '…');
  return failure(service, `answered with status ${response.status}: ${said}`, waitMs > 0 ? { retryAfterMs: waitMs } : {});
}

/** Seconds or a date (RFC 9110); 0 where it is neither. */
function waitOf(retryAfter: string | null): number {
  if (retryAfter === null) return 0;
  const ms = /^\s*\d+\s*$/.test(retryAfter) ? Number(retryAfter) * 1_000 : Date.parse(retryAfter) - wallMs();
  return Number.isFinite(ms) ? Math.max(0, ms) : 0;
}

const failure = (service: HttpEmbedding, why: string, options: { retryAfterMs?: number; cause?: unknown } = {}): MainstayError =>
  new MainstayError('embedder_failed', `${service.name} ${why}.`, options);

function read(service: HttpEmbedding, reply: unknown, expected: number): number[][] {
  const parsed = replySchema.safeParse(reply);
  if (!parsed.success) throw failure(service, 'sent a reply without embeddings');
  const vectors = new Array<number[] | undefined>(expected).fill(undefined);
  for (const { index, embedding } of parsed.data.data) {
    if (index < 0 || index >= expected || vectors[index]) throw failure(service, `sent an embedding for text ${index} of ${expected}`);
    if (embedding.length !== service.dimensions) throw failure(service, `sent ${embedding.length} numbers, ${service.dimensions} are configured (EMBEDDER_DIMENSIONS)`);
    vectors[index] = unit(service, embedding);
  }
  return vectors.map((vector, at) => { if (!vector) throw failure(service, `left out text ${at} of ${expected}`); return vector; });
}

function unit(service: HttpEmbedding, vector: readonly number[]): number[] {
  const norm = Math.hypot(...vector);
  if (!(norm > 0) || !Number.isFinite(norm)) throw failure(service, 'sent a vector without length');
  return vector.map((value) => value / norm);
}
