// Effects whose end nobody knows: listed, and settled by a person. "It was not applied" is believed only when the call cannot
// be under way any more: its worker is known dead, or its own deadline is over.
import type { ToolEffect } from '../../domain/status.ts';
import { guarded } from '../../guards.ts';
import { OWN, own, type Target } from './control.ts';
import { WOKEN } from './inbox.ts';
import { inTransaction, type EnginePool } from './pool.ts';

export interface Settlement {
  readonly target: Target;
  readonly stepSeq: number;
  readonly path: string;
  readonly outcome: 'succeeded' | 'not_applied';
  /** JSON text of the result, for `succeeded` */
  readonly response: string | null;
  readonly by: string;
}

/** A person says what became of a call, and the run goes on. `open`: "not applied" while the call may still be under way.
 *  `settled`: nothing is open about it. Undefined = no such call. */
export function settleToolCall(pool: EnginePool, { target, stepSeq, path, outcome, response, by }: Settlement): Promise<'done' | 'open' | 'settled' | undefined> {
  const call = [target.tenant, target.id, stepSeq, path];
  return inTransaction(pool, async (client) => {
    const run = await client.query(`SELECT FROM agent_runs WHERE ${OWN} FOR UPDATE`, own(target));
    if (run.rowCount === 0) return undefined;
    const { rows } = await client.query<{ isOpen: boolean; over: boolean }>(`
      SELECT k.status IN ('unknown', 'intent') AS "isOpen", k.deadline_at < clock_timestamp() OR NOT EXISTS (SELECT FROM workers w WHERE w.incarnation = k.claimed_by AND w.lease_until > clock_timestamp() AND w.ended_at IS NULL) AS over
      FROM tool_calls k WHERE k.tenant_id = $1 AND k.run_id = $2 AND k.step_seq = $3 AND k.path = $4 FOR UPDATE`, call);
    const [found] = rows;
    if (!found) return undefined;
    if (!found.isOpen) return 'settled' as const;
    const done = await client.query(`
      UPDATE tool_calls SET status = $5::tool_call_status, response = $6::json, finished_at = now(), settled_by = $7, error_code = NULL, error_message = NULL, business_key = CASE WHEN $5::text = 'succeeded' THEN business_key END
      WHERE tenant_id = $1 AND run_id = $2 AND step_seq = $3 AND path = $4 AND ($5::text = 'succeeded' OR ${guarded('settle-known-dead', '$8::boolean')})`, [...call, outcome, response, by, found.over]);
    if (done.rowCount === 0) return 'open' as const;
    await client.query(`WITH u AS (UPDATE agent_runs r SET ${WOKEN}, event_seq = r.event_seq + 1 WHERE r.tenant_id = $1 AND r.id = $2 AND r.finished_at IS NULL RETURNING r.event_seq)
      INSERT INTO run_events (tenant_id, run_id, seq, type, data) SELECT $1, $2, event_seq, 'outcome.settled', json_build_object('stepSeq', $3::int, 'path', $4::text, 'outcome', $5::text) FROM u`, [...call, outcome]);
    return 'done' as const;
  });
}

export interface OpenCall { readonly stepSeq: number; readonly path: string; readonly tool: string; readonly effect: ToolEffect; readonly status: 'intent' | 'unknown'; readonly startedAt: Date }

/** Effects of a run nobody knows the end of. */
export async function unsettledCalls(pool: EnginePool, tenant: string, run: string): Promise<OpenCall[]> {
  const { rows } = await pool.query<OpenCall>(
    `SELECT step_seq AS "stepSeq", path, tool, effect::text AS effect, status::text AS status, started_at AS "startedAt" FROM tool_calls
     WHERE tenant_id = $1 AND run_id = $2 AND status IN ('intent', 'unknown') AND effect <> 'read' ORDER BY 1, 2`, [tenant, run]);
  return rows;
}
