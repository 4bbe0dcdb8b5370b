// Questions to a person: asked once per place in a run, decided once while open, used by the call they were asked for and by
// no other. Locks are taken in one order everywhere: the run's row, then the approval's.
import type { Json } from '../../domain/json.ts';
import { guarded } from '../../guards.ts';
import { WOKEN } from './inbox.ts';
import { lockHeld, type Place } from './ledger.ts';
import { inTransaction, type EnginePool } from './pool.ts';

export interface Question {
  readonly id: string;
  /** hex; a decision counts for these arguments only */
  readonly argsHash: string;
  readonly subject: string;
  /** JSON text of what is asked */
  readonly request: string;
  /** null = open for as long as it takes */
  readonly expiresInMs: number | null;
  readonly onExpiry: 'approved' | 'denied';
}

export interface Decision {
  readonly approved: boolean;
  /** `key:<id>`; null = nobody answered in time */
  readonly by: string | null;
  readonly reason: string | null;
  /** The arguments as the person changed them; null = as asked. */
  readonly edited: Json;
}

export type Asked = 'fenced' | 'diverged' | { readonly decision: Decision } | { readonly dueInMs: number | null; readonly inboxSeq: number };

interface Row { status: string; same: boolean; onExpiry: string; by: string | null; reason: string | null; edited: Json; due: number | null }

/** Asks, or answers what was decided. An approval is marked `used` here, under the fence, before anything is done with it. */
export function askApprovalIfHeld(pool: EnginePool, place: Place, question: Question): Promise<Asked> {
  return inTransaction(pool, async (client) => {
    const held = await lockHeld(client, place, 'UPDATE');
    if (!held) return 'fenced' as const;
    const at = [place.tenant, place.run, place.stepSeq, place.path];
    const made = await client.query(`INSERT INTO approvals (tenant_id, run_id, step_seq, path, id, user_id, args_hash, subject, request, on_expiry, expires_at)
      VALUES ($1, $2, $3, $4, $5, $6, decode($7, 'hex'), $8, $9::json, $10::approval_status, now() + $11::float8 * interval '1 ms') ON CONFLICT (tenant_id, run_id, step_seq, path) DO NOTHING`,
    [...at, question.id, held.user, question.argsHash, question.subject, question.request, question.onExpiry, question.expiresInMs]);
    if (made.rowCount === 1) {
      await client.query(`WITH u AS (UPDATE agent_runs SET event_seq = event_seq + 1 WHERE tenant_id = $1 AND id = $2 RETURNING event_seq)
        INSERT INTO run_events (tenant_id, run_id, seq, type, data) SELECT $1, $2, event_seq, 'approval.requested', json_build_object('approval', $3::text, 'subject', $4::text) FROM u`, [place.tenant, place.run, question.id, question.subject]);
    }
    const { rows } = await client.query<Row>(`SELECT status::text AS status, ${guarded('approval-arguments', `args_hash = decode($5, 'hex')`)} AS same, on_expiry::text AS "onExpiry", decided_by AS by, reason, edited,
      (extract(epoch FROM expires_at - clock_timestamp()) * 1000)::float8 AS due FROM approvals WHERE tenant_id = $1 AND run_id = $2 AND step_seq = $3 AND path = $4 FOR UPDATE`, [...at, question.argsHash]);
    const row = rows[0] as Row;
    if (!row.same) return 'diverged' as const;
    if (row.status === 'pending' && (row.due === null || row.due > 0)) return { dueInMs: row.due, inboxSeq: held.inboxSeq };
    const status = row.status === 'pending' ? 'expired' : row.status === 'approved' ? 'used' : row.status;
    if (status !== row.status) await client.query(`UPDATE approvals SET status = $5::approval_status WHERE tenant_id = $1 AND run_id = $2 AND step_seq = $3 AND path = $4`, [...at, status]);
    return { decision: { approved: status === 'used' || (status === 'expired' && row.onExpiry === 'approved'), by: row.by, reason: row.reason, edited: row.edited } };
  });
}

export interface Answer {
  readonly tenant: string;
  readonly user: string | null | undefined;
  /** uuid of the approval */
  readonly id: string;
  readonly approved: boolean;
  readonly by: string;
  readonly reason: string | undefined;
  /** JSON text of changed arguments */
  readonly edited: string | undefined;
}

/** Decides an open question and wakes its run. `closed`: decided, expired or withdrawn. Undefined = no such approval. */
export function decideApproval(pool: EnginePool, answer: Answer): Promise<{ readonly run: string; readonly decided: boolean; readonly status: string } | undefined> {
  return inTransaction(pool, async (client) => {
    const found = await client.query<{ run: string }>(`SELECT a.run_id AS run FROM approvals a WHERE a.tenant_id = $1 AND a.id = $2 AND ($3::boolean OR a.user_id IS NOT DISTINCT FROM $4)`, [answer.tenant, answer.id, answer.user === undefined, answer.user ?? null]);
    const run = found.rows[0]?.run;
    if (run === undefined) return undefined;
    await client.query(`SELECT FROM agent_runs WHERE tenant_id = $1 AND id = $2 FOR UPDATE`, [answer.tenant, run]);
    const decided = await client.query<{ status: string; done: boolean }>(`
      WITH b AS (SELECT a.status, a.expires_at, r.finished_at FROM approvals a JOIN agent_runs r ON r.tenant_id = a.tenant_id AND r.id = a.run_id WHERE a.tenant_id = $1 AND a.id = $2),
      u AS (UPDATE approvals SET status = CASE WHEN $3::boolean THEN 'approved' ELSE 'denied' END::approval_status, decided_by = $4, decided_at = now(), reason = $5, edited = $6::json
        FROM b WHERE approvals.tenant_id = $1 AND approvals.id = $2 AND b.finished_at IS NULL AND ${guarded('approval-once', `approvals.status = 'pending' AND (b.expires_at IS NULL OR b.expires_at > clock_timestamp())`)} RETURNING approvals.status)
      SELECT coalesce((SELECT status FROM u), CASE WHEN finished_at IS NOT NULL THEN 'withdrawn' WHEN b.status = 'pending' THEN 'expired' ELSE b.status END)::text AS status, EXISTS (SELECT FROM u) AS done FROM b`,
    [answer.tenant, answer.id, answer.approved, answer.by, answer.reason ?? null, answer.edited ?? null]);
    const row = decided.rows[0];
    if (!row) return undefined;
    if (row.done) {
      await client.query(`WITH u AS (UPDATE agent_runs r SET ${WOKEN}, event_seq = r.event_seq + 1 WHERE r.tenant_id = $1 AND r.id = $2 RETURNING r.event_seq)
        INSERT INTO run_events (tenant_id, run_id, seq, type, data) SELECT $1, $2, event_seq, 'approval.decided', json_build_object('approval', $3::text, 'status', $4::text) FROM u`, [answer.tenant, run, answer.id, row.status]);
    }
    return { run, decided: row.done, status: row.status };
  });
}
