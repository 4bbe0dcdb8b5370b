// What a search of documents reads in Postgres, under the app's row-level security: chunks by their words and by the ids an index
// named, each looked at again for tenant, owner and agent before a word of it is used.
import type { DocumentKind } from '../domain/document.ts';
import type { TenantTx } from './app-store.ts';
import { vectorOf } from './vector-bytes.ts';
import { anyWordOf } from './words.ts';

/** For whom. */
export interface ChunkScope {
  /** undefined: what is the tenant's, and no user's. */
  readonly user: string | undefined;
  /** undefined: whatever agent it is for. */
  readonly agent: string | undefined;
  readonly kind?: DocumentKind | undefined;
}

export interface FoundChunk {
  readonly id: string;
  readonly document: string;
  readonly ordinal: number;
  readonly start: number;
  readonly end: number;
  readonly text: string;
  readonly kind: DocumentKind;
  readonly title: string;
  readonly source: string | null;
  readonly version: number;
  readonly user: string | null;
  readonly agent: string | null;
  readonly run: string | null;
  readonly stepSeq: number | null;
  readonly path: string | null;
  readonly tool: string | null;
  readonly createdAt: Date;
}

/** Chunks that may be seen; $1 tenant, $2 user or null, $3 agent or null, $4 kind or null. */
const VISIBLE = `c.tenant_id = $1 AND c.closed_at IS NULL AND (c.user_id IS NULL OR c.user_id = $2) AND ($3::text IS NULL OR c.agent IS NULL OR c.agent = $3)
  AND ($4::text IS NULL OR $4::document_kind = (SELECT kind FROM documents k WHERE k.tenant_id = c.tenant_id AND k.id = c.document_id))`;
const seenBy = (tx: TenantTx, { user, agent, kind }: ChunkScope): unknown[] => [tx.scope.tenant, user ?? null, agent ?? null, kind ?? null];

/** Rows the index does not hold that are looked at, and vectors compared one by one. */
const NOT_INDEXED = 2_000;
const EXACT = 2_000;

/** By their words alone, best first. `generation`: only those that this generation of the index does not hold. */
export async function chunksByWords(tx: TenantTx, scope: ChunkScope, query: string, limit: number, generation?: string): Promise<{ id: string; score: number }[]> {
  if (generation === undefined) {
    return tx.db.$queryRawUnsafe<{ id: string; score: number }[]>(`
      SELECT w.id::text AS id, w.rank::float8 AS score FROM mainstay.chunks_by_words(${anyWordOf('$5')}, $2, $3, $4, $6::int) w JOIN document_chunks c ON c.tenant_id = $1 AND c.id = w.id WHERE ${VISIBLE} ORDER BY score DESC, id`, ...seenBy(tx, scope), query, limit);
  }
  // Each part by the index that was made for it.
  const among = ['IS NULL', '< $7', '> $7'].map((which) => `(SELECT c.id, c.text FROM document_chunks c WHERE ${VISIBLE} AND c.indexed_generation ${which} LIMIT ${NOT_INDEXED})`).join(' UNION ALL ');
  return tx.db.$queryRawUnsafe<{ id: string; score: number }[]>(`
    WITH q AS MATERIALIZED (SELECT ${anyWordOf('$5')} AS words), among AS MATERIALIZED (${among})
    SELECT id::text AS id, ts_rank_cd(to_tsvector('english', text), (SELECT words FROM q), 1)::float8 AS score FROM among
    WHERE to_tsvector('english', text) @@ (SELECT words FROM q) ORDER BY score DESC, id LIMIT $6::int`, ...seenBy(tx, scope), query, limit, generation);
}

/** Vectors of this embedder, of the newest that may be seen. */
export async function chunkVectors(tx: TenantTx, scope: ChunkScope, embedder: string): Promise<{ id: string; vector: number[] }[]> {
  const rows = await tx.db.$queryRawUnsafe<{ id: string; vector: Uint8Array }[]>(`
    WITH seen AS MATERIALIZED (SELECT c.id FROM document_chunks c WHERE ${VISIBLE} ORDER BY c.id DESC LIMIT ${EXACT})
    SELECT id::text AS id, vector FROM seen JOIN chunk_vectors USING (id) WHERE tenant_id = $1 AND embedder = $5`, ...seenBy(tx, scope), embedder);
  return rows.map(({ id, vector }) => ({ id, vector: vectorOf(vector) }));
}

/** Those of `ids` that may be seen, with what they are part of. */
export async function chunksFor(tx: TenantTx, scope: ChunkScope, ids: readonly string[]): Promise<FoundChunk[]> {
  if (ids.length === 0) return [];
  return tx.db.$queryRawUnsafe<FoundChunk[]>(`
    SELECT c.id::text AS id, d.id::text AS document, c.ordinal, c.start_at AS start, c.end_at AS "end", c.text, d.kind::text AS kind, d.title, d.source, d.version, d.user_id AS "user", d.agent,
      d.run_id::text AS run, d.step_seq AS "stepSeq", d.path, d.tool, d.created_at AS "createdAt"
    FROM document_chunks c JOIN documents d ON d.tenant_id = c.tenant_id AND d.id = c.document_id WHERE ${VISIBLE} AND c.id = ANY ($5::uuid[])`, ...seenBy(tx, scope), [...ids]);
}
