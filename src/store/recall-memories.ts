// What recall reads and writes in Postgres, under the app's row-level security: memories by key, by words and by the ids an
// index named, each looked at again for tenant, scope and validity before a word of it is used; the trace; who read what.
// Every statement names tenant, user and agent itself: the policies are the second wall, not the first.
import type { MemoryScope, MemoryType } from '../domain/status.ts';
import type { SqlTx } from './app-store.ts';
import { vectorOf } from './vector-bytes.ts';
import { anyWordOf, wordsOf } from './words.ts';

export interface RecalledRow {
  readonly id: string;
  readonly scope: MemoryScope;
  readonly type: MemoryType;
  readonly subject: string;
  readonly statement: string;
  readonly confidence: number;
  readonly seenCount: number;
  readonly citedCount: number;
  /** Shown again and again, and used by no answer. */
  readonly unused: boolean;
  readonly validFromMs: number;
  /** Since it was last said or cited, by the database's clock. */
  readonly idleMs: number;
  /** As the tenant has set it for memories of this type; null: as it is for everybody. */
  readonly halfLifeDays: number | null;
  /** Its subject is named by the query, or it is a standing wish of the user. */
  readonly slot: boolean;
  /** The one that took its place: set where what held at an earlier time is asked. */
  readonly supersededBy: string | null;
  /** Rank of its words by Postgres' full text; 0 where it was not asked. */
  readonly words: number;
}

/** What is found without the index: `slot` and `words` as in a row of recall. An id may come once by its key and once by its words. */
export type NamedRow = Pick<RecalledRow, 'id' | 'slot' | 'words'>;

/** Whose memories, and as of when. */
export interface RecallScope {
  readonly user: string | undefined;
  readonly agent: string;
  /** What held then, in milliseconds since 1970; unset: what holds now. */
  readonly asOfMs?: number | undefined;
}

export interface NamingQuery extends RecallScope {
  readonly query: string;
  /** Subjects the query may name: its runs of words. */
  readonly subjects: readonly string[];
  /** True: there is no answer of the index and full text stands in for it. */
  readonly fullText: boolean;
  /** Generation of the index: rows it does not hold yet are found by their words. */
  readonly generation: string;
}

/** Rows by key, by words and not yet indexed: more are never ranked. */
const BY_KEY = 80;
const BY_WORDS = 60;

const OF_SCOPE = `tenant_id = $1 AND (scope = 'workspace' OR scope = 'user' AND user_id = $2 OR scope = 'agent' AND agent = $3)`;
/** Live rows that this user and agent may see; $1 tenant, $2 user or null, $3 agent. */
export const VISIBLE = `${OF_SCOPE} AND valid_to IS NULL`;
/** The same as of a time; $4 milliseconds. */
const VISIBLE_THEN = `${OF_SCOPE} AND erased_at IS NULL AND valid_from <= to_timestamp($4::float8 / 1000) AND (valid_to IS NULL OR valid_to > to_timestamp($4::float8 / 1000))`;

/** The condition, and its parameters: $1 to $4. */
const seenBy = (tx: SqlTx, { user, agent, asOfMs }: RecallScope): [string, unknown[]] =>
  [asOfMs === undefined ? `${VISIBLE} AND $4::float8 IS NULL` : VISIBLE_THEN, [tx.scope.tenant, user ?? null, agent, asOfMs ?? null]];

/** Rows the index does not hold, looked at for their words: a burst of remembering is shorter. */
const NOT_INDEXED = 2_000;
const STANDING = `'user', 'agent', 'team'`;
const WISHES = `type IN ('constraint', 'decision', 'preference')`;
const byKey = (visible: string, of: string): string => `(SELECT id, type, last_seen_at FROM memories WHERE ${visible} AND ${of} AND subject = ANY ($5::text[] || ARRAY[${STANDING}]) AND (subject = ANY ($5::text[]) OR ${WISHES})
        ORDER BY (${WISHES}) DESC, last_seen_at DESC, id LIMIT ${BY_KEY})`;
const notIndexed = (visible: string, which: string): string =>
  `(SELECT id, statement FROM memories WHERE ${visible} AND indexed_generation ${which} ORDER BY tenant_id, indexed_generation LIMIT ${NOT_INDEXED})`;

const ROW = `id::text AS id, scope::text AS scope, type::text AS type, subject, statement, confidence, seen_count AS "seenCount", cited_count AS "citedCount", unused AND cited_count = 0 AS unused,
      (extract(epoch FROM valid_from) * 1000)::float8 AS "validFromMs", greatest(0, extract(epoch FROM now() - last_seen_at) * 1000)::float8 AS "idleMs",
      ((SELECT settings #> '{retention,halfLifeDays}' FROM memory_policies WHERE tenant_id = $1 ORDER BY version DESC LIMIT 1) ->> type::text)::float8 AS "halfLifeDays", superseded_by::text AS "supersededBy"`;

/** The key's own order: a plan kept from when the table was small would else look them up by another index. */
const BY_ID = 'ORDER BY memories.tenant_id, memories.id';

/** By key, and by words where the index does not hold them: what can be asked before the index has answered. */
export async function namedMemories(tx: SqlTx, ask: NamingQuery): Promise<NamedRow[]> {
  const [visible, scope] = seenBy(tx, ask);
  // Each part by the index that was made for it; one condition for all would read every memory of the tenant.
  const allWords = ask.asOfMs === undefined ? `mainstay.memories_by_words((SELECT words FROM q), $2, $3, ${BY_WORDS})` : `mainstay.memories_by_words_then((SELECT words FROM q), $2, $3, to_timestamp($4::float8 / 1000), ${BY_WORDS})`;
  const byWords = ask.fullText ? `SELECT id, rank FROM ${allWords} WHERE $7::text IS NOT NULL`
    : `SELECT id, ts_rank(to_tsvector('english', statement), (SELECT words FROM q)) AS rank FROM (${['IS NULL', '< $7', '> $7'].map((which) => notIndexed(visible, which)).join(' UNION ALL ')}) w WHERE to_tsvector('english', statement) @@ (SELECT words FROM q) ORDER BY rank DESC, id LIMIT ${BY_WORDS}`;
  return tx.db.$queryRawUnsafe<NamedRow[]>(`
    WITH q AS MATERIALIZED (SELECT ${anyWordOf('$6')} AS words),
    by_key AS MATERIALIZED (
      SELECT id FROM (${[`scope = 'workspace' AND user_id IS NULL`, `scope = 'user' AND user_id = $2`, `scope = 'agent' AND user_id IS NULL`].map((of) => byKey(visible, of)).join(' UNION ALL ')}) k
      ORDER BY (${WISHES}) DESC, last_seen_at DESC, id LIMIT ${BY_KEY}
    ), by_words AS MATERIALIZED (
      ${byWords}
    )
    SELECT id::text AS id, true AS slot, 0::float8 AS words FROM by_key UNION ALL SELECT id::text, false, rank::float8 FROM by_words`,
  ...scope, ask.subjects, ask.query, ask.generation);
}

/** Those of these memories that are seen, whatever was found before. */
export async function memoriesOf(tx: SqlTx, scope: RecallScope, ids: readonly string[]): Promise<Omit<RecalledRow, 'slot' | 'words'>[]> {
  const [visible, values] = seenBy(tx, scope);
  return tx.db.$queryRawUnsafe<Omit<RecalledRow, 'slot' | 'words'>[]>(`SELECT ${ROW} FROM memories WHERE ${visible} AND id = ANY ($5::uuid[]) ${BY_ID}`, ...values, [...ids]);
}

/** Another text as soon as a change of any memory of this scope is committed; never one that was before. */
export async function memoryEpoch(tx: SqlTx, { user, agent }: RecallScope): Promise<string> {
  const owners = ['workspace', `agent:${agent}`, ...(user === undefined ? [] : [`user:${user}`])];
  const [row] = await tx.db.$queryRawUnsafe<{ epoch: string }[]>(`SELECT coalesce(string_agg(id || ':' || changes, ',' ORDER BY id), '') AS epoch FROM memory_epochs WHERE tenant_id = $1 AND owner = ANY ($2::text[])`, tx.scope.tenant, owners);
  return row?.epoch ?? '';
}

/** The words of a query as the index knows them. */
export async function queryWords(tx: SqlTx, query: string): Promise<string> {
  const [row] = await tx.db.$queryRawUnsafe<{ words: string }[]>(`SELECT ${wordsOf('$1::text')} AS words`, query);
  return row?.words ?? '';
}

export interface PlaceRow { readonly id: string; readonly run: string; readonly before: string | null; readonly after: string | null }

/** These ids, each with its neighbours in the run it comes from, in the order they were written. */
export async function placesOf(tx: SqlTx, scope: RecallScope, ids: readonly string[]): Promise<PlaceRow[]> {
  if (ids.length === 0) return [];
  const [visible, values] = seenBy(tx, scope);
  // The order names the whole index: without its first columns the planner sorts.
  const beside = (side: '<' | '>', order: 'ASC' | 'DESC'): string =>
    `(SELECT id FROM memories WHERE run_id = hit.run_id AND id ${side} hit.id AND ${visible} ORDER BY tenant_id ${order}, run_id ${order}, id ${order} LIMIT 1)::text`;
  return tx.db.$queryRawUnsafe<PlaceRow[]>(`
    WITH hit AS MATERIALIZED (SELECT id, run_id FROM memories WHERE ${visible} AND id = ANY ($5::uuid[]) ${BY_ID})
    SELECT id::text AS id, run_id::text AS run, ${beside('<', 'DESC')} AS before, ${beside('>', 'ASC')} AS after FROM hit`, ...values, [...ids]);
}

/** Vectors compared one by one where there is no index: the newest of what may be seen. */
const EXACT = 2_000;

/** Vectors of this embedder. A closed memory's is of the version before its end: the same statement. */
export async function vectorsFor(tx: SqlTx, scope: RecallScope, embedder: string): Promise<{ id: string; vector: number[] }[]> {
  const [visible, values] = seenBy(tx, scope);
  const rows = await tx.db.$queryRawUnsafe<{ id: string; vector: Uint8Array }[]>(`
    WITH seen AS MATERIALIZED (SELECT id FROM memories WHERE ${visible} ORDER BY created_at DESC, id LIMIT ${EXACT})
    SELECT id::text AS id, vector FROM seen JOIN memory_vectors USING (id) WHERE tenant_id = $1 AND embedder = $5`, ...values, embedder);
  return rows.map(({ id, vector }) => ({ id, vector: vectorOf(vector) }));
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
  /** Its run was left without memory. */
  readonly heldOut: boolean;
  /** The one memory that was left out on purpose. */
  readonly leftOut?: string | undefined;
  /** Runs whose summaries were shown. */
  readonly summaries: readonly string[];
  /** JSON text: for whom, as of when. */
  readonly filters: string;
  /** As of which memories; undefined: it was not asked for. */
  readonly epoch: string | undefined;
  /** JSON text: the rules. The version of the tenant's settings is added where it is written. */
  readonly decidedBy: string;
  readonly durationMs: number;
}

/** The trace, and one audit row for each memory and summary that was shown: who read which, through which run. */
export async function writeTrace(tx: SqlTx, trace: TraceRow): Promise<void> {
  await tx.db.$executeRawUnsafe(`
    WITH t AS (
      INSERT INTO retrieval_traces (tenant_id, id, run_id, user_id, step_seq, query, embedder, semantic, degraded, candidates, injected, tokens, duration_ms, held_out, left_out, summaries, filters, epoch, decided_by, policy_version)
      VALUES ($1, $2::uuid, $3::uuid, $4, $5::int, $6, $7, $8::boolean, $9::boolean, $10::json, $11::uuid[], $12::int, $13::int, $14::boolean, $15::uuid, $16::uuid[], $17::json, $18, $19::json,
        (SELECT version FROM memory_policies WHERE tenant_id = $1 ORDER BY version DESC LIMIT 1))
    ) INSERT INTO audit_events (tenant_id, actor, user_id, action, object_type, object_id, allowed, details)
      SELECT $1, 'run:' || $3, $4, m.what || '.recalled', m.what, m.id::text, true, json_build_object('trace', $2) FROM (SELECT 'memory' AS what, unnest($11::uuid[]) AS id UNION ALL SELECT 'summary', unnest($16::uuid[])) AS m`,
  tx.scope.tenant, trace.id, trace.run, trace.user ?? null, trace.stepSeq, trace.query, trace.embedder, trace.semantic, trace.degraded, trace.candidates,
  [...trace.injected], trace.tokens, Math.round(trace.durationMs), trace.heldOut, trace.leftOut ?? null, [...trace.summaries], trace.filters, trace.epoch ?? null, trace.decidedBy);
}

export interface Cited { readonly cited: string[]; readonly fabricated: string[] }

/**
 * Notes which of the memories injected by any recall of this run an answer named; ids that were never injected are invented and only
 * counted. A memory cited again by the same run counts once. Undefined = no such trace of this run.
 */
export async function citeMemories(tx: SqlTx, run: string, trace: string, ids: readonly string[]): Promise<Cited | undefined> {
  const rows = await tx.db.$queryRawUnsafe<{ id: string; injected: string[] }[]>(`
    WITH t AS MATERIALIZED (SELECT tenant_id, id, injected, cited FROM retrieval_traces WHERE tenant_id = $1 AND run_id = $2::uuid ORDER BY id FOR UPDATE),
    fresh AS (SELECT DISTINCT i.id FROM t, unnest(t.injected) AS i(id) WHERE i.id = ANY ($3::uuid[]) AND NOT EXISTS (SELECT FROM t o WHERE i.id = ANY (o.cited))),
    u AS (UPDATE retrieval_traces r SET cited = r.cited || ARRAY(SELECT id FROM fresh WHERE id = ANY (r.injected) ORDER BY id) FROM t WHERE r.tenant_id = t.tenant_id AND r.id = t.id),
    m AS (UPDATE memories k SET cited_count = k.cited_count + 1, last_seen_at = now() FROM fresh WHERE k.tenant_id = $1 AND k.id = fresh.id)
    SELECT id::text AS id, injected::text[] AS injected FROM t`, tx.scope.tenant, run, [...ids]);
  if (!rows.some(({ id }) => id === trace)) return undefined;
  const injected = new Set(rows.flatMap((row) => row.injected));
  return { cited: ids.filter((id) => injected.has(id)), fabricated: ids.filter((id) => !injected.has(id)) };
}
