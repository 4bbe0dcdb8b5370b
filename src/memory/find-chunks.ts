// Finds passages of documents and of tool outputs: by their words in Postgres, where every passage is read under tenant, user and agent.
import type { AppStore } from '../store/app-store.ts';
import { chunksByWords, chunksFor, type ChunkScope, type FoundChunk } from '../store/find-chunks.ts';

export interface FindChunksDeps { readonly store: AppStore }

export interface FindChunks extends ChunkScope {
  readonly tenant: string;
  readonly query: string;
  /** Passages at most. */
  readonly limit: number;
}

export interface Passage extends FoundChunk { /** 0 to 1, comparable within one answer. */ readonly score: number }

export interface FoundPassages {
  /** Best first. */
  readonly passages: readonly Passage[];
  /** False: searched by words, not by meaning. */
  readonly semantic: boolean;
  /** The index should have answered and did not. */
  readonly degraded: boolean;
}

/** Throws only what Postgres throws. */
export type FindPassages = (request: FindChunks) => Promise<FoundPassages>;

export const makeFindPassages = (deps: FindChunksDeps): FindPassages => (request) => findChunks(deps, request);

async function findChunks({ store }: FindChunksDeps, request: FindChunks): Promise<FoundPassages> {
  return store.withTenant({ tenant: request.tenant, user: request.user ?? null }, async (tx) => {
    const hits = await chunksByWords(tx, request, request.query, request.limit);
    const rows = new Map((await chunksFor(tx, request, hits.map(({ id }) => id))).map((row) => [row.id, row]));
    const best = Math.max(0, ...hits.map(({ score }) => score));
    return { semantic: false, degraded: true, passages: hits.flatMap(({ id, score }) => { const row = rows.get(id); return row ? [{ ...row, score: best > 0 ? score / best : 0 }] : []; }) };
  });
}
