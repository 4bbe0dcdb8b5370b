// Schedules that are due. One transaction fires one schedule: its occurrences, their runs and its next time are committed
// together or not at all, so that an occurrence is fired once whoever else looks, and a crash in between changes nothing.
import type { Misfire, Overlap, ScheduleTime } from '../../domain/schedule.ts';
import { inTransaction, type EnginePool } from './pool.ts';
import { submitRuns, type NewRun } from './submit.ts';

export interface DueSchedule {
  readonly tenant: string;
  /** uuid */
  readonly id: string;
  readonly name: string;
  readonly user: string | null;
  readonly session: string | null;
  readonly agent: string;
  readonly input: unknown;
  readonly metadata: unknown;
  readonly priority: number;
  readonly time: ScheduleTime;
  readonly overlap: Overlap;
  readonly misfire: Misfire;
  readonly graceMs: number;
  readonly endsMs: number | null;
  readonly nextMs: number;
  /** The latest occurrence on record: nothing up to it is fired again, whatever the row's next time says. */
  readonly lastMs: number | null;
  /** By the database's clock. */
  readonly nowMs: number;
  /** uuid of the last run it began, while that has not ended. */
  readonly unfinished: string | null;
}

export interface Firing {
  readonly runs: readonly { readonly occurrenceMs: number; readonly run: NewRun }[];
  readonly skipped: readonly { readonly occurrenceMs: number; readonly reason: string }[];
  /** null: there is no next one */
  readonly nextMs: number | null;
}

interface Row {
  tenant: string; id: string; name: string; user: string | null; session: string | null; agent: string; input: unknown; metadata: unknown; priority: number;
  cron: string | null; zone: string | null; everyMs: number | null; anchorMs: number; overlap: Overlap; misfire: Misfire; graceMs: number; endsMs: number | null; nextMs: number; lastMs: number | null; nowMs: number; unfinished: string | null;
}

const ms = (column: string): string => `(extract(epoch FROM ${column}) * 1000)::float8`;

/** Fires the schedule that has been due longest, as `decide` says. Undefined = none is due, or others are at them. */
export function fireOne(pool: EnginePool, decide: (schedule: DueSchedule) => Firing): Promise<{ readonly schedule: DueSchedule; readonly firing: Firing } | undefined> {
  return inTransaction(pool, async (client) => {
    const { rows } = await client.query<Row>(`
      SELECT s.tenant_id AS tenant, s.id, s.name, s.user_id AS "user", s.session_id AS session, s.agent, s.input, s.metadata, s.priority, s.cron, s.zone, s.every_ms::float8 AS "everyMs", ${ms('s.anchor_at')} AS "anchorMs",
        s.overlap::text AS overlap, s.misfire::text AS misfire, s.grace_ms::float8 AS "graceMs", ${ms('s.ends_at')} AS "endsMs", ${ms('s.next_at')} AS "nextMs", ${ms('clock_timestamp()')} AS "nowMs",
        (SELECT ${ms('max(o.occurrence)')} FROM schedule_occurrences o WHERE o.tenant_id = s.tenant_id AND o.schedule_id = s.id AND o.reason IS DISTINCT FROM 'run_now') AS "lastMs",
        (SELECT r.id FROM agent_runs r WHERE r.tenant_id = s.tenant_id AND r.id = s.last_run_id AND r.finished_at IS NULL) AS unfinished
      FROM schedules s WHERE s.paused_at IS NULL AND s.next_at <= now() ORDER BY s.next_at, s.id LIMIT 1 FOR UPDATE OF s SKIP LOCKED`);
    const [row] = rows;
    if (!row) return undefined;
    const { cron, zone, everyMs, anchorMs, ...rest } = row;
    const schedule: DueSchedule = { ...rest, time: cron !== null && zone !== null ? { cron, zone } : { everyMs: everyMs ?? 0, anchorMs } };
    const firing = decide(schedule);
    if (firing.runs.length > 0) await submitRuns(client, firing.runs.map(({ run }) => run));
    const occurrences = [...firing.runs.map(({ occurrenceMs, run }) => ({ at: occurrenceMs, outcome: 'fired', reason: null, run: run.id })), ...firing.skipped.map(({ occurrenceMs, reason }) => ({ at: occurrenceMs, outcome: 'skipped', reason, run: null }))];
    await client.query(`INSERT INTO schedule_occurrences (tenant_id, schedule_id, occurrence, outcome, reason, run_id, user_id)
      SELECT $1, $2, to_timestamp(o.at / 1000), o.outcome, o.reason, o.run, $4 FROM json_to_recordset($3::json) AS o(at float8, outcome occurrence_outcome, reason text, run uuid)`, [row.tenant, row.id, JSON.stringify(occurrences), row.user]);
    await client.query(`UPDATE schedules SET next_at = to_timestamp($3::float8 / 1000), last_run_id = coalesce($4, last_run_id), updated_at = now() WHERE tenant_id = $1 AND id = $2`,
      [row.tenant, row.id, firing.nextMs, firing.runs.at(-1)?.run.id ?? null]);
    return { schedule, firing };
  });
}

export interface NowSchedule { readonly tenant: string; readonly id: string; readonly user: string | null | undefined }

/** Fires a schedule now, whatever its time, beside its own occurrences. Undefined = no such schedule. */
export function fireNow(pool: EnginePool, { tenant, id, user }: NowSchedule, prepare: (schedule: Pick<DueSchedule, 'agent' | 'input' | 'metadata' | 'priority' | 'session' | 'user' | 'tenant' | 'id' | 'name'> & { readonly nowMs: number }) => NewRun): Promise<NewRun | undefined> {
  return inTransaction(pool, async (client) => {
    const { rows } = await client.query<Row>(`SELECT tenant_id AS tenant, id, name, user_id AS "user", session_id AS session, agent, input, metadata, priority, ${ms('clock_timestamp()')} AS "nowMs"
      FROM schedules WHERE tenant_id = $1 AND id = $2 AND ($3::boolean OR user_id IS NOT DISTINCT FROM $4) FOR UPDATE`, [tenant, id, user === undefined, user ?? null]);
    const [row] = rows;
    if (!row) return undefined;
    const run = prepare(row);
    await submitRuns(client, [run]);
    await client.query(`INSERT INTO schedule_occurrences (tenant_id, schedule_id, occurrence, outcome, reason, run_id, user_id) VALUES ($1, $2, to_timestamp($3::float8 / 1000), 'fired', 'run_now', $4, $5)`, [tenant, id, row.nowMs, run.id, row.user]);
    await client.query(`UPDATE schedules SET last_run_id = $3, updated_at = now() WHERE tenant_id = $1 AND id = $2`, [tenant, id, run.id]);
    return run;
  });
}
