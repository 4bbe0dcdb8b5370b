// When a schedule fires. Pure: time comes in as a value. Cron expressions are read by a kept parser in the schedule's own
// zone, so that "at nine" stays at nine when the clocks change: a time that does not exist that day comes at the next one
// that does, one that exists twice comes once. Intervals count from their anchor and never drift.
import { CronExpressionParser } from 'cron-parser';
import { MainstayError } from './errors.ts';

export type ScheduleTime = { readonly cron: string; readonly zone: string } | { readonly everyMs: number; readonly anchorMs: number };

export const OVERLAPS = ['enqueue', 'skip', 'cancel_previous'] as const;
/** `skip`: at most one run at a time. `enqueue`: one after the other or side by side. `cancel_previous`: the newest wins. */
export type Overlap = (typeof OVERLAPS)[number];

export const MISFIRES = ['skip', 'fire_once', 'fire_all'] as const;
/** What becomes of occurrences nobody was there for: none, the last one, or each of them. */
export type Misfire = (typeof MISFIRES)[number];

/** Shortest time between two occurrences: below it a run of its own that waits is the better tool. */
export const MIN_INTERVAL_MS = 10_000;
/** Occurrences made up at most with `fire_all`; older ones are recorded as skipped. */
export const MAX_MADE_UP = 100;
/** Occurrences looked at in one go; a schedule that was away longer goes on with the next sweep. */
const MAX_LOOKED_AT = 1_000;

/** Throws `bad_request` for what is no time, no zone, or too often. */
export function checkTime(time: ScheduleTime, nowMs: number): void {
  if ('everyMs' in time) {
    if (!Number.isSafeInteger(time.everyMs) || time.everyMs < MIN_INTERVAL_MS) throw wrong('every', `An interval has at least ${MIN_INTERVAL_MS} milliseconds.`);
    return;
  }
  if (time.cron.trim().split(/\s+/).length !== 5) throw wrong('cron', 'A cron expression has five fields: minute, hour, day of month, month, day of week.');
  try { new Intl.DateTimeFormat('en', { timeZone: time.zone }); } catch { throw wrong('zone', `"${time.zone.slice(0, 60)}" is no IANA time zone, such as Europe/Berlin.`); }
  try { occurrencesAfter(time, nowMs, 1); } catch (error) { throw wrong('cron', `"${time.cron.slice(0, 60)}" is no cron expression: ${error instanceof Error ? error.message.slice(0, 120) : ''}`); }
}

const wrong = (path: string, message: string): MainstayError => new MainstayError('bad_request', message, { fields: [{ path, message: 'not a time' }] });

/** The next moments after `afterMs`, at most `limit`; fewer where the expression has no more (29 February 2027 never comes). */
export function occurrencesAfter(time: ScheduleTime, afterMs: number, limit: number): number[] {
  if ('everyMs' in time) {
    const first = time.anchorMs + (Math.max(0, Math.floor((afterMs - time.anchorMs) / time.everyMs) + 1)) * time.everyMs;
    return Array.from({ length: limit }, (_, at) => first + at * time.everyMs);
  }
  const found: number[] = [];
  const expression = CronExpressionParser.parse(time.cron, { currentDate: new Date(afterMs), tz: time.zone });
  while (found.length < limit && expression.hasNext()) {
    const ms = expression.next().getTime();
    if (ms > (found.at(-1) ?? afterMs)) found.push(ms); // an hour that comes twice is one occurrence
  }
  return found;
}

export interface Due {
  /** To be fired now, oldest first. */
  readonly fire: readonly number[];
  /** To be recorded as skipped. */
  readonly skip: readonly number[];
  /** null: there is no next one */
  readonly nextMs: number | null;
}

/** What is due at `nowMs` of a schedule whose next occurrence was `nextMs`. */
export function dueOccurrences(time: ScheduleTime, policy: { readonly misfire: Misfire; readonly graceMs: number; readonly endsMs: number | null }, nextMs: number, nowMs: number): Due {
  const until = policy.endsMs ?? Infinity;
  const all = [nextMs, ...occurrencesAfter(time, nextMs, MAX_LOOKED_AT)].filter((ms) => ms <= until);
  const due = all.filter((ms) => ms <= nowMs);
  const next = all.find((ms) => ms > nowMs) ?? null;
  const late = due.filter((ms) => nowMs - ms > policy.graceMs);
  const onTime = due.filter((ms) => nowMs - ms <= policy.graceMs);
  const kept = policy.misfire === 'fire_all' ? late.slice(-MAX_MADE_UP) : policy.misfire === 'fire_once' && onTime.length === 0 ? late.slice(-1) : [];
  const dropped = new Set(kept);
  // Where more was missed than is looked at in one go, the next sweep goes on from the last one seen.
  const nextOf = due.length > MAX_LOOKED_AT ? due.at(-1) ?? null : next;
  return { fire: [...kept, ...onTime], skip: late.filter((ms) => !dropped.has(ms)), nextMs: nextOf };
}
