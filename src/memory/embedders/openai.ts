// Any server that speaks OpenAI's POST /v1/embeddings (OpenAI, text-embeddings-inference, vLLM, Ollama, …). The protocol
// knows no difference between queries and documents, and says nothing of a vector's length before the first reply.
import type { Embedder } from '../../domain/embedder.ts';
import { MainstayError } from '../../domain/errors.ts';
import { embedOverHttp } from './http.ts';

export interface OpenaiOptions {
  /** With the version: https://host/v1 */
  readonly baseUrl: string;
  readonly apiKey?: string | undefined;
  /** Default text-embedding-3-small. */
  readonly model?: string | undefined;
  /** Needed for models this file does not know. */
  readonly dimensions?: number | undefined;
  readonly timeoutMs?: number | undefined;
}

/** Lengths of the models whose length is known; `cut`: the model lets one choose a shorter one. */
const known: Readonly<Record<string, { dimensions: number; cut: boolean }>> = {
  'text-embedding-3-small': { dimensions: 1_536, cut: true },
  'text-embedding-3-large': { dimensions: 3_072, cut: true },
  'text-embedding-ada-002': { dimensions: 1_536, cut: false },
};

/** Throws `embedder_invalid` when nobody says how long the vectors are. */
export function openaiEmbedder(options: OpenaiOptions): Embedder {
  const { baseUrl, apiKey, model = 'text-embedding-3-small', timeoutMs = 20_000 } = options;
  const dimensions = options.dimensions ?? known[model]?.dimensions;
  if (dimensions === undefined) throw new MainstayError('embedder_invalid', `Set EMBEDDER_DIMENSIONS to the length of the vectors of ${model}.`);
  const closed = new AbortController();
  return {
    fingerprint: `openai:${model}:${dimensions}`,
    dimensions,
    semantic: true,
    embed: (texts, _kind, untilMs) => embedOverHttp({
      name: 'The embeddings server', url: `${baseUrl.replace(/\/+$/, '')}/embeddings`, apiKey, dimensions, timeoutMs, signal: closed.signal,
      // `dimensions` is refused by servers whose models cannot be cut, so it is sent only where it means something.
      body: (input) => ({ model, input, encoding_format: 'float', ...(known[model]?.cut ? { dimensions } : {}) }),
    }, texts, untilMs),
    close: async () => { closed.abort(); },
  };
}
