// What memory is worth, as runs and people have told, under the app's row-level security: what came of runs with memory and without, how
// much of what was shown was used, and what came of runs that went without one memory, by its type.
import type { Outcomes } from '../domain/feedback.ts';
import type { MemoryType } from '../domain/status.ts';
import type { TenantTx } from './app-store.ts';

/** Runs that recalled in [from, to). */
export interface Period { readonly from: Date; readonly to: Date; readonly agent: string | undefined }

/** $1 tenant, $2 from, $3 to, $4 agent or null. `is_now`: it asked for what holds now. */
const TRACES = `t AS MATERIALIZED (
      SELECT t.run_id, t.created_at, t.injected, t.cited, t.supported, t.tokens, t.held_out, t.left_out, t.filters ->> 'asOf' IS NULL AS is_now, r.memory_state IN ('done', 'summary_missing') AS judged
      FROM retrieval_traces t JOIN agent_runs r ON r.tenant_id = t.tenant_id AND r.id = t.run_id
      WHERE t.tenant_id = $1 AND t.created_at >= $2 AND t.created_at < $3 AND ($4::text IS NULL OR r.agent = $4))`;
/** A run counts once, by the mean of what was said of it. */
const SAID = (run: string): string => `LATERAL (SELECT avg(f.satisfied::int)::float8 AS s, avg(f.resolved::int)::float8 AS v, avg(f.handling_ms)::float8 AS h FROM run_feedback f WHERE f.tenant_id = $1 AND f.run_id = ${run}) f`;
const SUMS = `count(*)::int AS runs, count(s)::int AS sn, coalesce(sum(s), 0)::float8 AS sy, count(v)::int AS rn, coalesce(sum(v), 0)::float8 AS ry, count(h)::int AS hn, coalesce(sum(h), 0)::float8 AS hs, coalesce(sum(h * h), 0)::float8 AS hq`;
interface Sums { readonly runs: number; readonly sn: number; readonly sy: number; readonly rn: number; readonly ry: number; readonly hn: number; readonly hs: number; readonly hq: number }

const valuesOf = (tx: TenantTx, { from, to, agent }: Period): unknown[] => [tx.scope.tenant, from, to, agent ?? null];
const outcomes = (row: Sums | undefined): Outcomes =>
  ({ runs: row?.runs ?? 0, satisfied: { n: row?.sn ?? 0, yes: row?.sy ?? 0 }, resolved: { n: row?.rn ?? 0, yes: row?.ry ?? 0 }, handlingMs: { n: row?.hn ?? 0, sum: row?.hs ?? 0, squares: row?.hq ?? 0 } });

/** With all of memory, and without. Runs that went without one memory are neither. */
export async function outcomesOf(tx: TenantTx, period: Period): Promise<{ readonly treated: Outcomes; readonly heldOut: Outcomes }> {
  const rows = await tx.db.$queryRawUnsafe<(Sums & { held: boolean })[]>(`
    WITH ${TRACES}, r AS (SELECT run_id, bool_or(held_out) AS held FROM t GROUP BY 1 HAVING count(left_out) = 0)
    SELECT held, ${SUMS} FROM r, ${SAID('r.run_id')} GROUP BY 1`, ...valuesOf(tx, period));
  return { treated: outcomes(rows.find(({ held }) => !held)), heldOut: outcomes(rows.find(({ held }) => held)) };
}

export interface Uses {
  readonly type: MemoryType;
  /** Memories in prompts, each once a run, and those of them that the answer cited. */
  readonly shown: number;
  readonly cited: number;
  /** Of the runs that are remembered: shown, cited, and said by the answer. */
  readonly judged: number;
  readonly supported: number;
  readonly citedSupported: number;
  /** Held no more when they were shown, as is known now; or somebody has said of that very run that they were wrong or outdated. */
  readonly stale: number;
}

/** By type; memories that are not there any more are in none. */
export async function usesByType(tx: TenantTx, period: Period): Promise<Uses[]> {
  return tx.db.$queryRawUnsafe<Uses[]>(`
    WITH ${TRACES},
    u AS (
      SELECT m.type, bool_or(m.id = ANY (t.cited)) AS cited, bool_or(t.judged) AS judged, bool_or(t.judged AND m.id = ANY (t.supported)) AS supported,
        bool_or(t.is_now AND m.valid_to <= t.created_at) OR EXISTS (SELECT FROM memory_feedback f WHERE f.tenant_id = $1 AND f.memory_id = m.id AND f.run_id = t.run_id AND f.verdict <> 'useful') AS stale
      FROM t, unnest(t.injected) AS i(id) JOIN memories m ON m.tenant_id = $1 AND m.id = i.id GROUP BY t.run_id, m.id, m.type)
    SELECT type::text AS type, count(*)::int AS shown, (count(*) FILTER (WHERE cited))::int AS cited, (count(*) FILTER (WHERE judged))::int AS judged, (count(*) FILTER (WHERE supported))::int AS supported,
      (count(*) FILTER (WHERE cited AND supported))::int AS "citedSupported", (count(*) FILTER (WHERE stale))::int AS stale FROM u GROUP BY 1 ORDER BY 1`, ...valuesOf(tx, period));
}

/** Tokens of memories in the prompts of runs that are remembered. */
export async function judgedTokens(tx: TenantTx, period: Period): Promise<number> {
  const [row] = await tx.db.$queryRawUnsafe<{ tokens: number }[]>(`WITH ${TRACES} SELECT coalesce(sum(tokens) FILTER (WHERE judged), 0)::float8 AS tokens FROM t`, ...valuesOf(tx, period));
  return row?.tokens ?? 0;
}

export interface TypeOutcomes { readonly type: MemoryType; readonly shown: Outcomes; readonly leftOut: Outcomes }

/** What came of runs that were shown a memory of a type, and of those that went without just one of it. */
export async function outcomesByType(tx: TenantTx, period: Period): Promise<TypeOutcomes[]> {
  const rows = await tx.db.$queryRawUnsafe<(Sums & { type: MemoryType; missed: boolean })[]>(`
    WITH ${TRACES}, r AS (SELECT run_id, bool_or(held_out) AS held, count(left_out) > 0 AS left_one FROM t GROUP BY 1),
    a AS (
      SELECT DISTINCT t.run_id, m.type, false AS missed FROM r JOIN t USING (run_id), unnest(t.injected) AS i(id) JOIN memories m ON m.tenant_id = $1 AND m.id = i.id WHERE NOT r.held AND NOT r.left_one
      UNION ALL
      SELECT DISTINCT t.run_id, m.type, true FROM t JOIN memories m ON m.tenant_id = $1 AND m.id = t.left_out WHERE NOT EXISTS (SELECT FROM t o WHERE o.run_id = t.run_id AND t.left_out = ANY (o.injected)))
    SELECT type::text AS type, missed, ${SUMS} FROM a, ${SAID('a.run_id')} GROUP BY 1, 2`, ...valuesOf(tx, period));
  return [...Map.groupBy(rows, ({ type }) => type)].map(([type, of]) => ({ type, shown: outcomes(of.find(({ missed }) => !missed)), leftOut: outcomes(of.find(({ missed }) => missed)) }));
}

/** Memories that hold and that maintenance has found unused: how many, and the newest. */
export async function unusedMemories(tx: TenantTx, most: number): Promise<{ readonly count: number; readonly ids: string[] }> {
  const rows = await tx.db.$queryRawUnsafe<{ id: string; count: number }[]>(`
    SELECT id::text AS id, (count(*) OVER ())::int AS count FROM memories WHERE tenant_id = $1 AND unused AND cited_count = 0 AND valid_to IS NULL ORDER BY id DESC LIMIT $2::int`, tx.scope.tenant, most);
  return { count: rows[0]?.count ?? 0, ids: rows.map(({ id }) => id) };
}
