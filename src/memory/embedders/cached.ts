// An embedder that remembers in Redis what it has embedded: recall asks for the same words again and again. A cache only:
// where Redis fails, the embedder behind it is asked. Keys hold a digest of the text, never the text.
import { createHash } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { EmbedKind, Embedder } from '../../domain/embedder.ts';
import type { RedisKeys } from '../../redis.ts';

/** Long enough for sessions that go on next week; bounded, because our Redis evicts nothing by itself. */
const ttlS = 7 * 24 * 3_600;

export function cachedEmbedder(embedder: Embedder, redis: Redis, keys: RedisKeys): Embedder {
  return {
    ...embedder,
    embed: async (texts, kind, untilMs) => {
      const distinct = [...new Set(texts)];
      const known = await read(redis, distinct.map((text) => embeddingKey(keys, embedder.fingerprint, text, kind)), embedder.dimensions);
      const vectors = new Map(distinct.flatMap((text, at) => { const vector = known[at]; return vector ? [[text, vector] as const] : []; }));
      const missing = distinct.filter((text) => !vectors.has(text));
      if (missing.length > 0) {
        const fresh = await embedder.embed(missing, kind, untilMs);
        missing.forEach((text, at) => vectors.set(text, [...Float32Array.from(fresh[at] ?? [])])); // as precise as the cache keeps it
        void write(redis, missing.map((text) => [embeddingKey(keys, embedder.fingerprint, text, kind), vectors.get(text) ?? []]));
      }
      return texts.map((text) => [...(vectors.get(text) ?? [])]);
    },
    forget: (texts) => forgetEmbeddings(redis, keys, embedder.fingerprint, texts),
    close: () => embedder.close(),
  };
}

/** Forgets these texts: part of an erasure. Rejects when Redis does not answer, so that the erasure knows. */
export async function forgetEmbeddings(redis: Redis, keys: RedisKeys, fingerprint: string, texts: readonly string[]): Promise<void> {
  for (const text of texts) {
    for (const kind of ['query', 'document'] as const) await redis.del(embeddingKey(keys, fingerprint, text, kind));
  }
}

const embeddingKey = (keys: RedisKeys, fingerprint: string, text: string, kind: EmbedKind): string =>
  keys.embedding(fingerprint, createHash('sha256').update(`${kind}\n`).update(text).digest('hex'));

async function read(redis: Redis, names: readonly string[], dimensions: number): Promise<(number[] | undefined)[]> {
  const found = names.length === 0 ? [] : await Promise.all(names.map((name) => redis.get(name))).catch(() => []); // not MGET: keys lie on different shards
  return names.map((_, at) => { const text = found[at]; return typeof text === 'string' ? decode(text, dimensions) : undefined; });
}

async function write(redis: Redis, entries: readonly (readonly [string, readonly number[]])[]): Promise<void> {
  await Promise.all(entries.map(([name, vector]) => redis.set(name, encode(vector), 'EX', ttlS))).catch(() => undefined);
}

const encode = (vector: readonly number[]): string => Buffer.from(Float32Array.from(vector).buffer).toString('base64');

function decode(text: string, dimensions: number): number[] | undefined {
  const bytes = Buffer.from(text, 'base64');
  if (bytes.length !== dimensions * 4) return undefined;
  const vector = Array.from({ length: dimensions }, (_, at) => bytes.readFloatLE(at * 4));
  return vector.every(Number.isFinite) ? vector : undefined;
}
