// Submit many runs, all or none: every one is checked before anything is stored, one transaction stores them, few calls offer
// them. A refusal names each item it is about, as `runs.17.input.word`, and changes nothing. An item with `reject` is refused,
// and with it the rest, when its session has an unfinished run or an earlier item of the same bulk.
import { isMainstayError, MainstayError, messageOf, type ErrorCode } from '../domain/errors.ts';
import type { MultitaskStrategy } from '../domain/status.ts';
import { FIELDS_MAX } from '../domain/tunables.ts';
import type { Submitted } from '../store/engine/submit.ts';
import { readyRuns } from '../store/engine/sweeps.ts';
import { orUnavailable, prepareRun, refuseUnpriced, type SubmitDeps, type SubmitRequest, type SubmitResult } from './submit-run.ts';

/** All of one tenant; answers in their order. */
export type SubmitMany = (tenant: string, requests: readonly Omit<SubmitRequest, 'tenant' | 'debounce'>[]) => Promise<SubmitResult[]>;

export function makeSubmitMany(deps: Omit<SubmitDeps, 'tell'>): SubmitMany {
  return async (tenant, requests) => {
    const runs = checkEach(requests, (request) => prepareRun(deps, { ...request, multitaskStrategy: alone(request.multitaskStrategy), tenant }));
    await orUnavailable(refuseUnpriced(deps, runs));
    const rejecting = runs.filter((run, at) => run.session !== null && requests[at]?.multitaskStrategy === 'reject').map(({ id }) => id);
    const { submitted, busy } = await orUnavailable(deps.engine.submitTogether(runs, rejecting));
    const where = (holds: (at: number) => boolean): number[] => [...runs.keys()].filter(holds);
    refuseAt('session_busy', 'session', 'has an unfinished run', where((at) => busy.has(runs[at]?.id ?? '')));
    refuseAt('idempotency_conflict', 'idempotencyKey', 'was used with another request', where((at) => submitted[at]?.requestHash !== runs[at]?.requestHash));
    runs.forEach(({ agent }, at) => {
      if (submitted[at]?.created) deps.metrics.runsSubmitted.inc({ agent: deps.metrics.bound('agent', agent), door: deps.metrics.bound('door', requests[at]?.door ?? '') });
    });
    await offerMade(deps, tenant, submitted);
    return submitted.map(({ id, created, status }) => ({ id, created, status }));
  };
}

/** An interruption cannot be taken back when another of the bulk is refused, and a bulk is not said to a run under way. */
function alone(strategy: MultitaskStrategy | undefined): MultitaskStrategy | undefined {
  if (strategy !== 'interrupt' && strategy !== 'steer') return strategy;
  const message = `\`${strategy}\` is for a run submitted by itself`;
  throw new MainstayError('bad_request', `${message}.`, { fields: [{ path: 'multitask_strategy', message }] });
}

/** What `check` makes of each. Throws the error of the first that is refused, with the fields of all of them. */
export function checkEach<Item, Checked>(items: readonly Item[], check: (item: Item) => Checked): Checked[] {
  const refused: { at: number; error: MainstayError }[] = [];
  const checked = items.flatMap((item, at) => {
    try {
      return [check(item)];
    } catch (error) {
      if (!isMainstayError(error)) throw error;
      refused.push({ at, error });
      return [];
    }
  });
  const [first] = refused;
  if (!first) return checked;
  const fields = refused.flatMap(({ at, error: { fields: own, message } }) => (own.length === 0 ? [{ path: `runs.${at}`, message }] : own.map((field) => ({ path: `runs.${at}.${field.path}`, message: field.message }))));
  throw new MainstayError(first.error.code, `runs.${first.at}: ${first.error.message}${refused.length > 1 ? ` ${refused.length} of ${items.length} are refused.` : ''}`, { fields: fields.slice(0, FIELDS_MAX) });
}

function refuseAt(code: ErrorCode, field: string, message: string, places: readonly number[]): void {
  const fields = places.slice(0, FIELDS_MAX).map((at) => ({ path: `runs.${at}.${field}`, message }));
  if (fields.length > 0) throw new MainstayError(code, `${fields.map(({ path }) => path).join(', ')}${places.length > fields.length ? ` and ${places.length - fields.length} more` : ''}: ${message}; none is submitted.`, { fields });
}

/** Commit, then look: only heads of sessions are offered. Never rejects. */
async function offerMade({ engine, dispatcher, log }: Omit<SubmitDeps, 'tell'>, tenant: string, submitted: readonly Submitted[]): Promise<void> {
  const made = submitted.filter(({ created }) => created).map(({ id }) => id);
  try {
    if (made.length > 0) await dispatcher.offerMany(await readyRuns(engine.pool, tenant, made));
  } catch (error) {
    log.warn({ runs: made.length, error: messageOf(error) }, 'accepted, but not offered: maintenance will');
  }
}
