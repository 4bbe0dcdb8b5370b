// What an erasure leaves of memories that runs which stay have borne out as well. One whose words a run that goes has chosen is put into the
// words of one of the others, as the gate stored them; where none of them has said it in words of its own, it goes. Lines of roll-ups the
// same. What a person has written in correction of a memory is that person's and stays.
import { candidateSchema, type Candidate } from '../../domain/memory.ts';
import { attributeOf, hashOf, propertyOf, slotOf, subjectOf, type Owned } from '../../domain/gate-identity.ts';
import { lineOf } from '../../domain/roll-up.ts';
import type { MemoryType } from '../../domain/status.ts';
import { EMPTY_MEMORY } from './empty-memory.ts';
import type { inTransaction } from './pool.ts';
import { remake } from './roll-up.ts';

type Client = Parameters<Parameters<typeof inTransaction>[1]>[0];
interface Words { readonly run: string; readonly candidate: Candidate; readonly confidence: number | null; readonly role: string | null }
interface Worded extends Owned { readonly id: string; readonly type: MemoryType; readonly hasSlot: boolean; /** Runs that stay. */ readonly runs: readonly string[] }

/** Before the verdicts of `runs` go. Answers the memories whose vectors still have the words they had, and how many lines of roll-ups changed. */
export async function reword(client: Client, tenant: string, runs: readonly string[]): Promise<{ readonly memories: string[]; readonly lines: number }> {
  const { rows } = await client.query<Worded>(`
    SELECT m.id, m.type::text AS type, m.scope::text AS scope, m.user_id AS "user", m.agent, m.slot IS NOT NULL AS "hasSlot", k.runs FROM memories m CROSS JOIN LATERAL (
      SELECT array_agg(DISTINCT e ->> 'run_id') FILTER (WHERE (e ->> 'run_id')::uuid <> ALL ($2::uuid[])) AS runs, bool_or((e ->> 'run_id')::uuid = ANY ($2::uuid[])) AS goes FROM json_array_elements(m.evidence) e) k
    WHERE m.tenant_id = $1 AND m.erased_at IS NULL AND k.goes AND k.runs IS NOT NULL AND (
      EXISTS (SELECT FROM memory_candidates c WHERE c.tenant_id = $1 AND c.run_id = ANY ($2::uuid[]) AND (c.memory_id = m.id OR c.target_id = m.id AND c.decision = 'MERGE'))
      OR m.run_id = ANY ($2::uuid[]) AND NOT EXISTS (SELECT FROM memory_lineage l WHERE l.tenant_id = $1 AND l.child_id = m.id))
    ORDER BY m.id FOR UPDATE OF m`, [tenant, runs]);
  for (const memory of rows) {
    const words = await wordsOf(client, tenant, memory.id, memory.runs);
    if (!words || !await say(client, tenant, memory, words)) await client.query(`UPDATE memories SET ${EMPTY_MEMORY} WHERE tenant_id = $1 AND id = $2`, [tenant, memory.id]);
  }
  const memories = rows.map(({ id }) => id);
  await client.query(`DELETE FROM memory_vectors WHERE tenant_id = $1 AND id = ANY ($2::uuid[])`, [tenant, memories]);
  let lines = 0;
  for (let some; (some = await rewordLines(client, tenant, runs)) > 0;) lines += some; // again, for a roll-up may have been replaced while we waited for its row
  return { memories, lines };
}

/** As one of these runs has said it: the user's own words first, then the newest. */
async function wordsOf(client: Client, tenant: string, memory: string, runs: readonly string[]): Promise<Words | undefined> {
  const { rows } = await client.query<Omit<Words, 'candidate'> & { candidate: unknown }>(`
    SELECT run_id AS run, candidate, CASE WHEN decision <> 'QUARANTINE' THEN confidence END AS confidence, scores ->> 'source_found' AS role FROM memory_candidates
    WHERE tenant_id = $1 AND run_id = ANY ($3::uuid[]) AND (memory_id = $2 OR target_id = $2 AND decision IN ('REINFORCE', 'MERGE'))
    ORDER BY scores ->> 'source_found' = 'user' DESC NULLS LAST, created_at DESC, run_id, index`, [tenant, memory, runs]);
  for (const row of rows) {
    const { data: candidate } = candidateSchema.safeParse(typeof row.candidate === 'string' ? JSON.parse(row.candidate) : row.candidate);
    if (candidate) return { ...row, candidate };
  }
  return undefined;
}

/** False: another memory that holds says just that. */
async function say(client: Client, tenant: string, { id, type, hasSlot, runs, ...owner }: Worded, { run, candidate, confidence, role }: Words): Promise<boolean> {
  const [subject, attribute] = [subjectOf(candidate.subject), attributeOf(candidate.attribute)];
  const slot = hasSlot ? slotOf(owner, type, subject, propertyOf(attribute, candidate.value)) : null;
  const { rowCount } = await client.query(`
    UPDATE memories m SET subject = $4, attribute = $5, value = $6, statement = $7, hash = decode($8, 'hex'), confidence = least(confidence, $9::float8), source_role = coalesce($10::source_role, source_role), run_id = $3::uuid,
      slot = CASE WHEN valid_to IS NULL AND EXISTS (SELECT FROM memories o WHERE o.tenant_id = $1 AND o.id <> m.id AND o.valid_to IS NULL AND o.slot = $11) THEN NULL ELSE $11 END, session_id = NULL,
      evidence = (SELECT json_agg(e) FROM json_array_elements(evidence) e WHERE (e ->> 'run_id')::uuid = ANY ($12::uuid[])),
      document_id = (SELECT (e ->> 'document_id')::uuid FROM json_array_elements(evidence) e WHERE (e ->> 'run_id')::uuid = $3::uuid LIMIT 1), version = version + 1, indexed_generation = NULL
    WHERE tenant_id = $1 AND id = $2 AND NOT (valid_to IS NULL AND EXISTS (SELECT FROM memories o WHERE o.tenant_id = $1 AND o.id <> m.id AND o.valid_to IS NULL AND o.hash = decode($8, 'hex')))`,
  [tenant, id, run, subject, attribute, candidate.value, candidate.statement, hashOf(tenant, owner, type, candidate.statement), confidence, role, slot, runs]);
  return rowCount === 1;
}

/** Lines of roll-ups that runs which stay have borne out too; answers how many say something else now. */
async function rewordLines(client: Client, tenant: string, runs: readonly string[]): Promise<number> {
  const { rows } = await client.query<{ child: string; subject: string; end: string | null; source: string; line: string; left: string[] }>(`
    SELECT m.id AS child, m.subject, m.valid_to::text AS "end", l.source_id AS source, l.line, ARRAY(SELECT k::text FROM unnest(l.runs) k WHERE k <> ALL ($2::uuid[])) AS left
    FROM memory_lineage l JOIN memories m ON m.tenant_id = l.tenant_id AND m.id = l.child_id WHERE l.tenant_id = $1 AND l.runs && $2::uuid[] AND NOT l.runs <@ $2::uuid[] AND m.rolls_up AND m.erased_at IS NULL ORDER BY m.id FOR UPDATE OF m`, [tenant, runs]);
  let changed = 0;
  for (const [, of] of Map.groupBy(rows, ({ child }) => child)) {
    const before = changed;
    for (const { child, source, line, left } of of) {
      const words = await wordsOf(client, tenant, source, left);
      const now = words && lineOf({ attribute: attributeOf(words.candidate.attribute), value: words.candidate.value });
      if (now === line) continue;
      await client.query(now === undefined ? `DELETE FROM memory_lineage WHERE tenant_id = $1 AND child_id = $2 AND source_id = $3 AND $4::text IS NULL` : `UPDATE memory_lineage SET line = $4 WHERE tenant_id = $1 AND child_id = $2 AND source_id = $3`, [tenant, child, source, now ?? null]);
      changed++;
    }
    const [first] = of;
    if (first && changed > before) await remake(client, tenant, { id: first.child, subject: first.subject, end: first.end });
  }
  return changed;
}
