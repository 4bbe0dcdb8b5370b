// What a search of summaries reads in Postgres, under the app's row-level security: what earlier runs came to, by their words and by the runs
// an index named, each looked at again for tenant and owner before a word of it is used.
import type { TenantTx } from './app-store.ts';
import { vectorOf } from './vector-bytes.ts';
import { anyWordOf } from './words.ts';

/** Whose runs: a user's, of whatever agent, or those an agent made for nobody. */
export type SummaryScope = { readonly user: string } | { readonly user?: undefined; readonly agent: string };

export interface FoundSummary {
  /** The run's uuid. */
  readonly id: string;
  readonly agent: string;
  readonly user: string | null;
  readonly session: string | null;
  readonly text: string;
  readonly createdAt: Date;
}

/** Summaries that may be seen; $1 tenant, $2 user or agent. */
const visible = (scope: SummaryScope): string => `s.tenant_id = $1 AND s.erased_at IS NULL AND ${scope.user === undefined ? 's.user_id IS NULL AND s.agent = $2' : 's.user_id = $2'}`;
const seenBy = (tx: TenantTx, scope: SummaryScope): unknown[] => [tx.scope.tenant, scope.user ?? scope.agent];

/** The newest, of which the words are looked at and the vectors compared one by one. */
const NEWEST = 2_000;

/** By their words alone, best first. `generation`: only those that this generation of the index does not hold. */
export async function summariesByWords(tx: TenantTx, scope: SummaryScope, query: string, limit: number, generation?: string): Promise<{ id: string; score: number }[]> {
  return tx.db.$queryRawUnsafe<{ id: string; score: number }[]>(`
    WITH q AS MATERIALIZED (SELECT ${anyWordOf('$3')} AS words),
    newest AS MATERIALIZED (SELECT s.run_id, s.text, s.indexed_generation FROM run_summaries s WHERE ${visible(scope)} ORDER BY s.run_id DESC LIMIT ${NEWEST})
    SELECT run_id::text AS id, ts_rank_cd(to_tsvector('english', text), (SELECT words FROM q), 1)::float8 AS score FROM newest
    WHERE ($5::text IS NULL OR indexed_generation IS DISTINCT FROM $5) AND to_tsvector('english', text) @@ (SELECT words FROM q) ORDER BY score DESC, run_id DESC LIMIT $4::int`,
  ...seenBy(tx, scope), query, limit, generation ?? null);
}

/** Vectors of this embedder, of the newest that may be seen. */
export async function summaryVectors(tx: TenantTx, scope: SummaryScope, embedder: string): Promise<{ id: string; vector: number[] }[]> {
  const rows = await tx.db.$queryRawUnsafe<{ id: string; vector: Uint8Array }[]>(`
    WITH newest AS MATERIALIZED (SELECT s.run_id FROM run_summaries s WHERE ${visible(scope)} ORDER BY s.run_id DESC LIMIT ${NEWEST})
    SELECT v.id::text AS id, v.vector FROM newest JOIN summary_vectors v ON v.tenant_id = $1 AND v.id = newest.run_id WHERE v.embedder = $3`, ...seenBy(tx, scope), embedder);
  return rows.map(({ id, vector }) => ({ id, vector: vectorOf(vector) }));
}

/** Those of these runs whose summary may be seen. */
export async function summariesFor(tx: TenantTx, scope: SummaryScope, runs: readonly string[]): Promise<FoundSummary[]> {
  if (runs.length === 0) return [];
  return tx.db.$queryRawUnsafe<FoundSummary[]>(`
    SELECT s.run_id::text AS id, s.agent, s.user_id AS "user", s.session_id AS session, s.text, s.created_at AS "createdAt" FROM run_summaries s WHERE ${visible(scope)} AND s.run_id = ANY ($3::uuid[])`, ...seenBy(tx, scope), [...runs]);
}
