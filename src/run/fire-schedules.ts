// Fires what is due: the part of the sweep that turns schedules into runs. Every decision (which occurrences, what an
// unfinished run means, what was missed) is made from the row alone; an agent that is not registered any more skips its
// occurrence with the reason, and the schedule goes on.
import { codeOf } from '../domain/errors.ts';
import { dueOccurrences } from '../domain/schedule.ts';
import { faultPoint } from '../fault-points.ts';
import type { Metrics } from '../metrics.ts';
import { fireNow, fireOne, type DueSchedule, type Firing, type NowSchedule } from '../store/engine/schedules.ts';
import type { NewRun } from '../store/engine/submit.ts';
import type { CancelRun } from './cancel-run.ts';
import { offerIfFirst, prepareRun, type SubmitDeps } from './submit-run.ts';

export interface FireDeps extends Pick<SubmitDeps, 'engine' | 'registry' | 'dispatcher' | 'log' | 'defaultModel'> {
  readonly metrics: Pick<Metrics, 'runsSubmitted' | 'bound'>;
  readonly cancel: CancelRun;
}

/** Fires up to `limit` due schedules; answers how many runs began. */
export async function fireSchedules(deps: FireDeps, limit: number): Promise<number> {
  let begun = 0;
  for (let fired = 0; fired < limit; fired++) {
    const one = await fireOne(deps.engine.pool, (schedule) => planFiring(deps, schedule));
    if (!one) break;
    const { schedule, firing } = one;
    if (schedule.overlap === 'cancel_previous' && schedule.unfinished !== null && firing.runs.length > 0) await cancelPrevious(deps, schedule, schedule.unfinished);
    for (const { run } of firing.runs) await begin(deps, run);
    begun += firing.runs.length;
    if (firing.skipped.length > 0) deps.log.info({ tenant: schedule.tenant, schedule: schedule.id, skipped: firing.skipped.length, reason: firing.skipped.at(-1)?.reason }, 'occurrences skipped');
  }
  return begun;
}

/** One run of a schedule at once, besides its occurrences. Undefined = no such schedule. */
export async function runNow(deps: FireDeps, which: NowSchedule): Promise<string | undefined> {
  const run = await fireNow(deps.engine.pool, which, (schedule) => runOf(deps, schedule, schedule.nowMs, 'now'));
  if (run) await begin(deps, run);
  return run?.id;
}

export function planFiring(deps: Pick<FireDeps, 'registry' | 'defaultModel'>, schedule: DueSchedule): Firing {
  const due = dueOccurrences(schedule.time, schedule, schedule.nextMs, schedule.nowMs);
  const isNew = (ms: number): boolean => schedule.lastMs === null || ms > schedule.lastMs;
  const [fire, skip, nextMs] = [due.fire.filter(isNew), due.skip.filter(isNew), due.nextMs];
  const missed = skip.map((occurrenceMs) => ({ occurrenceMs, reason: 'missed' }));
  // With one run at a time, one of several due at once begins: the first where an older run may still be at it, the last where the newest wins.
  const [chosen, overlapping] = schedule.overlap === 'enqueue' ? [fire, []]
    : schedule.overlap === 'cancel_previous' ? [fire.slice(-1), fire.slice(0, -1)]
      : schedule.unfinished === null ? [fire.slice(0, 1), fire.slice(1)] : [[], fire];
  const skipped = [...missed, ...overlapping.map((occurrenceMs) => ({ occurrenceMs, reason: 'overlap' }))];
  try {
    return { runs: chosen.map((occurrenceMs) => ({ occurrenceMs, run: runOf(deps, schedule, occurrenceMs, 'at') })), skipped, nextMs };
  } catch (error) {
    return { runs: [], skipped: [...skipped, ...chosen.map((occurrenceMs) => ({ occurrenceMs, reason: codeOf(error) }))], nextMs };
  }
}

function runOf(deps: Pick<FireDeps, 'registry' | 'defaultModel'>, { tenant, id, name, user, session, agent, input, metadata, priority }: Pick<DueSchedule, 'tenant' | 'id' | 'name' | 'user' | 'session' | 'agent' | 'input' | 'metadata' | 'priority'>, atMs: number, kind: 'at' | 'now'): NewRun {
  return prepareRun(deps, {
    tenant, door: 'schedule', agent, input, user: user ?? undefined, session: session ?? undefined, priority, idempotencyKey: `schedule:${id}:${kind}:${atMs}`,
    metadata: { ...(metadata as Record<string, unknown>), schedule: name, occurrence: new Date(atMs).toISOString() },
  });
}

async function begin(deps: FireDeps, run: NewRun): Promise<void> {
  faultPoint('occurrence-fired');
  deps.metrics.runsSubmitted.inc({ agent: deps.metrics.bound('agent', run.agent), door: 'schedule' });
  await offerIfFirst(deps, run);
}

async function cancelPrevious({ cancel, log }: FireDeps, { tenant, id }: DueSchedule, run: string): Promise<void> {
  await cancel({ scope: { tenant }, id: run, actor: `schedule:${id}` }).catch((error: unknown) => {
    if (codeOf(error) !== 'run_finished') log.warn({ run, schedule: id, code: codeOf(error) }, 'the previous run was not cancelled'); // it ended by itself
  });
}
