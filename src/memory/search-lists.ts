// What every search has in common: the query made fit, embedded, and put to the index by meaning and by words, a second for each at
// most. A part that does not answer is left out and counted; nothing here throws for it.
import { monoMs } from '../clock.ts';
import type { Embedder } from '../domain/embedder.ts';
import { codeOf } from '../domain/errors.ts';
import { cosine } from '../domain/gate.ts';
import { scrub } from '../domain/secrets.ts';
import { RECALL_TIMEOUT_MS } from '../domain/tunables.ts';
import type { Hit, VectorCollection, VectorIndex, VectorSearch } from '../domain/vector-index.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { AppStore } from '../store/app-store.ts';
import { DEFAULT_FUSER, type FuseOptions, type Fuser } from './fuse-hits.ts';

export interface SearchDeps {
  readonly store: AppStore;
  readonly index: Pick<VectorIndex, 'generation' | 'search'>;
  readonly embedder: Embedder;
  readonly log: Log;
  readonly metrics?: Pick<Metrics, 'recallDegraded'> | undefined;
  /** How the two lists of the index become one; `context` unless told. */
  readonly fuser?: Fuser | undefined;
}

/** Characters of a query that are searched with: what an embedding model reads at most, and enough for words. */
const MAX_QUERY = 2_000;
/** Words-only embedders know no meaning: their list repeats what BM25 says better. */
const DENSE_SHARE = { semantic: 0.6, lexical: 0.3 } as const;
/** Cosine below which a hit of this embedder is noise; 0 where nobody has measured. */
const FLOORS: readonly (readonly [RegExp, number])[] = [[/^builtin:.*minilm/i, 0.18], [/^lexical:/, 0.05]];

/** Rows are found by what is asked, not by what is secret in it; a trace keeps no secret either. */
export const searchable = (query: string): string => scrub(query.toWellFormed().replaceAll('\u0000', ' ')).slice(0, MAX_QUERY).toWellFormed();

export const fusionOf = ({ embedder, fuser = DEFAULT_FUSER }: Pick<SearchDeps, 'embedder' | 'fuser'>): Pick<FuseOptions, 'fuser' | 'floor' | 'denseShare'> =>
  ({ fuser, floor: FLOORS.find(([pattern]) => pattern.test(embedder.fingerprint))?.[1] ?? 0, denseShare: embedder.semantic ? DENSE_SHARE.semantic : DENSE_SHARE.lexical });

/** Undefined when the embedder fails or takes as long as the index may: words and keys go on without it. */
export async function embedQuery(deps: SearchDeps, query: string): Promise<number[] | undefined> {
  if (query.trim() === '') return undefined;
  let timer: NodeJS.Timeout | undefined;
  try {
    const late = new Promise<undefined>((resolve) => { timer = setTimeout(() => resolve(undefined), RECALL_TIMEOUT_MS); });
    const work = deps.embedder.embed([query], 'query', monoMs() + RECALL_TIMEOUT_MS).then(([vector]) => vector);
    work.catch(() => undefined); // it may fail after it was given up
    const vector = await Promise.race([work, late]);
    if (vector === undefined) degrade(deps, 'embedder_failed');
    return vector;
  } catch (error) {
    degrade(deps, codeOf(error, 'embedder_failed'));
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}

export type Lists = Awaited<ReturnType<VectorIndex['search']>>;

/** Undefined: the index did not answer. */
export async function listsOf(deps: SearchDeps, collection: VectorCollection, { tenant, user, agent, type, vector, text, limit, heard }: Omit<VectorSearch, 'timeoutMs'>): Promise<Lists | undefined> {
  try {
    return await deps.index.search(collection, { tenant, user, agent, type, vector, text, limit, heard, timeoutMs: RECALL_TIMEOUT_MS });
  } catch (error) {
    degrade(deps, codeOf(error, 'index_unavailable'));
    return undefined;
  }
}

/** Vectors compared one by one, best first: what stands in for an index. */
export function nearest(vector: readonly number[], rows: readonly { id: string; vector: readonly number[] }[], limit: number): Hit[] {
  return rows.map(({ id, vector: other }) => ({ id, score: cosine(vector, other) })).sort((a, b) => b.score - a.score).slice(0, limit).map((hit, at) => ({ ...hit, rank: at + 1 }));
}

function degrade(deps: SearchDeps, reason: string): void {
  deps.metrics?.recallDegraded.inc({ reason });
  deps.log.warn({ reason }, 'recall goes on without a part');
}
