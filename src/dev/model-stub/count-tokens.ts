// Plausible numbers for usage: tokens by length of text, and a prompt cache that remembers prefixes as the provider's does
// (order tools, system, messages; only up to a mark; nothing below a minimum; found again from a mark over twenty blocks back
// at most; five minutes or an hour after the last use).
import { createHash } from 'node:crypto';
import { blocksOf } from './validate.ts';
import type { WireRequest, WireUsage } from './wire.ts';

const BYTES_PER_TOKEN = 3.4;
const MIN_CACHED_TOKENS = 512;
const CACHE_MS = { '5m': 300_000, '1h': 3_600_000 } as const;
const LOOKBACK_BLOCKS = 20;

export const tokensOf = (text: string): number => Math.ceil(Buffer.byteLength(text) / BYTES_PER_TOKEN);

type Life = keyof typeof CACHE_MS;
interface Part { readonly text: string; readonly mark: Life | undefined }

/** The prompt in the order of the cache. */
function partsOf(request: WireRequest): Part[] {
  const system = typeof request.system === 'string' ? [{ type: 'text', text: request.system }] : request.system ?? [];
  return [...(request.tools ?? []), ...system, ...request.messages.flatMap(blocksOf)].map((part) => {
    const { cache_control: mark, ...rest } = part as { cache_control?: { ttl?: string } };
    return { text: JSON.stringify(rest), mark: mark === undefined ? undefined : mark.ttl === '1h' ? '1h' : '5m' };
  });
}

export const promptTokens = (request: WireRequest): number => partsOf(request).reduce((sum, part) => sum + tokensOf(part.text), 0);

/** The part of a message's usage that its prompt decides. */
export type PromptUsage = Pick<WireUsage, 'input_tokens' | 'cache_creation_input_tokens' | 'cache_read_input_tokens' | 'cache_creation'>;

export class PromptCache {
  readonly #entries = new Map<string, { expiryMs: number; life: Life }>();

  /** Usage of a prompt at this time; remembers its marked prefixes. */
  use(request: WireRequest, nowMs: number): PromptUsage {
    const hash = createHash('sha256').update(request.model);
    const parts = partsOf(request);
    let tokens = 0;
    let readTokens = 0;
    const written: { upTo: number; life: Life }[] = [];
    for (const [index, part] of parts.entries()) {
      tokens += tokensOf(part.text);
      const prefix = hash.update(part.text).copy().digest('hex');
      if (tokens < MIN_CACHED_TOKENS) continue;
      const known = this.#entries.get(prefix);
      if (known && known.expiryMs > nowMs && parts.slice(index, index + LOOKBACK_BLOCKS).some(({ mark }) => mark)) {
        readTokens = tokens;
        known.expiryMs = nowMs + CACHE_MS[known.life];
      }
      if (part.mark) {
        written.push({ upTo: tokens, life: part.mark });
        this.#entries.set(prefix, { expiryMs: nowMs + CACHE_MS[part.mark], life: part.mark });
      }
    }
    const writtenTokens = { '5m': 0, '1h': 0 };
    let from = readTokens;
    for (const { upTo, life } of written.filter((mark) => mark.upTo > readTokens)) {
      writtenTokens[life] += upTo - from;
      from = upTo;
    }
    return {
      input_tokens: tokens - from,
      cache_creation_input_tokens: writtenTokens['5m'] + writtenTokens['1h'],
      cache_read_input_tokens: readTokens,
      cache_creation: { ephemeral_5m_input_tokens: writtenTokens['5m'], ephemeral_1h_input_tokens: writtenTokens['1h'] },
    };
  }

  clear(): void { this.#entries.clear(); }
}
