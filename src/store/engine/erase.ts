// Erasure in Postgres. A run's row stays, as a fact of accounting: that an agent ran, when, and what it cost. Everything that was
// said in it, read by it or found by it goes, and with it whose it was. Runs are emptied in pages, each one transaction that
// also counts what it did; memories and summaries are emptied first and deleted once their vectors are gone, so that a crash
// at any point leaves something that says what is still to be done.
import { EMPTY_MEMORY } from './empty-memory.ts';
import { inTransaction, type EnginePool } from './pool.ts';
import { reword } from './reword.ts';
import { withdraw } from './roll-up.ts';

export const ERASURE_KINDS = ['memory', 'run', 'user', 'tenant'] as const;
export type ErasureKind = (typeof ERASURE_KINDS)[number];

export interface Erasure {
  readonly tenant: string;
  readonly id: string;
  readonly kind: ErasureKind;
  /** uuid of a memory or run, name of a user or tenant */
  readonly subject: string;
  readonly requestedMs: number;
  /** Rows emptied or deleted so far, by store. */
  readonly counts: Readonly<Record<string, number>>;
  /** References to the object store that are still to be looked at. */
  readonly blobs: readonly string[];
  /** Memories that say something else now, whose words the index may still have. */
  readonly reworded: readonly string[];
}

/** False: there is nothing of this name, so there is nothing to erase. */
export async function requestErasure(pool: EnginePool, { tenant, id, kind, subject }: Pick<Erasure, 'tenant' | 'id' | 'kind' | 'subject'>, actor: string): Promise<boolean> {
  const there = { memory: 'SELECT FROM memories WHERE tenant_id = $1 AND id = $4::uuid UNION ALL SELECT FROM memory_lineage WHERE tenant_id = $1 AND source_id = $4::uuid', run: 'SELECT FROM agent_runs WHERE tenant_id = $1 AND id = $4::uuid AND visible', user: 'SELECT', tenant: 'SELECT WHERE $4 = $1' }[kind];
  const { rowCount } = await pool.query(`
    WITH e AS (INSERT INTO erasures (tenant_id, id, kind, subject, requested_by) SELECT $1, $2::uuid, $3::erasure_kind, $4::text, $5 WHERE EXISTS (${there}) RETURNING id)
    INSERT INTO audit_events (tenant_id, actor, action, object_type, object_id, allowed, details) SELECT $1, $5, 'erasure.requested', 'erasure', e.id::text, true, json_build_object('kind', $3::text) FROM e`,
    [tenant, id, kind, subject, actor]);
  return rowCount === 1;
}

const ERASURE = `SELECT tenant_id AS tenant, id, kind::text AS kind, subject, counts, blobs, reworded, (extract(epoch FROM requested_at) * 1000)::float8 AS "requestedMs" FROM erasures`;

/** Unfinished ones, oldest first. */
export async function openErasures(pool: EnginePool, limit: number): Promise<Erasure[]> {
  return (await pool.query<Erasure>(`${ERASURE} WHERE finished_at IS NULL ORDER BY requested_at, id LIMIT $1`, [limit])).rows;
}

/** The same one as it stands now. */
export async function reread(pool: EnginePool, { tenant, id }: Erasure): Promise<Erasure> {
  const { rows } = await pool.query<Erasure>(`${ERASURE} WHERE tenant_id = $1 AND id = $2`, [tenant, id]);
  if (!rows[0]) throw new Error('an erasure is never deleted');
  return rows[0];
}

// The runs of a subject: of a run with all that came of it (children, what remembers it, forks); of a user; of a tenant.
export const RUNS: Readonly<Record<ErasureKind, string>> = {
  memory: `SELECT id FROM agent_runs WHERE false AND tenant_id = $1 AND $2::text IS NOT NULL`,
  run: `WITH RECURSIVE tree AS (SELECT $2::uuid AS id UNION SELECT r.id FROM tree t JOIN agent_runs r ON r.tenant_id = $1 AND (r.parent_id = t.id OR r.forked_from = t.id)) SELECT id FROM tree`,
  user: `SELECT id FROM agent_runs WHERE tenant_id = $1 AND user_id = $2`,
  tenant: `SELECT id FROM agent_runs WHERE tenant_id = $1 AND $2::text IS NOT NULL`,
};

/** Asks every unfinished run of the subject to end and takes from all of them what would be remembered; answers how many have not
 *  ended yet, and the ids of those a worker must be told of. */
export async function endRuns(pool: EnginePool, { tenant, kind, subject }: Erasure): Promise<{ readonly open: number; readonly running: readonly string[] }> {
  const { rows } = await pool.query<{ id: string; running: boolean }>(`
    WITH of AS MATERIALIZED (${RUNS[kind]}), held AS (SELECT r.id FROM agent_runs r JOIN of USING (id) WHERE r.tenant_id = $1 AND r.erased_at IS NULL AND (r.finished_at IS NULL OR r.memory_state = 'due') ORDER BY r.id FOR UPDATE OF r),
    u AS (
      UPDATE agent_runs r SET memory_state = 'none', cancel_requested_at = CASE WHEN r.finished_at IS NULL THEN coalesce(r.cancel_requested_at, now()) ELSE r.cancel_requested_at END, inbox_seq = r.inbox_seq + 1,
        status = CASE WHEN r.finished_at IS NULL AND r.status <> 'running' THEN 'cancelled' ELSE r.status END, wait_reason = CASE WHEN r.finished_at IS NULL THEN NULL ELSE r.wait_reason END,
        error_code = CASE WHEN r.finished_at IS NULL AND r.status <> 'running' THEN 'cancelled' ELSE r.error_code END, holds_session = r.holds_session AND r.status = 'running',
        event_seq = r.event_seq + (r.finished_at IS NULL AND r.status <> 'running')::int, finished_at = CASE WHEN r.status = 'running' THEN NULL ELSE coalesce(r.finished_at, now()) END
      FROM held h WHERE r.tenant_id = $1 AND r.id = h.id RETURNING r.id, r.status, r.finished_at, r.event_seq
    ), e AS (INSERT INTO run_events (tenant_id, run_id, seq, type) SELECT $1, id, event_seq, 'run.cancelled' FROM u WHERE finished_at = now())
    SELECT id, status = 'running' AS running FROM u WHERE finished_at IS NULL`, [tenant, subject]);
  return { open: rows.length, running: rows.filter(({ running }) => running).map(({ id }) => id) };
}

/** Ended runs of the subject that still hold something, at most `limit`. */
export async function runsToErase(pool: EnginePool, { tenant, kind, subject }: Erasure, limit: number): Promise<string[]> {
  const { rows } = await pool.query<{ id: string }>(`WITH of AS MATERIALIZED (${RUNS[kind]}) SELECT r.id FROM agent_runs r JOIN of USING (id) WHERE r.tenant_id = $1 AND r.erased_at IS NULL AND r.finished_at IS NOT NULL ORDER BY r.id LIMIT $3`, [tenant, subject, limit]);
  return rows.map(({ id }) => id);
}

// References to the object store, in any of its forms, of runs that satisfy `which`.
const BLOBS = (which: string): string => [['run_steps', 'data_blob'], ['step_records', 'result_blob'], ['tool_calls', 'response_blob'], ['agent_runs', 'output_blob']]
  .map(([table, column]) => `SELECT ${column} AS blob FROM ${table} WHERE tenant_id = $1 AND ${column} IS NOT NULL AND ${table === 'agent_runs' ? which.replace('run_id', 'id') : which}`).join(' UNION ');

/** Those of the references that some row of the tenant still holds. */
export async function heldBlobs(pool: EnginePool, tenant: string, blobs: readonly string[]): Promise<Set<string>> {
  const { rows } = await pool.query<{ blob: string }>(`SELECT DISTINCT blob FROM (${BLOBS('run_id IS NOT NULL')}) b WHERE blob = ANY ($2::text[])`, [tenant, blobs]);
  return new Set(rows.map(({ blob }) => blob));
}

/** Forgets references that have been looked at. */
export async function clearBlobs(pool: EnginePool, { tenant, id }: Erasure, blobs: readonly string[]): Promise<void> {
  await pool.query(`UPDATE erasures SET blobs = ARRAY(SELECT unnest(blobs) EXCEPT SELECT unnest($3::text[])) WHERE tenant_id = $1 AND id = $2`, [tenant, id, blobs]);
}

/** Texts whose vectors a cache may hold: what these runs asked of memory, what was remembered of them, and what is remembered of the subject; roll-ups that hold a line of it too. */
export async function textsOf(pool: EnginePool, { tenant, kind, subject }: Erasure, runs: readonly string[]): Promise<string[]> {
  const rest = { memory: `id IN (${VERSIONS('$3::uuid')})`, run: 'false AND $3::text IS NOT NULL', user: 'user_id = $3', tenant: 'false AND $3::text IS NOT NULL' }[kind];
  const { rows } = await pool.query<{ text: string }>(`
    SELECT query AS text FROM retrieval_traces WHERE tenant_id = $1 AND run_id = ANY ($2::uuid[]) UNION SELECT text FROM run_summaries WHERE tenant_id = $1 AND run_id = ANY ($2::uuid[])
    UNION SELECT statement FROM memories WHERE tenant_id = $1 AND (run_id = ANY ($2::uuid[]) OR ${BORNE_OUT('memories')} OR ${rest})
    UNION SELECT m.statement FROM memory_lineage l JOIN memories m ON m.tenant_id = l.tenant_id AND m.id = l.child_id WHERE l.tenant_id = $1 AND (l.runs && $2::uuid[] OR ${kind === 'memory' ? 'l.source_id = $3::uuid' : 'false'})`, [tenant, runs, subject]);
  return rows.map(({ text }) => text);
}

/** Some of its evidence is of these runs. */
const BORNE_OUT = (memory: string): string => `EXISTS (SELECT FROM json_array_elements(${memory}.evidence) x WHERE (x ->> 'run_id')::uuid = ANY ($2::uuid[]))`;

// In this order, each named by what the receipt calls it. `evidence`: a memory that other runs have borne out as well loses what this one has quoted.
const EMPTY_RUNS: readonly (readonly [string, string])[] = [
  ['steps', `UPDATE run_steps SET data = NULL, data_blob = NULL WHERE tenant_id = $1 AND run_id = ANY ($2::uuid[])`],
  ['records', `UPDATE step_records SET result = NULL, result_blob = NULL, args_hash = '\\x00' WHERE tenant_id = $1 AND run_id = ANY ($2::uuid[])`],
  ['events', `UPDATE run_events SET data = '{}' WHERE tenant_id = $1 AND run_id = ANY ($2::uuid[]) AND data::text <> '{}'`],
  ['toolCalls', `UPDATE tool_calls SET request = 'null', response = NULL, response_blob = NULL, error_message = NULL, business_key = NULL, user_id = NULL, args_hash = '\\x00' WHERE tenant_id = $1 AND run_id = ANY ($2::uuid[])`],
  ['modelCalls', `UPDATE model_calls SET response = NULL, args_hash = '\\x00', budgets = ARRAY(SELECT k FROM unnest(budgets) k WHERE k NOT LIKE 'user:%') WHERE tenant_id = $1 AND run_id = ANY ($2::uuid[])`],
  ['batchItems', `UPDATE batch_items SET request = 'null' WHERE tenant_id = $1 AND run_id = ANY ($2::uuid[]) AND request::text <> 'null'`], // it goes with its settlement
  ['feedback', `DELETE FROM run_feedback WHERE tenant_id = $1 AND run_id = ANY ($2::uuid[])`],
  ['memoryFeedback', `DELETE FROM memory_feedback WHERE tenant_id = $1 AND run_id = ANY ($2::uuid[])`],
  ['messages', `DELETE FROM messages WHERE tenant_id = $1 AND run_id = ANY ($2::uuid[])`],
  ['signals', `DELETE FROM signals WHERE tenant_id = $1 AND run_id = ANY ($2::uuid[])`],
  ['approvals', `DELETE FROM approvals WHERE tenant_id = $1 AND run_id = ANY ($2::uuid[])`],
  ['verdicts', `DELETE FROM memory_candidates WHERE tenant_id = $1 AND run_id = ANY ($2::uuid[])`],
  ['traces', `DELETE FROM retrieval_traces WHERE tenant_id = $1 AND run_id = ANY ($2::uuid[])`],
  ['summaries', `UPDATE run_summaries SET erased_at = now(), summary = '{}', text = '', user_id = NULL, session_id = NULL, version = version + 1, indexed_generation = NULL WHERE tenant_id = $1 AND run_id = ANY ($2::uuid[]) AND erased_at IS NULL`],
  ['evidence', `UPDATE memories m SET evidence = k.kept, run_id = coalesce((k.kept -> 0 ->> 'run_id')::uuid, m.run_id), session_id = CASE WHEN m.run_id <> ALL ($2::uuid[]) THEN m.session_id END
     FROM (SELECT m.id, json_agg(e) FILTER (WHERE (e ->> 'run_id')::uuid <> ALL ($2::uuid[])) AS kept FROM memories m, json_array_elements(m.evidence) e WHERE m.tenant_id = $1 AND m.erased_at IS NULL AND ${BORNE_OUT('m')} GROUP BY m.id) k
     WHERE m.tenant_id = $1 AND m.id = k.id AND k.kept IS NOT NULL`],
  ['memories', `UPDATE memories SET ${EMPTY_MEMORY} WHERE tenant_id = $1 AND erased_at IS NULL AND (run_id = ANY ($2::uuid[]) OR ${BORNE_OUT('memories')})`],
  // a session's state is made of what was said in it: the next run has it rebuilt from the messages that are left
  ['sessions', `UPDATE sessions s SET state = '{}', version = version + 1, updated_at = now() FROM (SELECT DISTINCT user_id, session_id FROM agent_runs WHERE tenant_id = $1 AND id = ANY ($2::uuid[]) AND session_id IS NOT NULL) r
     WHERE s.tenant_id = $1 AND s.user_id = r.user_id AND s.id = r.session_id`],
  ['runs', `UPDATE agent_runs SET erased_at = now(), visible = false, input = 'null', output = NULL, output_blob = NULL, metadata = '{}', error_message = NULL, user_id = NULL, session_id = NULL, session_seq = NULL,
     idempotency_key = NULL, concurrency_key = NULL, concurrency_limit = NULL, debounce_key = NULL, request_hash = '\\x00', wants_budget = NULL, wants_micro_usd = NULL, memory_state = 'none' WHERE tenant_id = $1 AND id = ANY ($2::uuid[]) AND finished_at IS NOT NULL`],
];

const USER: readonly (readonly [string, string])[] = [
  ['memories', `UPDATE memories SET ${EMPTY_MEMORY} WHERE tenant_id = $1 AND user_id = $2 AND erased_at IS NULL`],
  ['memoryEpochs', `DELETE FROM memory_epochs WHERE tenant_id = $1 AND owner = 'user:' || $2`], // after the memories, which raise them
  ['sessions', `DELETE FROM sessions WHERE tenant_id = $1 AND user_id = $2`],
  ['schedules', `DELETE FROM schedules WHERE tenant_id = $1 AND user_id = $2`],
  ['permissions', `DELETE FROM permissions WHERE tenant_id = $1 AND user_id = $2`],
  ['budgets', `DELETE FROM budgets WHERE tenant_id = $1 AND subject = 'user:' || $2`],
  ['keys', `UPDATE api_keys SET revoked_at = coalesce(revoked_at, now()), user_id = NULL, name = 'erased' WHERE tenant_id = $1 AND user_id = $2`],
];
/** SQL: a verdict of the gate whose candidate says what a memory says. */
const SAYS = (memories: string): string => `(memory_id = ANY (${memories}) OR target_id = ANY (${memories}) AND (decision IN ('REINFORCE', 'MERGE') OR reason = 'RECALL_ECHO'))`;

/** By kind: what is left once the runs are emptied. */
const REST: Readonly<Record<ErasureKind, readonly (readonly [string, string])[]>> = {
  memory: [['memories', `UPDATE memories SET ${EMPTY_MEMORY} WHERE tenant_id = $1 AND id = ANY ($2::uuid[]) AND erased_at IS NULL`], ['verdicts', `DELETE FROM memory_candidates WHERE tenant_id = $1 AND ${SAYS('$2::uuid[]')}`]],
  run: [],
  user: USER,
  tenant: USER.map(([store, text]) => [store, text.replace('user_id = $2', '$2::text IS NOT NULL').replace(/(subject|owner) = 'user:' \|\| \$2/, `$1 LIKE 'user:%' AND $2::text IS NOT NULL`)] as const),
};

/** Empties ended runs and what is known by them. */
export function eraseRuns(pool: EnginePool, erasure: Erasure, runs: readonly string[]): Promise<void> {
  return counting(pool, erasure, async (client) => {
    await client.query(`UPDATE erasures SET blobs = ARRAY(SELECT unnest(blobs) UNION (${BLOBS('run_id = ANY ($2::uuid[])')})) WHERE tenant_id = $1 AND id = $3`, [erasure.tenant, runs, erasure.id]);
    const { memories, lines } = await reword(client, erasure.tenant, runs);
    await client.query(`UPDATE erasures SET reworded = reworded || $3::uuid[] WHERE tenant_id = $1 AND id = $2`, [erasure.tenant, erasure.id, memories]);
    return [['reworded', memories.length + lines], ...await inOrder(client, EMPTY_RUNS, [erasure.tenant, runs])];
  });
}

/** The index has let go of the words these had: it is owed them as they are, whatever it was brought meanwhile. */
export const oweReworded = (pool: EnginePool, { tenant, id }: Erasure, memories: readonly string[]): Promise<void> => inTransaction(pool, async (client) => {
  await client.query(`UPDATE memories SET version = version + 1, indexed_generation = NULL WHERE tenant_id = $1 AND id = ANY ($2::uuid[]) AND erased_at IS NULL`, [tenant, memories]);
  await client.query(`UPDATE erasures SET reworded = ARRAY(SELECT unnest(reworded) EXCEPT SELECT unnest($3::uuid[])) WHERE tenant_id = $1 AND id = $2`, [tenant, id, memories]);
});

/** SQL: a memory with the versions that people's corrections made of it; before and after. */
const VERSIONS = (id: string): string => `WITH RECURSIVE v AS (SELECT ${id} AS id UNION SELECT CASE WHEN l.child_id = v.id THEN l.source_id ELSE l.child_id END FROM v JOIN memory_lineage l ON l.tenant_id = $1 AND v.id IN (l.child_id, l.source_id)
  WHERE NOT EXISTS (SELECT FROM memories c WHERE c.tenant_id = $1 AND c.id = l.child_id AND c.rolls_up)) SELECT id FROM v`;

/** Empties what belongs to the subject besides its runs, then what roll-ups hold of either: a sweep that was rolling them up has ended by then. */
export const eraseRest = (pool: EnginePool, erasure: Erasure): Promise<void> => counting(pool, erasure, async (client) => {
  const versions = erasure.kind === 'memory' ? (await client.query<{ id: string }>(VERSIONS('$2::uuid'), [erasure.tenant, erasure.subject])).rows.map(({ id }) => id) : [];
  const done = await inOrder(client, REST[erasure.kind], [erasure.tenant, erasure.kind === 'memory' ? versions : erasure.subject]);
  return [...done, ['rollUps', await withdraw(client, erasure.tenant, versions)]];
});

type Client = Parameters<Parameters<typeof inTransaction>[1]>[0];

async function inOrder(client: Client, statements: readonly (readonly [string, string])[], values: unknown[]): Promise<(readonly [string, number])[]> {
  const done: (readonly [string, number])[] = [];
  for (const [store, text] of statements) done.push([store, (await client.query(text, values)).rowCount ?? 0]);
  return done;
}

/** The work and its count are one transaction. */
export function counting(pool: EnginePool, { tenant, id }: Erasure, work: (client: Client) => Promise<readonly (readonly [string, number])[]>): Promise<void> {
  return inTransaction(pool, async (client) => {
    const { rows } = await client.query<{ counts: Record<string, number> }>(`SELECT counts FROM erasures WHERE tenant_id = $1 AND id = $2 FOR UPDATE`, [tenant, id]);
    const counts = { ...rows[0]?.counts };
    for (const [store, n] of await work(client)) if (n > 0) counts[store] = (counts[store] ?? 0) + n;
    await client.query(`UPDATE erasures SET counts = $3::json WHERE tenant_id = $1 AND id = $2`, [tenant, id, JSON.stringify(counts)]);
  });
}

/** Sessions of the subject, for their copies in Redis. */
export async function sessionsOf(pool: EnginePool, { tenant, kind, subject }: Erasure): Promise<{ user: string; session: string }[]> {
  const where = { memory: 'false AND $2::text IS NOT NULL', run: `(user_id, id) IN (SELECT user_id, session_id FROM agent_runs WHERE tenant_id = $1 AND id IN (${RUNS.run}))`, user: 'user_id = $2', tenant: '$2::text IS NOT NULL' }[kind];
  const { rows } = await pool.query<{ user: string; session: string }>(`SELECT user_id AS "user", id AS session FROM sessions WHERE tenant_id = $1 AND ${where}`, [tenant, subject]);
  return rows;
}

/** Users of the runs that are erased; null: runs of no user. While their names are there. */
export async function usersOf(pool: EnginePool, { tenant, kind, subject }: Erasure): Promise<(string | null)[]> {
  return (await pool.query<{ user: string | null }>(`SELECT DISTINCT user_id AS "user" FROM agent_runs WHERE tenant_id = $1 AND erased_at IS NULL AND id IN (${RUNS[kind]})`, [tenant, subject])).rows.map(({ user }) => user);
}

export type ErasedTable = 'memories' | 'run_summaries' | 'document_chunks';
const KEY: Readonly<Record<ErasedTable, string>> = { memories: 'id', run_summaries: 'run_id', document_chunks: 'id' };

/** Rows of the tenant that are empty and whose vectors may still be there. */
export async function emptiedRows(pool: EnginePool, table: ErasedTable, tenant: string, limit: number): Promise<string[]> {
  const { rows } = await pool.query<{ id: string }>(`SELECT ${KEY[table]} AS id FROM ${table} WHERE tenant_id = $1 AND erased_at IS NOT NULL ORDER BY 1 LIMIT $2`, [tenant, limit]);
  return rows.map(({ id }) => id);
}

/** Deletes empty rows whose vectors are gone; other memories that point at them point at nothing. */
export async function dropEmptied(pool: EnginePool, table: ErasedTable, tenant: string, ids: readonly string[]): Promise<void> {
  await inTransaction(pool, async (client) => {
    if (table === 'memories') await client.query(`UPDATE memories SET superseded_by = NULL WHERE tenant_id = $1 AND superseded_by = ANY ($2::uuid[])`, [tenant, ids]);
    await client.query(`DELETE FROM ${table} WHERE tenant_id = $1 AND ${KEY[table]} = ANY ($2::uuid[]) AND erased_at IS NOT NULL`, [tenant, ids]);
  });
}

const SCAN_USER = ['agent_runs', 'messages', 'sessions', 'memories', 'memory_lineage', 'memory_candidates', 'run_summaries', 'retrieval_traces', 'approvals', 'tool_calls', 'schedules', 'permissions', 'api_keys', 'documents', 'document_chunks'] as const;

/** Looks again in every table for what should be gone; a name with a number above 0 is a table that still holds something. */
export async function scanFor(pool: EnginePool, { tenant, kind, subject }: Erasure): Promise<Record<string, number>> {
  const byRun = (table: string, holds: string): string => `SELECT '${table}' AS store, count(*)::int AS n FROM ${table} t JOIN agent_runs r ON r.tenant_id = t.tenant_id AND r.id = t.run_id WHERE r.tenant_id = $1 AND r.erased_at IS NOT NULL AND (${holds})`;
  const looks = [
    `SELECT 'runs' AS store, count(*)::int AS n FROM agent_runs WHERE tenant_id = $1 AND erased_at IS NULL AND id IN (${RUNS[kind]})`,
    byRun('run_steps', 'data IS NOT NULL OR data_blob IS NOT NULL'), byRun('step_records', 'result IS NOT NULL OR result_blob IS NOT NULL'), byRun('run_events', `data::text <> '{}'`),
    byRun('tool_calls', `request::text <> 'null' OR response IS NOT NULL OR response_blob IS NOT NULL`), byRun('model_calls', 'response IS NOT NULL'), byRun('batch_items', `request::text <> 'null'`),
    byRun('run_feedback', 'true'), byRun('memory_feedback', 'true'), byRun('messages', 'true'), byRun('signals', 'true'), byRun('approvals', 'true'), byRun('memory_candidates', 'true'), byRun('retrieval_traces', 'true'), byRun('run_summaries', 'true'), byRun('memories', 'true'), byRun('documents', 'true'),
    `SELECT 'memory_lineage' AS store, count(*)::int AS n FROM memory_lineage l WHERE l.tenant_id = $1 AND EXISTS (SELECT FROM agent_runs r WHERE r.tenant_id = $1 AND r.id = ANY (l.runs) AND r.erased_at IS NOT NULL)`,
    ...(kind === 'user' ? SCAN_USER.map((table) => `SELECT '${table}' AS store, count(*)::int AS n FROM ${table} WHERE tenant_id = $1 AND user_id = $2`) : []),
    ...(kind === 'user' ? [`SELECT 'budgets' AS store, count(*)::int AS n FROM budgets WHERE tenant_id = $1 AND subject = 'user:' || $2`, `SELECT 'memory_epochs' AS store, count(*)::int AS n FROM memory_epochs WHERE tenant_id = $1 AND owner = 'user:' || $2`] : []),
    ...(kind === 'memory' ? [`SELECT 'memories' AS store, count(*)::int AS n FROM memories WHERE tenant_id = $1 AND id = $2::uuid`, `SELECT 'memory_lineage' AS store, count(*)::int AS n FROM memory_lineage WHERE tenant_id = $1 AND source_id = $2::uuid`,
      `SELECT 'memory_candidates' AS store, count(*)::int AS n FROM memory_candidates WHERE tenant_id = $1 AND ${SAYS('ARRAY[$2::uuid]')}`] : []),
    ...(kind === 'tenant' ? ['messages', 'sessions', 'memories', 'memory_lineage', 'memory_candidates', 'run_summaries', 'retrieval_traces', 'approvals', 'schedules', 'permissions', 'documents', 'document_chunks'].map((table) => `SELECT '${table}' AS store, count(*)::int AS n FROM ${table} WHERE tenant_id = $1`) : []),
  ];
  const { rows } = await pool.query<{ store: string; n: number }>(`SELECT store, sum(n)::int AS n FROM (${looks.join(' UNION ALL ')}) s WHERE $2::text IS NOT NULL GROUP BY 1 ORDER BY 1`, [tenant, subject]);
  return Object.fromEntries(rows.map(({ store, n }) => [store, n]));
}

/** The receipt is written once. */
export async function finishErasure(pool: EnginePool, { tenant, id }: Erasure, receipt: unknown): Promise<void> {
  await pool.query(`
    WITH e AS (UPDATE erasures SET finished_at = now(), receipt = $3::json WHERE tenant_id = $1 AND id = $2 AND finished_at IS NULL RETURNING id, requested_by)
    INSERT INTO audit_events (tenant_id, actor, action, object_type, object_id, allowed) SELECT $1, requested_by, 'erasure.finished', 'erasure', id::text, true FROM e`, [tenant, id, JSON.stringify(receipt)]);
}
