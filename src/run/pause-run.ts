// Pause a run, and let one go on that was paused or stands since a restore of the database. A run that is running stops at its next checkpoint; one that sleeps keeps its time, one that
// waits for a person or a message looks again when it goes on. While it is paused nothing moves it but a cancel.
import { MainstayError } from '../domain/errors.ts';
import { pauseRun, resumeRun } from '../store/engine/control.ts';
import { auditedRun, hasEnded, noSuchRun, offerRun, targetOf, type ControlDeps, type ControlRequest } from './control.ts';

/** Resolves once the wish is committed; pausing twice is as good as once. Throws `not_found` and `run_finished`. */
export type PauseRun = (request: ControlRequest) => Promise<void>;
/** Throws `not_found`, `run_finished` and `not_paused`. */
export type ResumeRun = PauseRun;

export function makePauseRun(deps: ControlDeps): PauseRun {
  return async (request) => {
    const { pool: queue, tenantId, id } = await auditedRun(deps, request, 'run.paused', ({ finishedAt, status }) => { if (finishedAt !== null) throw hasEnded(status); });
    const answer = await pauseRun(deps.engine.pool, targetOf(request));
    if (answer === undefined) throw noSuchRun();
    if (answer === 'finished') throw hasEnded();
    if (answer === 'paused') await deps.dispatcher.withdraw(queue, tenantId, id);
  };
}

export function makeResumeRun(deps: ControlDeps): ResumeRun {
  const notPaused = (): MainstayError => new MainstayError('not_paused', 'Nobody has paused the run.');
  return async (request) => {
    const { tenantId, id } = await auditedRun(deps, request, 'run.resumed', ({ finishedAt, status, pauseRequestedAt, waitReason }) => {
      if (finishedAt !== null) throw hasEnded(status);
      if (pauseRequestedAt === null && waitReason !== 'restored') throw notPaused();
    });
    const answer = await resumeRun(deps.engine.pool, targetOf(request));
    if (answer === undefined) throw noSuchRun();
    if (answer === 'not_paused') throw notPaused();
    await offerRun(deps, tenantId, id);
  };
}
