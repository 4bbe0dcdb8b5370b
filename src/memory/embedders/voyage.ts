// Voyage (docs.voyageai.com): asymmetric embeddings over HTTP. Queries and documents are embedded differently, by
// `input_type`; vectors of the voyage-4 family share one space, but a fingerprint still names the model that made them.
import type { Embedder } from '../../domain/embedder.ts';
import { embedOverHttp } from './http.ts';

export interface VoyageOptions {
  readonly apiKey: string;
  /** Default voyage-4-lite. */
  readonly model?: string | undefined;
  /** 256, 512, 1024 (default) or 2048. */
  readonly dimensions?: number | undefined;
  /** Another address, without `/embeddings`. */
  readonly baseUrl?: string | undefined;
  readonly timeoutMs?: number | undefined;
}

export function voyageEmbedder(options: VoyageOptions): Embedder {
  const { apiKey, model = 'voyage-4-lite', dimensions = 1_024, baseUrl = 'https://api.voyageai.com/v1', timeoutMs = 20_000 } = options;
  const closed = new AbortController();
  return {
    fingerprint: `voyage:${model}:${dimensions}`,
    dimensions,
    semantic: true,
    embed: (texts, kind, untilMs) => embedOverHttp({
      name: 'Voyage', url: `${baseUrl.replace(/\/+$/, '')}/embeddings`, apiKey, dimensions, timeoutMs, signal: closed.signal,
      body: (input) => ({ model, input, input_type: kind, output_dimension: dimensions, truncation: true }),
    }, texts, untilMs),
    close: async () => { closed.abort(); },
  };
}
