// A second message in a busy session. With `steer` it is a run like any other, in its place in the session; until it starts, the
// run under way may take its input as something said meanwhile, and it ends as delivered. With `interrupt` it goes before all
// that have not started, and the run under way is asked to end. Locks are taken in one order: the run under way, the session,
// the runs that wait.
import type { Json } from '../../domain/json.ts';
import { publicId } from '../../ids.ts';
import { cancelTree } from './control.ts';
import { lockHeld, type Place } from './ledger.ts';
import { inTransaction, isDeadlock, type EnginePool } from './pool.ts';
import { submitRuns, type NewRun, type Submitted } from './submit.ts';

type Client = Parameters<Parameters<typeof inTransaction>[1]>[0];

/** Messages that one turn hears at most; more are the next turn's. */
const TAKEN_AT_ONCE = 10;

export function submitSteering(pool: EnginePool, run: NewRun): Promise<Submitted> {
  return inTransaction(pool, async (client) => {
    const [submitted] = await submitRuns(client, [run]);
    if (!submitted) throw new Error('a run was neither made nor found');
    if (submitted.created) await client.query(`UPDATE agent_runs SET steers = true WHERE tenant_id = $1 AND id = $2`, [run.tenant, run.id]);
    return submitted;
  });
}

const WAITING_THEIR_TURN = `tenant_id = $1 AND user_id = $2 AND session_id = $3 AND steers AND started_at IS NULL AND finished_at IS NULL
  AND status = 'queued' AND wake_at <= now() AND agent = $4`;

/** Inputs of the runs that wait to be heard, in their order, each once: taken and put on record in one transaction. Nothing is
 *  recorded where there is none. */
export async function takeSteersIfHeld(pool: EnginePool, place: Place, session: { readonly user: string; readonly session: string; readonly agent: string }, argsHash: string): Promise<'fenced' | Json[]> {
  const who = [place.tenant, session.user, session.session, session.agent];
  const { rowCount } = await pool.query({ name: 'steers', text: `SELECT FROM agent_runs WHERE ${WAITING_THEIR_TURN} LIMIT 1`, values: who });
  if (rowCount === 0) return [];
  return inTransaction(pool, async (client) => {
    if (!(await lockHeld(client, place, 'UPDATE'))) return 'fenced' as const;
    const { rows } = await client.query<{ id: string; input: Json }>(`
      WITH d AS (SELECT tenant_id, id, session_seq FROM agent_runs WHERE ${WAITING_THEIR_TURN} ORDER BY session_seq LIMIT ${TAKEN_AT_ONCE} FOR UPDATE),
      u AS (
        UPDATE agent_runs r SET status = 'completed', finished_at = now(), wake_at = NULL, event_seq = r.event_seq + 1, output = json_build_object('deliveredTo', $6::text)
        FROM d WHERE r.tenant_id = d.tenant_id AND r.id = d.id RETURNING r.tenant_id, r.id, r.event_seq, r.input, d.session_seq
      ), e AS (INSERT INTO run_events (tenant_id, run_id, seq, type, data) SELECT tenant_id, id, event_seq, 'run.delivered', json_build_object('to', $5::uuid) FROM u)
      SELECT id, input FROM u ORDER BY session_seq`, [...who, place.run, publicId('run', place.run)]);
    if (rows.length === 0) return [];
    const inputs = rows.map(({ input }) => input);
    await client.query(`INSERT INTO step_records (tenant_id, run_id, step_seq, path, fence, name, args_hash, result) VALUES ($1, $2, $3, $4, $5, 'steered', decode($6, 'hex'), $7::json)`,
      [place.tenant, place.run, place.stepSeq, place.path, place.fence, argsHash, JSON.stringify(inputs)]);
    await client.query(`WITH u AS (UPDATE agent_runs SET event_seq = event_seq + 1 WHERE tenant_id = $1 AND id = $2 RETURNING tenant_id, id, event_seq)
      INSERT INTO run_events (tenant_id, run_id, seq, type, data) SELECT tenant_id, id, event_seq, 'run.steered', $3::json FROM u`, [place.tenant, place.run, JSON.stringify({ by: rows.map(({ id }) => id) })]);
    return inputs;
  });
}

export interface Interrupting {
  readonly submitted: Submitted;
  /** The run that was asked to end: `running` where a worker must be told, `queued` where one is to take it. Undefined = none was under way. */
  readonly head: { readonly id: string; readonly status: 'running' | 'queued' } | undefined;
  /** Its children that somebody is running. */
  readonly children: readonly string[];
}

/** A cancel or an end may meet it among the children: Postgres then gives one of them up, and this one is tried again. */
export async function submitInterrupting(pool: EnginePool, run: NewRun, tries = 3): Promise<Interrupting> {
  try {
    return await inTransaction(pool, (client) => interrupt(client, run));
  } catch (error) {
    if (tries <= 1 || !isDeadlock(error)) throw error;
    return submitInterrupting(pool, run, tries - 1);
  }
}

const HEAD = `SELECT id FROM agent_runs WHERE tenant_id = $1 AND user_id = $2 AND session_id = $3 AND status IN ('queued', 'running', 'waiting') ORDER BY session_seq LIMIT 1 FOR UPDATE`;

async function interrupt(client: Client, run: NewRun): Promise<Interrupting> {
  const findHead = async (): Promise<string | undefined> => (await client.query<{ id: string }>(HEAD, [run.tenant, run.user, run.session])).rows[0]?.id;
  const id = await findHead() ?? await findHead(); // the first look may have waited for one that ended
  const [submitted] = await submitRuns(client, [run]);
  if (!submitted) throw new Error('a run was neither made nor found');
  if (!submitted.created) return { submitted, head: undefined, children: [] };
  await goFirst(client, run);
  const status = id === undefined ? undefined : await interruptRun(client, { tenant: run.tenant, id, by: run.id });
  if (id === undefined || status === undefined) return { submitted, head: undefined, children: [] };
  return { submitted, head: { id, status }, children: await cancelChildren(client, run.tenant, id) };
}

/** Asks a run that has started to end, so that another goes on in its place. Whoever holds it ends it at the next safe point; where
 *  nobody does it becomes due, for a worker to end it with what it leaves in its session. Undefined: it has not started, or is
 *  ending already. */
export async function interruptRun(db: Pick<EnginePool, 'query'>, { tenant, id, by }: { readonly tenant: string; readonly id: string; readonly by: string }): Promise<'running' | 'queued' | undefined> {
  const { rows } = await db.query<{ status: 'running' | 'queued' }>(`
    WITH u AS (
      UPDATE agent_runs r SET cancel_requested_at = now(), interrupted_by = $3, inbox_seq = r.inbox_seq + 1, event_seq = r.event_seq + 1, status = CASE WHEN r.status = 'running' THEN r.status ELSE 'queued' END,
        wait_reason = NULL, wake_at = CASE WHEN r.status = 'running' THEN r.wake_at ELSE now() END, resume_at = NULL, pause_requested_at = NULL
      WHERE r.tenant_id = $1 AND r.id = $2 AND r.finished_at IS NULL AND r.started_at IS NOT NULL AND r.cancel_requested_at IS NULL RETURNING r.tenant_id, r.id, r.event_seq, r.status
    ), e AS (INSERT INTO run_events (tenant_id, run_id, seq, type, data) SELECT tenant_id, id, event_seq, 'run.interrupting', json_build_object('by', $3::uuid) FROM u)
    SELECT status::text AS status FROM u`, [tenant, id, by]);
  return rows[0]?.status;
}

/** Ids of those that somebody is running, to be told. */
async function cancelChildren(client: Client, tenant: string, parent: string): Promise<string[]> {
  const { rows } = await client.query<{ id: string }>(`SELECT id FROM agent_runs WHERE tenant_id = $1 AND parent_id = $2 AND parent_path IS NOT NULL AND finished_at IS NULL ORDER BY id`, [tenant, parent]);
  const running: string[] = [];
  for (const { id } of rows) {
    const cancelled = await cancelTree(client, { tenant, id, user: undefined });
    running.push(...(cancelled?.runs ?? []).filter(({ ended }) => !ended).map((one) => one.id));
  }
  return running;
}

/** The run takes the first place among those that have not started, and they move on by one. A claim of one of them that is under
 *  way has looked already at who is first: that its time has moved too makes it look again. */
async function goFirst(client: Client, run: NewRun): Promise<void> {
  await client.query(`
    WITH q AS MATERIALIZED (SELECT tenant_id, id, session_seq FROM agent_runs WHERE tenant_id = $1 AND user_id = $2 AND session_id = $3 AND status IN ('queued', 'waiting') AND started_at IS NULL ORDER BY id FOR UPDATE),
    n AS (SELECT tenant_id, id, row_number() OVER (ORDER BY id <> $4, session_seq) AS place FROM q),
    p AS (SELECT session_seq, row_number() OVER (ORDER BY session_seq) AS place FROM q)
    UPDATE agent_runs r SET session_seq = p.session_seq, wake_at = CASE WHEN r.id = $4 OR r.wake_at IS NULL THEN r.wake_at ELSE greatest(r.wake_at, date_trunc('milliseconds', clock_timestamp()) + interval '2 ms') END
    FROM n JOIN p USING (place) WHERE r.tenant_id = n.tenant_id AND r.id = n.id`, [run.tenant, run.user, run.session, run.id]);
}

/** uuid of the run that took this one's place; null where none did. */
export async function interruptedBy(pool: EnginePool, tenant: string, id: string): Promise<string | null> {
  const { rows } = await pool.query<{ by: string | null }>(`SELECT interrupted_by AS by FROM agent_runs WHERE tenant_id = $1 AND id = $2`, [tenant, id]);
  return rows[0]?.by ?? null;
}
