// Rolls old outcomes of one owner and subject into one memory, and takes out of roll-ups what was erased. What was rolled is closed and
// points at its roll-up, which holds from then on: at no time do both. A roll-up is never changed: where outcomes join it, or lines of it go,
// another row takes its place, so that what the index and caches hold of it goes the way of every closed or emptied memory.
import { createHash } from 'node:crypto';
import { lineOf, newestFirst, ROLL_UP_FROM, ROLL_UP_LINES, rollUpText, type RollUpLine } from '../../domain/roll-up.ts';
import type { SourceRole } from '../../domain/status.ts';
import { newId } from '../../ids.ts';
import { CLOSED, COPY, RUNS_OF } from '../memory-sql.ts';
import { EMPTY_MEMORY } from './empty-memory.ts';
import { inTransaction, type EnginePool } from './pool.ts';

type Client = Parameters<Parameters<typeof inTransaction>[1]>[0];

/** SQL: m is an outcome that may be rolled up after so many days; null: never. */
export const ROLLS = (days: string): string =>
  `m.type = 'outcome' AND m.valid_to IS NULL AND m.erased_at IS NULL AND NOT m.pinned AND NOT m.rolls_up AND m.last_seen_at < now() - make_interval(days => ${days})`;
/** SQL: whose, and about what. */
export const SCOPE_OF = 'm.scope, m.user_id, m.agent, m.subject';

interface Scope { readonly scope: string; readonly user: string | null; readonly agent: string | null; readonly subject: string }
interface Line extends RollUpLine { readonly runs: readonly string[] }
interface Trust { readonly confidence: number; readonly role: SourceRole }
interface Outcome extends Trust, Omit<Line, 'line'> { readonly attribute: string; readonly value: string }

/** Outcomes of one transaction. */
const PAGE = 500;
const SAME_SCOPE = `m.tenant_id = $1 AND m.scope = $2::memory_scope AND m.user_id IS NOT DISTINCT FROM $3 AND m.agent IS NOT DISTINCT FROM $4 AND m.subject = $5`;
const TRUST = `m.confidence, m.source_role::text AS role`;
const ms = (column: string): string => `(extract(epoch FROM ${column}) * 1000)::float8`;

/** Rolls up what is old enough, each owner and subject by itself; answers how many outcomes. Rows that somebody is at stay for the next time. */
export async function rollUp(pool: EnginePool, tenant: string, days: number | 'never'): Promise<number> {
  if (days === 'never') return 0;
  const { rows } = await pool.query<Scope>(`
    SELECT m.scope::text AS scope, m.user_id AS "user", m.agent, m.subject FROM memories m WHERE m.tenant_id = $1 AND ${ROLLS('$2::int')} GROUP BY ${SCOPE_OF} HAVING count(*) >= ${ROLL_UP_FROM} ORDER BY ${SCOPE_OF}`, [tenant, days]);
  let rolled = 0;
  for (const scope of rows) {
    for (let some = PAGE; some === PAGE;) rolled += some = await inTransaction(pool, (client) => rollScope(client, tenant, scope, days));
  }
  return rolled;
}

async function rollScope(client: Client, tenant: string, { scope, user, agent, subject }: Scope, days: number): Promise<number> {
  const of = [tenant, scope, user, agent, subject];
  const { rows: outcomes } = await client.query<Outcome>(`
    SELECT m.id AS source, m.attribute, m.value, ${TRUST}, ${ms('m.valid_from')} AS "saidMs", ${RUNS_OF} AS runs
    FROM memories m WHERE ${SAME_SCOPE} AND ${ROLLS('$6::int')} ORDER BY m.valid_from, m.id LIMIT ${PAGE} FOR UPDATE SKIP LOCKED`, [...of, days]);
  if (outcomes.length < ROLL_UP_FROM) return 0;
  const { rows: [present] } = await client.query<Trust & { id: string; pinned: boolean }>(`SELECT m.id, m.pinned, ${TRUST} FROM memories m WHERE ${SAME_SCOPE} AND m.rolls_up AND m.valid_to IS NULL FOR UPDATE SKIP LOCKED`, of);
  if (!present && (await client.query(`SELECT FROM memories m WHERE ${SAME_SCOPE} AND m.rolls_up AND m.valid_to IS NULL`, of)).rowCount) return 0; // somebody is at it
  const lines = newestFirst([...present ? await linesOf(client, tenant, present.id) : [], ...outcomes.map((one) => ({ ...one, line: lineOf(one) }))]).slice(0, ROLL_UP_LINES);
  const trusted: readonly Trust[] = present ? [present, ...outcomes] : outcomes;
  const id = newId();
  const overtaken = [...present ? [present.id] : [], ...outcomes.map(({ source }) => source)];
  await client.query(`UPDATE memories SET ${CLOSED}, superseded_by = $3 WHERE tenant_id = $1 AND id = ANY ($2::uuid[])`, [tenant, overtaken, id]);
  const made = await copy(client, tenant, overtaken.at(-1) ?? '', {
    ...ofLines(id, subject, lines), confidence: trusted.reduce((sum, { confidence }) => sum + confidence, 0) / trusted.length, source_role: ROLES.find((role) => trusted.some((one) => one.role === role)),
    seen_count: 1, cited_count: 0, valid_to: null, superseded_by: null, pinned: present?.pinned ?? false, rolls_up: true,
  }, `'valid_from', now(), 'last_seen_at', now(), 'created_at', now()`);
  if (!made) throw new Error('another sweep rolls up the same outcomes');
  await client.query(`
    INSERT INTO memory_lineage (tenant_id, child_id, source_id, user_id, runs, line, said_at)
    SELECT $1, $2, l.source, $3, l.runs, l.line, to_timestamp(l."saidMs" / 1000) FROM json_to_recordset($4::json) AS l(source uuid, runs uuid[], line text, "saidMs" float8)`, [tenant, id, user, JSON.stringify(lines)]);
  return outcomes.length;
}

/** The least trusted first. */
const ROLES: readonly SourceRole[] = ['agent', 'tool', 'user'];

/**
 * Takes out of every roll-up of the tenant the lines of these memories, and those that only erased runs have borne out. What is left of a roll-up
 * stands in another row in its place, with a statement of the lines that are left; where none is left it is emptied. Answers how many were touched.
 */
export async function withdraw(client: Client, tenant: string, memories: readonly string[]): Promise<number> {
  const isErased = (run: string): string => `EXISTS (SELECT FROM agent_runs r WHERE r.tenant_id = $1 AND r.id = ${run} AND r.erased_at IS NOT NULL)`;
  await client.query(`UPDATE memory_lineage l SET runs = ARRAY(SELECT k FROM unnest(l.runs) k WHERE NOT ${isErased('k')}) WHERE l.tenant_id = $1 AND ${isErased('ANY (l.runs)')}`, [tenant]);
  const gone = `l.tenant_id = $1 AND (l.runs = '{}' OR l.source_id = ANY ($2::uuid[]))`;
  for (let touched = 0; ;) { // again, for a roll-up may have been replaced while we waited for its row
    const { rows } = await client.query<{ id: string; subject: string; end: string | null }>(
      `SELECT m.id, m.subject, m.valid_to::text AS "end" FROM memories m WHERE m.tenant_id = $1 AND m.erased_at IS NULL AND EXISTS (SELECT FROM memory_lineage l WHERE ${gone} AND l.child_id = m.id) ORDER BY m.id FOR UPDATE`, [tenant, memories]);
    await client.query(`DELETE FROM memory_lineage l WHERE ${gone} AND (l.child_id = ANY ($3::uuid[]) OR NOT EXISTS (SELECT FROM memories m WHERE m.tenant_id = $1 AND m.id = l.child_id AND m.erased_at IS NULL))`, [tenant, memories, rows.map(({ id }) => id)]);
    for (const row of rows) await remake(client, tenant, row);
    if (rows.length === 0) return touched;
    touched += rows.length;
  }
}

/** Puts a row of the lines that are left in the place of a roll-up, whose row is held; where none is left it is emptied. */
export async function remake(client: Client, tenant: string, { id: old, subject, end }: { readonly id: string; readonly subject: string; readonly end: string | null }): Promise<void> {
  const lines = await linesOf(client, tenant, old);
  if (lines.length > 0) {
    const id = newId();
    await client.query(`UPDATE memories SET valid_to = coalesce(valid_to, now()) WHERE tenant_id = $1 AND id = $2`, [tenant, old]); // one that holds, for a scope
    await copy(client, tenant, old, { ...ofLines(id, subject, lines), valid_to: end });
    await client.query(`UPDATE memory_lineage SET child_id = $3 WHERE tenant_id = $1 AND child_id = $2`, [tenant, old, id]);
    await client.query(`UPDATE memories SET superseded_by = $3 WHERE tenant_id = $1 AND superseded_by = $2`, [tenant, old, id]);
  }
  await client.query(`UPDATE memories SET ${EMPTY_MEMORY} WHERE tenant_id = $1 AND id = $2`, [tenant, old]);
}

async function linesOf(client: Client, tenant: string, child: string): Promise<Line[]> {
  return (await client.query<Line>(`SELECT source_id AS source, runs, line, ${ms('said_at')} AS "saidMs" FROM memory_lineage WHERE tenant_id = $1 AND child_id = $2`, [tenant, child])).rows;
}

/** Columns that follow from the lines. Its hash is of its id: nobody says the same words again. */
function ofLines(id: string, subject: string, lines: readonly Line[]): Record<string, unknown> {
  const sorted = newestFirst(lines);
  return {
    id, ...rollUpText(subject, sorted), attribute: 'earlier outcomes', slot: null, hash: `\\x${createHash('sha256').update(id).digest('hex')}`, run_id: sorted[0]?.runs[0], session_id: null, version: 1, indexed_generation: null,
    evidence: sorted.flatMap(({ source, runs }) => runs.map((run) => ({ run_id: run, memory_id: source }))),
  };
}

/** A row like that of `from`, but for these columns. False: there is one that holds for its scope. */
async function copy(client: Client, tenant: string, from: string, change: Readonly<Record<string, unknown>>, computed = ''): Promise<boolean> {
  const { rowCount } = await client.query(`${COPY(computed)} ON CONFLICT DO NOTHING`, [tenant, from, JSON.stringify(change)]);
  return rowCount === 1;
}
