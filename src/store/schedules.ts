// Schedules as people make, see and change them, under row-level security. What they cause is written by the engine.
import type { Misfire, Overlap, ScheduleTime } from '../domain/schedule.ts';
import type { Schedule, ScheduleOccurrence } from '../generated/prisma/client.ts';
import type { TenantTx } from './app-store.ts';

export type { Schedule, ScheduleOccurrence };

export interface NewSchedule {
  readonly id: string;
  readonly name: string;
  readonly user: string | null;
  readonly session: string | null;
  readonly agent: string;
  /** JSON text */
  readonly input: string;
  readonly metadata: string;
  readonly priority: number;
  readonly time: ScheduleTime;
  readonly overlap: Overlap;
  readonly misfire: Misfire;
  readonly graceMs: number;
  readonly endsMs: number | null;
  readonly nextMs: number | null;
  readonly createdBy: string;
}

/** False: the tenant has a schedule of this name. */
export async function createSchedule(tx: TenantTx, schedule: NewSchedule): Promise<boolean> {
  const { time } = schedule;
  const made = await tx.db.$executeRaw`
    INSERT INTO schedules (tenant_id, id, name, user_id, session_id, agent, input, metadata, priority, cron, zone, every_ms, anchor_at, overlap, misfire, grace_ms, ends_at, next_at, created_by)
    VALUES (${tx.scope.tenant}, ${schedule.id}::uuid, ${schedule.name}, ${schedule.user}, ${schedule.session}, ${schedule.agent}, ${schedule.input}::json, ${schedule.metadata}::json, ${schedule.priority}::int,
      ${'cron' in time ? time.cron : null}, ${'cron' in time ? time.zone : null}, ${'everyMs' in time ? time.everyMs : null}::bigint, to_timestamp(${'everyMs' in time ? time.anchorMs : 0}::float8 / 1000),
      ${schedule.overlap}::schedule_overlap, ${schedule.misfire}::schedule_misfire, ${schedule.graceMs}::bigint, to_timestamp(${schedule.endsMs}::float8 / 1000), to_timestamp(${schedule.nextMs}::float8 / 1000), ${schedule.createdBy})
    ON CONFLICT (tenant_id, name) DO NOTHING`;
  return made === 1;
}

/** Newest first. */
export async function listSchedules(tx: TenantTx, { user, before, limit }: { user?: string | undefined; before?: string | undefined; limit: number }): Promise<Schedule[]> {
  return tx.own(await tx.db.schedule.findMany({ where: { tenantId: tx.scope.tenant, ...(user === undefined ? {} : { userId: user }), ...(before === undefined ? {} : { id: { lt: before } }) }, orderBy: { id: 'desc' }, take: limit }));
}

export async function getSchedule(tx: TenantTx, id: string): Promise<Schedule | undefined> {
  return tx.own(await tx.db.schedule.findMany({ where: { tenantId: tx.scope.tenant, id } }))[0];
}

/** What was fired and skipped, latest first. */
export async function listOccurrences(tx: TenantTx, id: string, { before, limit }: { before?: Date | undefined; limit: number }): Promise<ScheduleOccurrence[]> {
  return tx.own(await tx.db.scheduleOccurrence.findMany({ where: { tenantId: tx.scope.tenant, scheduleId: id, ...(before === undefined ? {} : { occurrence: { lt: before } }) }, orderBy: { occurrence: 'desc' }, take: limit }));
}

/** A paused schedule names no occurrences; what passes meanwhile is not made up. False = no such schedule. */
export async function pauseSchedule(tx: TenantTx, id: string): Promise<boolean> {
  return (await tx.db.$executeRaw`UPDATE schedules SET paused_at = coalesce(paused_at, now()), updated_at = now() WHERE tenant_id = ${tx.scope.tenant} AND id = ${id}::uuid`) === 1;
}

/** `nextMs`: the next occurrence from now on. */
export async function resumeSchedule(tx: TenantTx, id: string, nextMs: number | null): Promise<boolean> {
  return (await tx.db.$executeRaw`UPDATE schedules SET paused_at = NULL, next_at = to_timestamp(${nextMs}::float8 / 1000), updated_at = now() WHERE tenant_id = ${tx.scope.tenant} AND id = ${id}::uuid AND paused_at IS NOT NULL`) === 1;
}

/** Its runs and occurrences stay. */
export async function deleteSchedule(tx: TenantTx, id: string): Promise<boolean> {
  return (await tx.db.$executeRaw`DELETE FROM schedules WHERE tenant_id = ${tx.scope.tenant} AND id = ${id}::uuid`) === 1;
}

/** Of a schedule's row. */
export const timeOf = ({ cron, zone, everyMs, anchorAt }: Pick<Schedule, 'cron' | 'zone' | 'everyMs' | 'anchorAt'>): ScheduleTime =>
  (cron !== null && zone !== null ? { cron, zone } : { everyMs: Number(everyMs ?? 0), anchorMs: anchorAt.getTime() });
