// Finds passages of documents and of tool outputs: what the tenant has, the user's own and the agent's own, and nobody else's.
import { chunksByWords, chunksFor, chunkVectors, type ChunkScope, type FoundChunk } from '../store/find-chunks.ts';
import type { SearchDeps } from './search-lists.ts';
import { searchTexts } from './search-texts.ts';

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

export const makeFindPassages = (deps: SearchDeps): FindPassages => async (request) => {
  const { found, ...how } = await searchTexts(deps, { ...request, type: request.kind }, {
    collection: 'run_artifacts',
    byWords: (tx, query, limit, generation) => chunksByWords(tx, request, query, limit, generation),
    vectors: (tx, embedder) => chunkVectors(tx, request, embedder),
    rows: (tx, ids) => chunksFor(tx, request, ids),
  });
  return { passages: found, ...how };
};
