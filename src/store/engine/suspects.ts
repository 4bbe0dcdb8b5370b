// Runs that were inside a step when their worker crashed. The claim counts the crash; here the worker that claimed one says
// that it now runs alone, which makes the next crash its own, or hands it back untouched. A run that is handed back was in no
// crash: its count stays as it was.
import type { ClaimedRun } from './claim.ts';
import type { EnginePool } from './pool.ts';

/** A held run goes back to the queue, or rests where somebody paused it. `r` is its row; the fence stands refused from now on. */
export const HANDED_BACK = (wakeInMs: string): string => `
  status = CASE WHEN r.pause_requested_at IS NULL THEN 'queued'::run_status ELSE 'waiting' END, wait_reason = CASE WHEN r.pause_requested_at IS NOT NULL THEN 'paused'::wait_reason END,
  wake_at = CASE WHEN r.pause_requested_at IS NULL THEN now() + ${wakeInMs}::float8 * interval '1 ms' END, resume_at = CASE WHEN r.pause_requested_at IS NOT NULL THEN now() END,
  fence = -r.fence, claimed_by = NULL, step_deadline_at = NULL, ran_alone = false`;

type Held = Pick<ClaimedRun, 'tenant' | 'id' | 'fence'> & { readonly claimedBy: string };
const IS_HELD = `r.tenant_id = $1 AND r.id = $2 AND r.fence = $3 AND r.claimed_by = $4`;
const heldBy = (run: Held): unknown[] => [run.tenant, run.id, run.fence, run.claimedBy];

/** Notes before the step begins (or when others join) whether the run is alone in its worker, and gives the step its whole
 *  time. False = fenced. */
export async function setAloneIfHeld(pool: EnginePool, run: Held, alone: boolean, stepMs: number): Promise<boolean> {
  const { rowCount } = await pool.query(`UPDATE agent_runs r SET ran_alone = $5, step_deadline_at = greatest(r.step_deadline_at, now() + $6::float8 * interval '1 ms') WHERE ${IS_HELD}`, [...heldBy(run), alone, stepMs]);
  return rowCount === 1;
}

/** Hands a run back before its step has begun. False = fenced. */
export async function handBackIfHeld(pool: EnginePool, run: Held, wakeInMs: number): Promise<boolean> {
  const { rowCount } = await pool.query(`UPDATE agent_runs r SET ${HANDED_BACK('$5')} WHERE ${IS_HELD}`, [...heldBy(run), wakeInMs]);
  return rowCount === 1;
}
