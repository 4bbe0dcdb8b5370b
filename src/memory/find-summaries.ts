// Finds what earlier runs came to, by their summaries: a user's, of whatever agent, or those an agent made for nobody.
import { summariesByWords, summariesFor, summaryVectors, type FoundSummary, type SummaryScope } from '../store/find-summaries.ts';
import type { SearchDeps } from './search-lists.ts';
import { searchTexts } from './search-texts.ts';

export interface FindSummary {
  readonly tenant: string;
  readonly scope: SummaryScope;
  readonly query: string;
  /** Summaries at most. */
  readonly limit: number;
}

export interface FoundSummaries {
  /** Best first; `score`: 0 to 1, comparable within one answer. */
  readonly summaries: readonly (FoundSummary & { readonly score: number })[];
  /** False: searched by words, not by meaning. */
  readonly semantic: boolean;
  /** The index should have answered and did not. */
  readonly degraded: boolean;
}

/** Throws only what Postgres throws. */
export type FindSummaries = (request: FindSummary) => Promise<FoundSummaries>;

export const makeFindSummaries = (deps: SearchDeps): FindSummaries => async ({ tenant, scope, query, limit }) => {
  const { found, ...how } = await searchTexts(deps, { tenant, ...scope, query, limit }, {
    collection: 'conversation_summaries',
    byWords: (tx, words, most, generation) => summariesByWords(tx, scope, words, most, generation),
    vectors: (tx, embedder) => summaryVectors(tx, scope, embedder),
    rows: (tx, runs) => summariesFor(tx, scope, runs),
  });
  return { summaries: found, ...how };
};
