// The vector index as the memory module sees it: ids by meaning and by words, never text. It is an index of rows that
// live in Postgres: whatever it answers is read again there, under tenant and user, before anybody sees it. Fusing the two
// lists of a search is the caller's work.
import type { MemoryScope } from './status.ts';

/** `run_artifacts` holds chunks of documents and of tool outputs. */
export const VECTOR_COLLECTIONS = ['memories', 'conversation_summaries', 'run_artifacts'] as const;
export type VectorCollection = (typeof VECTOR_COLLECTIONS)[number];

/** Bytes of UTF-8 the index keeps of a row's text; longer texts are cut by `clipBytes` before they are sent. */
export const VECTOR_TEXT_BYTES = 8_192;

export interface VectorRow {
  /** The row's uuid in Postgres, lower case. */
  readonly id: string;
  readonly tenant: string;
  /** null: the row belongs to no single user. */
  readonly user: string | null;
  readonly agent: string | null;
  readonly scope: MemoryScope;
  /** Memory type; `summary` for summaries. */
  readonly type: string;
  /** The row's version in Postgres, so that a stale vector can be told. */
  readonly version: number;
  /** Words for BM25: statement, subject, date. */
  readonly text: string;
  readonly vector: readonly number[];
}

export interface VectorSearch {
  readonly tenant: string;
  /** Absent: no row of scope `user` is found; of artifacts, none that belongs to a user. */
  readonly user?: string | undefined;
  /** Absent: no row of scope `agent` is found; of artifacts, those for every agent are. */
  readonly agent?: string | undefined;
  /** Only rows of this type. */
  readonly type?: string | undefined;
  /** Absent: no dense search (the embedder is down). */
  readonly vector?: readonly number[] | undefined;
  /** Blank or absent: no search by words. */
  readonly text?: string | undefined;
  /** Hits per list, 1 to 1,000. */
  readonly limit: number;
  readonly timeoutMs: number;
  /** Told of each list as it comes, before the other: what is done with one alone need not wait. Must not throw. */
  readonly heard?: ((hits: readonly Hit[]) => void) | undefined;
}

/** Several vectors searched for at once, each among the rows of its own scope and type. */
export interface NearSearch extends Searcher {
  readonly queries: readonly { readonly vector: readonly number[]; readonly scope: MemoryScope; readonly type: string }[];
  /** Hits per vector, 1 to 1,000. */
  readonly limit: number;
  readonly timeoutMs: number;
}

/** `rank` counts from 1. Dense scores are cosines; sparse ones are BM25, higher is better, comparable within one list only. */
export interface Hit { readonly id: string; readonly score: number; readonly rank: number }

export interface VectorVersion { readonly id: string; readonly version: number }

/** Every method throws MainstayError: `index_unavailable` (try again later) or `index_rejected` (the call is wrong). */
export interface VectorIndex {
  /** Names the collections that hold vectors of this embedder; another embedder is another generation. */
  readonly generation: string;
  /** True when the server answers and the collections are there. Never throws. */
  ready(): Promise<boolean>;
  /** Writes all rows or throws; on a throw any part may have been written, so send the batch again. */
  upsert(collection: VectorCollection, rows: readonly VectorRow[]): Promise<void>;
  /** Deletes rows of this tenant, in this generation. Ids that are not there are no error. */
  delete(collection: VectorCollection, tenant: string, ids: readonly string[]): Promise<void>;
  /** Deletes rows of this tenant in every generation and looks that they are gone from each: what an erasure needs. */
  deleteEverywhere(collection: VectorCollection, tenant: string, ids: readonly string[]): Promise<void>;
  search(collection: VectorCollection, request: VectorSearch): Promise<{ dense: Hit[]; sparse: Hit[] }>;
  /** One request for all vectors; hits by meaning, in their order. A row is missed only where `limit` nearer ones of each scope and type asked for come before it. */
  nearest(collection: VectorCollection, request: NearSearch): Promise<Hit[][]>;
  /** Versions of those ids that are there: confirms an upsert or a delete. */
  versions(collection: VectorCollection, tenant: string, ids: readonly string[]): Promise<Map<string, number>>;
  /** Every row of the tenant, by id: what an audit compares with Postgres. */
  ids(collection: VectorCollection, tenant: string): Promise<VectorVersion[]>;
  count(collection: VectorCollection, tenant: string): Promise<number>;
  /** After a bulk of upserts (a reindex): searches are slow until written rows are flushed. */
  flush(): Promise<void>;
  /** Begins fresh collections of this generation, empty and unseen by every other call until `cutOver`. */
  rebuild(): Promise<Rebuild>;
  /** Drops the collections of all other generations; answers their names. After a reindex, when no worker uses them. */
  dropOtherGenerations(): Promise<string[]>;
  close(): Promise<void>;
}

/** Collections being filled while reads and writes go on in those they will replace. */
export interface Rebuild {
  /** Writes all rows, each new here, or throws: then give it up. */
  insert(collection: VectorCollection, rows: readonly VectorRow[]): Promise<void>;
  flush(): Promise<void>;
  /** From the next call on, everybody's calls go to the fresh collections; then the old ones are dropped. Safe to call again after a throw. */
  cutOver(): Promise<void>;
  /** Drops what was begun. */
  abandon(): Promise<void>;
}

/** A look at what is there that makes nothing. Its methods throw as those of the index do. */
export interface IndexLook {
  /** Of the server. */
  readonly version: string;
  /** How many generations of each collection there are. */
  readonly generations: Readonly<Record<VectorCollection, number>>;
  /** The newest generation of a collection, which `page` and `rows` read; undefined: there is none. */
  generation(collection: VectorCollection): Promise<string | undefined>;
  /** Rows of all tenants in order of their ids, after this one ('' = the first). */
  page(collection: VectorCollection, after: string, limit: number): Promise<(VectorVersion & { readonly tenant: string })[]>;
  /** Those of these ids that are there, of whatever tenant. */
  rows(collection: VectorCollection, ids: readonly string[]): Promise<(VectorVersion & { readonly tenant: string })[]>;
  close(): Promise<void>;
}

/** The longest beginning of `text` within `maxBytes` of UTF-8 that ends between characters; half a surrogate pair becomes U+FFFD. */
export function clipBytes(text: string, maxBytes = VECTOR_TEXT_BYTES): string {
  const whole = text.toWellFormed();
  const bytes = new TextEncoder().encode(whole);
  if (bytes.length <= maxBytes) return whole;
  let end = maxBytes;
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--; // never inside a character
  return new TextDecoder().decode(bytes.subarray(0, end));
}

export type Searcher = Pick<VectorSearch, 'tenant' | 'user' | 'agent'>;
interface Seen { readonly tenant: string; readonly scope: string; readonly user: string; readonly agent: string }

/** May the searcher see this row? The filter of every search, repeated in code on what came back. A memory is seen by its scope; an
 *  artifact where its user and its agent, as far as it has them, both agree. */
export function isVisible(collection: VectorCollection, row: Seen, search: Searcher): boolean {
  if (row.tenant !== search.tenant) return false;
  const [ofUser, ofAgent] = [search.user !== undefined && row.user === search.user, search.agent !== undefined && row.agent === search.agent];
  if (collection === 'run_artifacts') return (row.user === '' || ofUser) && (search.agent === undefined || row.agent === '' || ofAgent);
  return row.scope === 'workspace' || (row.scope === 'user' && ofUser) || (row.scope === 'agent' && ofAgent);
}
