// Embedding for the evaluation, which knows all its texts beforehand and waits for nothing else as long: the pages to come are embedded
// while what came before is written or searched, and the built-in model runs once on each core. No vector depends on either.
import { existsSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import type { Config } from '../../src/config.ts';
import type { Embedder, EmbedKind } from '../../src/domain/embedder.ts';
import type { Log } from '../../src/log.ts';
import { builtinEmbedder } from '../../src/memory/embedders/builtin.ts';
import { makeEmbedder } from '../../src/memory/embedders/make-embedder.ts';

/** Texts of one call, and calls begun before they are needed. */
const PAGE = 128;
const AHEAD = 2;
/** Models at once: each is a copy in memory. */
const MOST = 4;

/** The configured one; the built-in model as often as there are cores, each with one thread: half a core is idle when two share a text. */
export async function evalEmbedder(config: Config, log: Log): Promise<Embedder> {
  if (config.EMBEDDER !== 'builtin' || !existsSync(config.EMBEDDER_MODEL_DIR)) return makeEmbedder(config, log);
  const dir = config.EMBEDDER_MODEL_DIR;
  return sideBySide(await Promise.all(Array.from({ length: Math.min(MOST, availableParallelism()) }, () => builtinEmbedder({ dir, log, threads: 1 }))));
}

/** Embedders of one model: each takes its share of the texts. */
export function sideBySide(embedders: readonly Embedder[]): Embedder {
  const [first] = embedders;
  if (first === undefined) throw new Error('there must be one embedder at least');
  return {
    ...first,
    embed: async (texts, kind) => {
      const parts = await Promise.all(embedders.map((one, k) => one.embed(texts.filter((_, at) => at % embedders.length === k), kind)));
      return texts.map((_, at) => parts[at % embedders.length]?.[Math.floor(at / embedders.length)] ?? []);
    },
    close: async () => { await Promise.all(embedders.map((one) => one.close())); },
  };
}

/** An embedder for exactly these texts, asked for about in this order: a page is begun before it is needed and forgotten once each text of it was asked for. */
export function embedAhead(embedder: Embedder, texts: readonly string[], kind: EmbedKind): (text: string) => Promise<number[]> {
  const distinct = [...new Set(texts)];
  const places = new Map(distinct.map((text, at) => [text, at]));
  const pages = new Map<number, { readonly vectors: Promise<number[][]>; readonly left: Set<string> }>();
  let begun = 0;
  const beginUpTo = (last: number): void => {
    for (; begun <= last && begun * PAGE < distinct.length; begun++) {
      const page = distinct.slice(begun * PAGE, (begun + 1) * PAGE);
      const vectors = embedder.embed(page, kind);
      vectors.catch(() => undefined); // met by whoever asks for one of them
      pages.set(begun, { vectors, left: new Set(page) });
    }
  };
  return async (text) => {
    const at = places.get(text) ?? -1;
    const number = Math.floor(at / PAGE);
    if (at >= 0) beginUpTo(number + AHEAD);
    const page = pages.get(number);
    const vector = page === undefined ? (await embedder.embed([text], kind))[0] : (await page.vectors)[at % PAGE]; // asked for again, later on
    if (page?.left.delete(text) && page.left.size === 0) pages.delete(number);
    return vector ?? [];
  };
}
