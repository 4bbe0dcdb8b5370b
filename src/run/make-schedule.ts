// Make, change and end schedules: the use cases behind every door. What a schedule would submit is checked as a submission is,
// when it is made: a schedule that could only fail is refused. An audit line says who did what.
import { MainstayError } from '../domain/errors.ts';
import { storable } from '../domain/json.ts';
import { checkTime, occurrencesAfter, type Misfire, type Overlap, type ScheduleTime } from '../domain/schedule.ts';
import { wallMs } from '../clock.ts';
import { newId, publicId } from '../ids.ts';
import type { AppStore, Scope } from '../store/app-store.ts';
import { audit } from '../store/audit.ts';
import { createSchedule, deleteSchedule, getSchedule, pauseSchedule, resumeSchedule, timeOf, type Schedule } from '../store/schedules.ts';
import { prepareRun, type SubmitDeps } from './submit-run.ts';

export interface ScheduleDeps extends Pick<SubmitDeps, 'registry' | 'defaultModel'> { readonly store: AppStore }

export interface ScheduleRequest {
  readonly name: string;
  readonly agent: string;
  readonly input: unknown;
  readonly user?: string | undefined;
  readonly session?: string | undefined;
  readonly metadata?: unknown;
  readonly priority?: number | undefined;
  readonly cron?: string | undefined;
  readonly zone?: string | undefined;
  readonly everyMs?: number | undefined;
  readonly overlap?: Overlap | undefined;
  readonly misfire?: Misfire | undefined;
  readonly graceMs?: number | undefined;
  readonly endsAt?: string | undefined;
}

export interface ScheduleCaller { readonly scope: Scope; readonly actor: string }

/** An occurrence found later than this is a misfire, where the schedule says nothing. */
const GRACE_MS = 60_000;
const DAY_MS = 86_400_000;

export const noSuchSchedule = (): MainstayError => new MainstayError('not_found', 'There is no such schedule.');

/** Throws what a submission throws, and `bad_request` for what is no time or a name that is taken. */
export async function makeSchedule(deps: ScheduleDeps, caller: ScheduleCaller, request: ScheduleRequest): Promise<Schedule> {
  const nowMs = wallMs();
  const time = timeAsked(request, nowMs);
  checkTime(time, nowMs);
  const run = prepareRun(deps, { tenant: caller.scope.tenant, door: 'schedule', agent: request.agent, input: request.input, user: request.user, session: request.session, metadata: request.metadata, priority: request.priority });
  const graceMs = request.graceMs ?? GRACE_MS;
  if (!Number.isSafeInteger(graceMs) || graceMs < 1_000 || graceMs > 7 * DAY_MS) throw new MainstayError('bad_request', 'graceMs must be from 1000 to a week.', { fields: [{ path: 'graceMs', message: 'out of range' }] });
  const endsMs = request.endsAt === undefined ? null : Date.parse(request.endsAt);
  const [nextMs = null] = occurrencesAfter(time, nowMs, 1).filter((ms) => endsMs === null || ms <= endsMs);
  if (nextMs === null) throw new MainstayError('bad_request', 'The schedule would never fire.', { fields: [{ path: request.endsAt === undefined ? 'cron' : 'endsAt', message: 'no occurrence' }] });
  const id = newId();
  return deps.store.withTenant(caller.scope, async (tx) => {
    const made = await createSchedule(tx, {
      id, name: request.name, user: run.user, session: run.session, agent: run.agent, input: storable(request.input, 'input'), metadata: run.metadata, priority: run.priority, time,
      overlap: request.overlap ?? 'skip', misfire: request.misfire ?? 'fire_once', graceMs, endsMs, nextMs, createdBy: caller.actor,
    });
    if (!made) throw new MainstayError('bad_request', `There is a schedule named "${request.name}" already.`, { fields: [{ path: 'name', message: 'taken' }] });
    await audit(tx, { actor: caller.actor, userId: run.user, action: 'schedule.created', objectType: 'schedule', objectId: publicId('schedule', id), allowed: true });
    const row = await getSchedule(tx, id);
    if (!row) throw new Error('a schedule was made and is not there');
    return row;
  });
}

function timeAsked({ cron, zone, everyMs }: ScheduleRequest, nowMs: number): ScheduleTime {
  if ((cron === undefined) === (everyMs === undefined)) throw new MainstayError('bad_request', 'Give cron (with zone) or everyMs, and not both.', { fields: [{ path: 'cron', message: 'one of cron and everyMs' }] });
  if (cron === undefined) return { everyMs: everyMs ?? 0, anchorMs: nowMs };
  if (zone === undefined) throw new MainstayError('bad_request', 'A cron expression needs its time zone, such as Europe/Berlin or UTC.', { fields: [{ path: 'zone', message: 'required with cron' }] });
  return { cron, zone };
}

export type ScheduleChange = 'pause' | 'resume' | 'delete';
const DONE: Readonly<Record<ScheduleChange, string>> = { pause: 'schedule.paused', resume: 'schedule.resumed', delete: 'schedule.deleted' };

/** The schedule as it then is; as it was, where it is deleted. Throws `not_found`; `not_paused` for a resume of one that goes. */
export function changeSchedule({ store }: ScheduleDeps, { scope, actor }: ScheduleCaller, id: string, change: ScheduleChange): Promise<Schedule> {
  return store.withTenant(scope, async (tx) => {
    const row = await getSchedule(tx, id);
    if (!row) throw noSuchSchedule();
    if (change === 'pause') await pauseSchedule(tx, id);
    else if (change === 'delete') await deleteSchedule(tx, id);
    else if (!(await resumeSchedule(tx, id, nextOf(row)))) throw new MainstayError('not_paused', 'The schedule is not paused.');
    await audit(tx, { actor, userId: row.userId, action: DONE[change], objectType: 'schedule', objectId: publicId('schedule', id), allowed: true });
    return change === 'delete' ? row : (await getSchedule(tx, id)) ?? row;
  });
}

function nextOf(row: Schedule): number | null {
  const endsMs = row.endsAt?.getTime() ?? Infinity;
  return occurrencesAfter(timeOf(row), wallMs(), 1).find((ms) => ms <= endsMs) ?? null;
}
