// Memories written past the gate, each with a run and evidence of its own or of a given run, as the gate would have left them.
import { createHash } from 'node:crypto';
import type { MemoryType } from '../../src/domain/status.ts';
import { newId } from '../../src/ids.ts';

export interface Planted {
  readonly user?: string | null;
  readonly statement: string;
  readonly run?: string;
  readonly subject?: string;
  readonly type?: MemoryType;
  /** ISO dates */
  readonly from?: string;
  readonly to?: string | null;
}

/** Answers their ids, in order. `rows` runs SQL as the owner. */
export async function plantMemories(rows: (sql: string, values: unknown[]) => Promise<unknown>, tenant: string, memories: readonly Planted[]): Promise<string[]> {
  const ids = memories.map(() => newId());
  await rows(`INSERT INTO memories (tenant_id, id, scope, user_id, agent, type, subject, attribute, value, statement, hash, source_role, confidence, evidence, run_id, gate_version, valid_from, valid_to)
    SELECT $1, m.id, CASE WHEN m."user" IS NULL THEN 'workspace' ELSE 'user' END::memory_scope, m."user", NULL, coalesce(m.type, 'fact')::memory_type, coalesce(m.subject, ''), '', '', m.statement, decode(m.hash, 'hex'), 'user', 0.8, '[{"event_id":"e1","quote":"planted"}]', m.run, 1,
      coalesce(m."from", now()), m."to" FROM json_to_recordset($2::json) AS m(id uuid, "user" text, statement text, hash text, run uuid, subject text, type text, "from" timestamptz, "to" timestamptz)`,
  [tenant, JSON.stringify(memories.map((memory, at) => ({ run: newId(), ...memory, user: memory.user ?? null, id: ids[at], hash: createHash('sha256').update(ids[at]!).digest('hex') })))]);
  return ids;
}

/** Summaries of runs that need not be there, as remembering leaves them; answers the runs. */
export async function plantSummaries(rows: (sql: string, values: unknown[]) => Promise<unknown>, tenant: string, summaries: readonly { readonly user: string | null; readonly text: string; readonly agent?: string }[]): Promise<string[]> {
  const runs = summaries.map(() => newId());
  await rows(`INSERT INTO run_summaries (tenant_id, run_id, user_id, agent, summary, text) SELECT $1, s.run, s."user", coalesce(s.agent, 'helper'), '{}', s.text FROM json_to_recordset($2::json) AS s(run uuid, "user" text, agent text, text text)`,
    [tenant, JSON.stringify(summaries.map((one, at) => ({ ...one, run: runs[at] })))]);
  return runs;
}
