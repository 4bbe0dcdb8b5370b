// Memories that recall shows again and again and no answer uses. They are told by the newest traces alone, so that looking costs the same
// however long a tenant has been here. Being unused moves a memory's rank and hides nothing; the first answer that cites it ends it at once.
import { UNUSED_RUNS } from '../../domain/feedback.ts';
import type { EnginePool } from './pool.ts';

/** Of each tenant, the newest that are looked at. */
const TRACES = 20_000;

/** Says of every memory in the newest traces whether it is unused; answers how many of them changed. Neither rules nor pinned ones ever are. */
export async function noteUnused(pool: EnginePool): Promise<number> {
  let changed = 0;
  const { rows } = await pool.query<{ tenant: string }>(`SELECT DISTINCT tenant_id AS tenant FROM memories ORDER BY 1`);
  for (const { tenant } of rows) changed += (await pool.query(`
    WITH t AS MATERIALIZED (SELECT run_id, injected, supported FROM retrieval_traces WHERE tenant_id = $1 ORDER BY id DESC LIMIT ${TRACES}),
    shown AS (SELECT i.id, count(DISTINCT t.run_id) >= ${UNUSED_RUNS} AND NOT bool_or(i.id = ANY (t.supported)) AS unused FROM t, unnest(t.injected) AS i(id) GROUP BY i.id),
    m AS (SELECT m.id, s.unused AND m.cited_count = 0 AND NOT m.pinned AND m.type <> 'constraint' AS unused FROM shown s JOIN memories m ON m.tenant_id = $1 AND m.id = s.id WHERE m.valid_to IS NULL),
    c AS (SELECT k.id, m.unused FROM m JOIN memories k ON k.tenant_id = $1 AND k.id = m.id AND k.unused <> m.unused ORDER BY k.id FOR UPDATE OF k SKIP LOCKED)
    UPDATE memories k SET unused = c.unused FROM c WHERE k.tenant_id = $1 AND k.id = c.id`, [tenant])).rowCount ?? 0;
  return changed;
}
