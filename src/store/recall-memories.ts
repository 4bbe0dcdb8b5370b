// What recall reads and writes in Postgres, under the app's row-level security: memories by key, by words and by the ids an
// index named, each looked at again for tenant, scope and validity before a word of it is used; the trace; who read what.
// Every statement names tenant, user and agent itself: the policies are the second wall, not the first.
import type { MemoryScope, MemoryType } from '../domain/status.ts';
import type { TenantTx } from './app-store.ts';

export interface RecalledRow {
  readonly id: string;
  readonly scope: MemoryScope;
  readonly type: MemoryType;
  readonly subject: string;
  readonly statement: string;
  readonly confidence: number;
  readonly seenCount: number;
  readonly citedCount: number;
  readonly validFromMs: number;
  /** Since it was last said or cited, by the database's clock. */
  readonly idleMs: number;
  /** Its subject is named by the query, or it is a standing wish of the user. */
  readonly slot: boolean;
  /** Rank of its words by Postgres' full text; 0 where it was not asked. */
  readonly words: number;
}

export interface RecallQuery {
  readonly user: string | undefined;
  readonly agent: string;
  readonly query: string;
  /** Folded, with a space at both ends: subjects are found in it as whole words. */
  readonly folded: string;
  /** Ids the index found. */
  readonly ids: readonly string[];
  /** True: the index did not answer and full text stands in for it. */
  readonly fullText: boolean;
  /** Generation of the index: rows it does not hold yet are found by their words. */
  readonly generation: string;
}

/** Rows by key, by words and not yet indexed: more are never ranked. */
const BY_KEY = 80;
const BY_WORDS = 60;

/** Live rows that this user and agent may see; $1 tenant, $2 user or null, $3 agent. */
export const VISIBLE = `tenant_id = $1 AND valid_to IS NULL AND (scope = 'workspace' OR scope = 'user' AND user_id = $2 OR scope = 'agent' AND agent = $3)`;

// Any word of the query may match: the lexemes of a plain query, joined by `or`.
const ANY_WORD = `nullif(replace(plainto_tsquery('english', $5)::text, '&', '|'), '')::tsquery`;

export async function memoriesFor(tx: TenantTx, ask: RecallQuery): Promise<RecalledRow[]> {
  return tx.db.$queryRawUnsafe<RecalledRow[]>(`
    WITH q AS (SELECT ${ANY_WORD} AS words),
    by_key AS (
      SELECT id FROM memories WHERE ${VISIBLE} AND (position(' ' || subject || ' ' IN $4) > 0
        OR subject IN ('user', 'agent', 'team') AND type IN ('constraint', 'decision', 'preference'))
      ORDER BY (type IN ('constraint', 'decision', 'preference')) DESC, last_seen_at DESC, id LIMIT ${BY_KEY}
    ), by_words AS (
      SELECT id, ts_rank(to_tsvector('english', statement), q.words) AS rank FROM memories, q
      WHERE ${VISIBLE} AND ($7::boolean OR indexed_generation IS DISTINCT FROM $8) AND to_tsvector('english', statement) @@ q.words ORDER BY rank DESC, id LIMIT ${BY_WORDS}
    ), found AS (SELECT id FROM by_key UNION SELECT id FROM by_words UNION SELECT unnest($6::uuid[]))
    SELECT id::text AS id, scope::text AS scope, type::text AS type, subject, statement, confidence, seen_count AS "seenCount", cited_count AS "citedCount",
      (extract(epoch FROM valid_from) * 1000)::float8 AS "validFromMs", greatest(0, extract(epoch FROM now() - last_seen_at) * 1000)::float8 AS "idleMs",
      id IN (SELECT id FROM by_key) AS slot, coalesce((SELECT rank FROM by_words w WHERE w.id = memories.id), 0)::float8 AS words
    FROM memories WHERE ${VISIBLE} AND id IN (SELECT id FROM found) ORDER BY id`,
  tx.scope.tenant, ask.user ?? null, ask.agent, ask.folded, ask.query, [...ask.ids], ask.fullText, ask.generation);
}

export interface TraceRow {
  readonly id: string;
  readonly run: string;
  readonly user: string | undefined;
  readonly stepSeq: number;
  readonly query: string;
  readonly embedder: string;
  readonly semantic: boolean;
  readonly degraded: boolean;
  /** JSON text */
  readonly candidates: string;
  readonly injected: readonly string[];
  readonly tokens: number;
  readonly durationMs: number;
}

/** The trace, and one audit row for each memory that was shown: who read which, through which run. */
export async function writeTrace(tx: TenantTx, trace: TraceRow): Promise<void> {
  await tx.db.$executeRawUnsafe(`
    WITH t AS (
      INSERT INTO retrieval_traces (tenant_id, id, run_id, user_id, step_seq, query, embedder, semantic, degraded, candidates, injected, tokens, duration_ms)
      VALUES ($1, $2::uuid, $3::uuid, $4, $5::int, $6, $7, $8::boolean, $9::boolean, $10::json, $11::uuid[], $12::int, $13::int)
    ) INSERT INTO audit_events (tenant_id, actor, user_id, action, object_type, object_id, allowed, details)
      SELECT $1, 'run:' || $3, $4, 'memory.recalled', 'memory', id::text, true, json_build_object('trace', $2) FROM unnest($11::uuid[]) AS m(id)`,
  tx.scope.tenant, trace.id, trace.run, trace.user ?? null, trace.stepSeq, trace.query, trace.embedder, trace.semantic, trace.degraded, trace.candidates,
  [...trace.injected], trace.tokens, Math.round(trace.durationMs));
}

export interface Cited { readonly cited: string[]; readonly fabricated: string[] }

/**
 * Notes which of the injected memories an answer named; ids that were never injected are invented and only counted. A
 * memory cited again by the same trace counts once. Undefined = no such trace of this run.
 */
export async function citeMemories(tx: TenantTx, run: string, trace: string, ids: readonly string[]): Promise<Cited | undefined> {
  const rows = await tx.db.$queryRawUnsafe<{ injected: string[] }[]>(`
    WITH t AS (SELECT tenant_id, id, injected, cited FROM retrieval_traces WHERE tenant_id = $1 AND id = $2::uuid AND run_id = $3::uuid FOR UPDATE),
    fresh AS (SELECT DISTINCT i.id FROM t, unnest(t.injected) AS i(id) WHERE i.id = ANY ($4::uuid[]) AND NOT i.id = ANY (t.cited)),
    u AS (UPDATE retrieval_traces r SET cited = r.cited || (SELECT coalesce(array_agg(id ORDER BY id), '{}') FROM fresh) FROM t WHERE r.tenant_id = t.tenant_id AND r.id = t.id),
    m AS (UPDATE memories k SET cited_count = k.cited_count + 1, last_seen_at = now() FROM fresh WHERE k.tenant_id = $1 AND k.id = fresh.id)
    SELECT injected::text[] AS injected FROM t`, tx.scope.tenant, trace, run, [...ids]);
  const [found] = rows;
  if (!found) return undefined;
  const injected = new Set(found.injected);
  return { cited: ids.filter((id) => injected.has(id)), fabricated: ids.filter((id) => !injected.has(id)) };
}
