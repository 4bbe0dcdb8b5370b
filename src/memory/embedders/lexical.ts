// An embedder without a model: words and pieces of words, hashed into a vector. It finds shared spelling, not shared
// meaning (of 60 paraphrases it finds 1 in 5 first; the built-in model all), and says so by `semantic: false`.
// Deterministic on every machine, so that tests and degraded recall give the same order twice.
import type { Embedder } from '../../domain/embedder.ts';

const dimensions = 384;
/** Beyond this the tail of a text weighs nothing against the rest, and hashing would cost milliseconds. */
const maxChars = 8_192;

export const lexicalEmbedder = (): Embedder => ({
  fingerprint: `lexical:grams34-words:${dimensions}`,
  dimensions,
  semantic: false,
  embed: async (texts) => texts.map(vectorOf),
  close: async () => undefined,
});

function vectorOf(text: string): number[] {
  const counts = new Map<string, number>();
  for (const feature of featuresOf(text)) counts.set(feature, (counts.get(feature) ?? 0) + 1);
  const vector = new Array<number>(dimensions).fill(0);
  for (const [feature, count] of counts) {
    const hash = fnv1a(feature);
    const weight = (feature.startsWith('w:') ? 2 : 1) * (1 + Math.log(count)); // a whole word says more than a piece
    const place = hash % dimensions;
    vector[place] = (vector[place] ?? 0) + ((hash >>> 31) === 1 ? weight : -weight); // the sign lets collisions cancel out
  }
  const norm = Math.hypot(...vector);
  if (norm === 0) return vector.map((_, at) => (at === 0 ? 1 : 0)); // a text without a letter still has a direction
  return vector.map((value) => value / norm);
}

function* featuresOf(text: string): Generator<string> {
  for (const [word] of text.slice(0, maxChars).normalize('NFKC').toLowerCase().matchAll(/[\p{L}\p{N}]+/gu)) {
    yield `w:${word}`;
    const padded = ` ${word} `;
    for (const size of [3, 4]) for (let at = 0; at + size <= padded.length; at++) yield padded.slice(at, at + size);
  }
}

/** FNV-1a over UTF-16 units, with a final mix: its low bits alone are poor for short strings. */
function fnv1a(text: string): number {
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  return (hash ^ (hash >>> 13)) >>> 0;
}
