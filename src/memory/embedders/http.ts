// What the HTTP embedders share: batches of 128 texts, one request at a time, a time limit, and a strict reading of the
// reply. No retries here: whoever asked decides. A reply is never trusted to be complete, in order, or of our length.
import { z } from 'zod';
import { MainstayError, messageOf } from '../../domain/errors.ts';

export interface HttpEmbedding {
  /** Name for sentences, e.g. `Voyage`. */
  readonly name: string;
  readonly url: string;
  readonly apiKey: string | undefined;
  readonly dimensions: number;
  /** The request's body for these texts. */
  body(texts: readonly string[]): Record<string, unknown>;
  readonly timeoutMs: number;
  /** Aborts when the embedder is closed. */
  readonly signal: AbortSignal;
}

/** Texts per request: what Voyage and most OpenAI-compatible servers take at least. */
const batch = 128;
/** Longest error text read of a reply. */
const maxErrorChars = 200;

const replySchema = z.object({ data: z.array(z.object({ index: z.number().int(), embedding: z.array(z.number()) })) });

/** Unit vectors of all texts, in their order. Throws `embedder_failed`. */
export async function embedOverHttp(service: HttpEmbedding, texts: readonly string[]): Promise<number[][]> {
  const vectors: number[][] = [];
  for (let at = 0; at < texts.length; at += batch) {
    const part = texts.slice(at, at + batch).map((text) => (text.trim() === '' ? '-' : text.toWellFormed())); // an empty text is refused by all of them
    vectors.push(...read(service, await post(service, service.body(part)), part.length));
  }
  return vectors;
}

async function post(service: HttpEmbedding, body: Record<string, unknown>): Promise<unknown> {
  const late = AbortSignal.timeout(service.timeoutMs);
  try {
    const response = await fetch(service.url, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...(service.apiKey === undefined ? {} : { authorization: `Bearer ${service.apiKey}` }) },
      body: JSON.stringify(body),
      redirect: 'error', // a redirect would carry the key elsewhere
      signal: AbortSignal.any([service.signal, late]),
    });
    if (!response.ok) throw await refusal(service, response);
    return await response.json();
  } catch (error) {
    if (error instanceof MainstayError) throw error;
    if (service.signal.aborted) throw failure(service, 'was closed');
    const why = late.aborted ? `did not answer within ${service.timeoutMs} ms` : `could not be asked: ${messageOf(error)}`;
    throw failure(service, why, { cause: error });
  }
}

async function refusal(service: HttpEmbedding, response: Response): Promise<MainstayError> {
  const text = (await response.text().catch(() => '')).slice(0, maxErrorChars);
  const seconds = Number(response.headers.get('retry-after'));
  const retryAfterMs = Number.isFinite(seconds) && seconds > 0 ? { retryAfterMs: seconds * 1_000 } : {};
  const said = service.apiKey === undefined ? text : text.replaceAll(service.apiKey, '…');
  return failure(service, `answered with status ${response.status}: ${said}`, retryAfterMs);
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
