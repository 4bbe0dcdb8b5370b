// Plausible numbers for usage: tokens by length of text, and a prompt cache that remembers prefixes as the provider's does
// (order tools, system, messages; only up to a mark; nothing below a minimum; five minutes after the last use).
import { createHash } from 'node:crypto';
import { blocksOf } from './validate.ts';
import type { WireRequest, WireUsage } from './wire.ts';

const BYTES_PER_TOKEN = 3.4;
const MIN_CACHED_TOKENS = 512;
const CACHE_MS = 300_000;

export const tokensOf = (text: string): number => Math.ceil(Buffer.byteLength(text) / BYTES_PER_TOKEN);

interface Part { readonly text: string; readonly marked: boolean }

/** The prompt in the order of the cache. */
function partsOf(request: WireRequest): Part[] {
  const system = typeof request.system === 'string' ? [{ type: 'text', text: request.system }] : request.system ?? [];
  return [...(request.tools ?? []), ...system, ...request.messages.flatMap(blocksOf)].map((part) => {
    const { cache_control: mark, ...rest } = part as { cache_control?: unknown };
    return { text: JSON.stringify(rest), marked: mark !== undefined };
  });
}

export const promptTokens = (request: WireRequest): number => partsOf(request).reduce((sum, part) => sum + tokensOf(part.text), 0);

export class PromptCache {
  readonly #expiryMs = new Map<string, number>();

  /** Usage of a prompt at this time; remembers its marked prefixes. */
  use(request: WireRequest, outputTokens: number, nowMs: number): WireUsage {
    const hash = createHash('sha256').update(request.model);
    let tokens = 0;
    let readTokens = 0;
    let markedTokens = 0;
    for (const part of partsOf(request)) {
      tokens += tokensOf(part.text);
      const prefix = hash.update(part.text).copy().digest('hex');
      if (tokens < MIN_CACHED_TOKENS) continue;
      if ((this.#expiryMs.get(prefix) ?? 0) > nowMs) readTokens = tokens;
      if (part.marked) {
        markedTokens = tokens;
        this.#expiryMs.set(prefix, nowMs + CACHE_MS);
      }
    }
    const writtenTokens = Math.max(0, markedTokens - readTokens);
    return {
      input_tokens: tokens - readTokens - writtenTokens,
      cache_creation_input_tokens: writtenTokens,
      cache_read_input_tokens: readTokens,
      cache_creation: { ephemeral_5m_input_tokens: writtenTokens, ephemeral_1h_input_tokens: 0 },
      output_tokens: outputTokens,
    };
  }

  clear(): void { this.#expiryMs.clear(); }
}
