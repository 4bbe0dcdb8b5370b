// "Why is it not moving": one cause out of what is known of a run. The first that applies in a fixed order is the answer, so
// that two people who ask are told the same; each says since when, what it is about and which command moves it. Pure: the
// facts come in with the database's clock, and nothing here looks anything up.
import { whoseBudget } from './budget.ts';
import { ERRORS } from './errors.ts';
import type { RunStatus, WaitReason } from './status.ts';
import { STEP_GRACE_MS } from './tunables.ts';

/** In the order in which they are looked for. */
export const CAUSES = [
  'ended', 'cancelling', 'expiring', 'paused', 'restored', 'approval', 'signal', 'child', 'outcome', 'timer', 'batch', 'budget', 'breaker', 'spend_limit', 'quota', 'rate_limited', 'lock', 'rate',
  'running', 'overdue', 'retry', 'not_due', 'no_worker', 'version', 'session', 'tenant_limit', 'agent_limit', 'key_limit', 'orphaned', 'suspect', 'ready', 'parked', 'not_offered', 'queue_silent',
] as const;
export type Cause = (typeof CAUSES)[number];

/** Where a run stands in the ready queue. */
export interface QueuePlace {
  /** `ready`: its tenant is served; `parked`: the tenant has no free slot; `aside`: its agent or key has none; `none`: the ready
   *  queue does not hold the run. */
  readonly held: 'ready' | 'parked' | 'aside' | 'none';
  /** Runs of the same tenant that go before it (aside: those that wait for the same limit), and all it holds of the tenant. */
  readonly runsAhead: number;
  readonly runs: number;
  /** Tenants whose turn comes first, and all that have a run there. */
  readonly tenantsAhead: number;
  readonly tenants: number;
  /** Share of the tenant against others. */
  readonly weight: number;
}

/** How many runs may be running at once, and which are. */
export interface RunLimit {
  readonly of: 'tenant' | 'agent' | 'key';
  /** Of the agent or the key; of the tenant its id. */
  readonly name: string;
  readonly limit: number;
  readonly running: number;
  /** Those that run, the first few. */
  readonly holders: readonly string[];
}

/** What is known of a run; times in milliseconds since the epoch by the database's clock, runs by their public id. */
export interface RunFacts {
  readonly run: string;
  readonly status: RunStatus;
  readonly waitReason: WaitReason | null;
  readonly agent: string;
  readonly version: number;
  readonly pool: string;
  readonly step: string;
  readonly steps: number;
  readonly attempt: number;
  readonly crashes: number;
  readonly ranAlone: boolean;
  readonly cancelRequested: boolean;
  readonly errorCode: string | null;
  readonly errorMessage: string | null;
  readonly nowMs: number;
  readonly startedMs: number | null;
  readonly finishedMs: number | null;
  readonly wakeMs: number | null;
  readonly expiresMs: number | null;
  readonly deadlineMs: number | null;
  readonly pausedMs: number | null;
  /** The last thing that is on record of it. */
  readonly movedMs: number;
  /** Who holds it, also when dead. */
  readonly worker: { readonly name: string; readonly leaseUntilMs: number; readonly isAlive: boolean } | null;
  readonly liveWorkers: number;
  /** Versions of its agent that live workers of its pool run, and whether its own is one they claim. */
  readonly versions: readonly number[];
  readonly canRun: boolean;
  readonly pausedBy: string | null;
  readonly approvals: readonly { readonly id: string; readonly subject: string; readonly sinceMs: number; readonly expiresMs: number | null }[];
  /** Open waits of its current step. */
  readonly waits: readonly { readonly kind: string; readonly name: string; readonly sinceMs: number; readonly untilMs: number | null }[];
  /** Unfinished runs it waits for. */
  readonly children: readonly { readonly run: string; readonly status: RunStatus }[];
  /** Effects whose end nobody knows. */
  readonly unsettled: readonly { readonly stepSeq: number; readonly path: string; readonly tool: string; readonly sinceMs: number }[];
  /** Those it is paid from, the one it waits for first. */
  readonly budgets: readonly { readonly key: string; readonly roomMicroUsd: number; readonly limitMicroUsd: number }[];
  /** What its next call needs of the first of them. */
  readonly wantsMicroUsd: number | null;
  /** The last call of its step that was refused without being made. */
  readonly refused: { readonly callee: string; readonly code: string; readonly endedMs: number } | null;
  readonly failure: { readonly attempt: number; readonly code: string; readonly message: string } | null;
  /** The run of its session that goes before it. */
  readonly before: { readonly run: string; readonly status: RunStatus; readonly waitReason: WaitReason | null } | null;
  readonly tenant: string;
  /** Limits it is under: of the tenant, of its agent, of its key, in this order. */
  readonly limits: readonly RunLimit[];
  /** Failures of a step that its machine allows; null where this process does not know the machine. */
  readonly attempts: number | null;
  /** Until when the breaker of the refused callee stays open; null = it is closed, or nobody can say. */
  readonly breakerUntilMs: number | null;
  /** Resources its machine wants that somebody holds. */
  readonly locks: readonly string[];
  /** null = Redis does not answer. */
  readonly place: QueuePlace | null;
}

export interface Explanation {
  readonly because: Cause;
  /** For a person. */
  readonly sentence: string;
  readonly sinceMs: number | null;
  readonly details: Readonly<Record<string, unknown>>;
  /** What moves it; null = nothing but time, or what the sentence says. */
  readonly command: string | null;
}

type Look = (facts: RunFacts) => Explanation | undefined;

/** The one answer. */
export function explain(facts: RunFacts): Explanation {
  for (const look of LOOKS) {
    const found = look(facts);
    if (found) return found;
  }
  return queue(facts);
}

const iso = (ms: number): string => new Date(ms).toISOString();
const until = (ms: number | null): string => (ms === null ? '' : ` until ${iso(ms)}`);
const many = (count: number, word: string): string => `${count} ${word}${count === 1 ? '' : 's'}`;
/** A wait whose time has come is a due run like any other. */
const parks = (facts: RunFacts): boolean => facts.status === 'waiting' && (facts.wakeMs === null || facts.wakeMs > facts.nowMs);

const LOOKS: readonly Look[] = [ended, cancelling, expiring, held, asked, effects, timed, refusedCall, rate, running, backOff, workers, session, limit, suspect];

function ended({ run, status, finishedMs, errorCode, errorMessage }: RunFacts): Explanation | undefined {
  if (finishedMs === null) return undefined;
  const advice = errorCode !== null && Object.hasOwn(ERRORS, errorCode) ? ERRORS[errorCode as keyof typeof ERRORS].advice : null;
  const why = errorCode === null ? '' : ` with ${errorCode}${errorMessage === null ? '' : `: ${errorMessage}`}`;
  return { because: 'ended', sentence: `It ended: ${status}${why}.${advice === null ? '' : ` ${advice}`}`, sinceMs: finishedMs, details: { errorCode, errorMessage, advice }, command: status === 'completed' ? null : `mainstay runs retry ${run}` };
}

function cancelling({ cancelRequested, worker, movedMs }: RunFacts): Explanation | undefined {
  if (!cancelRequested) return undefined;
  return { because: 'cancelling', sentence: `Its cancel was asked for; ${worker?.isAlive === true ? `worker ${worker.name} is told and ends it` : 'the next worker that claims it ends it'}.`, sinceMs: movedMs, details: { worker: worker?.name ?? null }, command: null };
}

function expiring({ status, startedMs, expiresMs, nowMs }: RunFacts): Explanation | undefined {
  if (status !== 'queued' || startedMs !== null || expiresMs === null || expiresMs > nowMs) return undefined;
  return { because: 'expiring', sentence: `It had to start by ${iso(expiresMs)} and has not: maintenance ends it as expired.`, sinceMs: expiresMs, details: { expiresAt: iso(expiresMs) }, command: null };
}

function held({ run, waitReason, pausedBy, pausedMs, movedMs }: RunFacts): Explanation | undefined {
  if (waitReason === 'paused') return { because: 'paused', sentence: `It was paused${pausedBy === null ? '' : ` by ${pausedBy}`}.`, sinceMs: pausedMs ?? movedMs, details: { by: pausedBy }, command: `mainstay runs resume ${run}` };
  if (waitReason === 'restored') return { because: 'restored', sentence: 'The database was restored from a backup: it waits until a person releases it.', sinceMs: movedMs, details: {}, command: `mainstay runs resume ${run}` };
  return undefined;
}

/** Waits that news from outside ends. */
function asked(facts: RunFacts): Explanation | undefined {
  const { run, waitReason, approvals, waits, children, wakeMs, movedMs } = facts;
  if (!parks(facts)) return undefined;
  if (waitReason === 'approval') {
    const [first] = approvals;
    const what = first === undefined ? 'a decision' : `a decision about "${first.subject}"${until(first.expiresMs)}`;
    return { because: 'approval', sentence: `It waits for ${what}.`, sinceMs: first?.sinceMs ?? movedMs, details: { approvals: approvals.map(({ id, subject, expiresMs }) => ({ id, subject, expiresAt: expiresMs === null ? null : iso(expiresMs) })) }, command: first === undefined ? null : `mainstay approvals approve ${first.id}` };
  }
  if (waitReason === 'signal') {
    const open = waits.filter(({ kind }) => kind === 'signal');
    const names = open.map(({ name }) => `"${name}"`).join(' and ');
    return { because: 'signal', sentence: `It waits for the signal ${names}${until(wakeMs)}.`, sinceMs: open[0]?.sinceMs ?? movedMs, details: { signals: open.map(({ name }) => name), until: wakeMs === null ? null : iso(wakeMs) }, command: open[0] === undefined ? null : `mainstay runs signal ${run} ${quoted(open[0].name)}` };
  }
  if (waitReason === 'child') {
    return { because: 'child', sentence: `It waits for ${children.length === 1 ? `its child ${children[0]?.run}, which is ${children[0]?.status}` : many(children.length, 'child run')}${until(wakeMs)}.`, sinceMs: waits.find(({ kind }) => kind === 'child')?.sinceMs ?? movedMs, details: { children }, command: children[0] === undefined ? null : `mainstay explain ${children[0].run}` };
  }
  return undefined;
}

function effects(facts: RunFacts): Explanation | undefined {
  const { run, waitReason, unsettled, movedMs } = facts;
  if (!parks(facts) || waitReason !== 'outcome') return undefined;
  const [call] = unsettled;
  return {
    because: 'outcome', sentence: `Nobody knows whether ${call?.tool ?? 'an effect'} took effect: a person must say what became of the call.`, sinceMs: call?.sinceMs ?? movedMs,
    details: { calls: unsettled.map(({ stepSeq, path, tool }) => ({ stepSeq, path, tool })) }, command: call === undefined ? null : `mainstay runs settle ${run} --step ${call.stepSeq} --path ${call.path} --outcome WHAT`,
  };
}

function timed(facts: RunFacts): Explanation | undefined {
  const { waitReason, wakeMs, movedMs, budgets, wantsMicroUsd } = facts;
  if (!parks(facts)) return undefined;
  const details = { until: wakeMs === null ? null : iso(wakeMs) };
  if (waitReason === 'timer') return { because: 'timer', sentence: `It waits${until(wakeMs)}, as its step asked.`, sinceMs: movedMs, details, command: null };
  if (waitReason === 'batch') return { because: 'batch', sentence: 'Its model call waits in the batch lane: for its batch to be sent, or to come back.', sinceMs: movedMs, details, command: null };
  if (waitReason !== 'budget') return undefined;
  const [tight] = budgets;
  const which = tight === undefined ? 'A budget' : `The budget of ${whoseBudget(tight.key)} has ${tight.roomMicroUsd} micro-dollars left, which`;
  const need = wantsMicroUsd === null ? '' : `, which may cost ${wantsMicroUsd}`;
  return {
    because: 'budget', sentence: `${which} is too little for its next call${need}: raise it, and it goes on at once.${wakeMs === null ? '' : ` By itself it goes on when the budget begins anew, at ${iso(wakeMs)}.`}`,
    sinceMs: movedMs, details: { ...details, budgets, wantsMicroUsd }, command: tight === undefined ? null : raising(tight.key),
  };
}

/** The command that raises a budget; the person names the limit. */
function raising(key: string): string {
  const [, kind = '', name = '', window = ''] = /^(tenant|agent|user|run):?(.*)\/(.+)$/.exec(key) ?? [];
  const whose = kind === 'tenant' ? '' : ` --${kind} ${quoted(kind === 'run' ? `run_${name.replaceAll('-', '')}` : name)}`;
  return `mainstay budgets set${whose}${window === 'total' ? '' : ` --window ${window}`} --limit DOLLARS`;
}

function refusedCall(facts: RunFacts): Explanation | undefined {
  const { waitReason, wakeMs, refused, breakerUntilMs, locks } = facts;
  if (!parks(facts) || waitReason !== 'rate' || refused === null) return undefined;
  if (locks.length > 0 && breakerUntilMs === null) return undefined; // an earlier try was refused; what stands in the way now is the lock
  const callee = refused.callee.replace(':', ' ');
  const details = { callee: refused.callee, until: wakeMs === null ? null : iso(wakeMs), breakerUntil: breakerUntilMs === null ? null : iso(breakerUntilMs) };
  if (refused.code === 'rate_limited') return { because: 'rate_limited', sentence: `The ${callee} limits how often it is called: the run calls again at ${iso(wakeMs ?? facts.nowMs)}.`, sinceMs: refused.endedMs, details, command: null };
  if (refused.code === 'quota_exhausted') return { because: 'quota', sentence: `The quota of tokens is used up: the run calls the ${callee} when its window is over, at ${iso(wakeMs ?? facts.nowMs)}.`, sinceMs: refused.endedMs, details, command: 'mainstay quotas list' };
  if (refused.code === 'spend_limit') {
    return { because: 'spend_limit', sentence: `The provider’s spend limit is reached, so the ${callee} is not called until ${iso(wakeMs ?? facts.nowMs)}: raise the limit there and close the breaker, and the run goes on at once.`, sinceMs: refused.endedMs, details, command: `mainstay breakers close ${refused.callee}` };
  }
  return { because: 'breaker', sentence: `The ${callee} fails too often: its breaker is ${breakerUntilMs === null ? 'closed again' : `open until ${iso(breakerUntilMs)}`}, the run calls again at ${iso(wakeMs ?? facts.nowMs)}.`, sinceMs: refused.endedMs, details, command: null };
}

function rate(facts: RunFacts): Explanation | undefined {
  const { waitReason, wakeMs, locks, movedMs } = facts;
  if (!parks(facts) || waitReason !== 'rate') return undefined;
  const details = { locks, until: wakeMs === null ? null : iso(wakeMs) };
  if (locks.length > 0) return { because: 'lock', sentence: `Another run holds ${locks.map((lock) => `"${lock}"`).join(' and ')}: it asks again at ${iso(wakeMs ?? facts.nowMs)}.`, sinceMs: movedMs, details, command: null };
  return { because: 'rate', sentence: `A tool's resource is in use, or another run has the same effect under way: it asks again at ${iso(wakeMs ?? facts.nowMs)}.`, sinceMs: movedMs, details, command: null };
}

function running(facts: RunFacts): Explanation | undefined {
  const { run, status, worker, nowMs, deadlineMs, movedMs, step, steps, attempt, attempts, crashes, ranAlone, pausedMs } = facts;
  if (status !== 'running' || worker?.isAlive !== true) return undefined;
  const details = {
    worker: worker.name, step, steps, attempt, attempts, leaseLeftMs: Math.round(worker.leaseUntilMs - nowMs), deadline: deadlineMs === null ? null : iso(deadlineMs), crashes, alone: ranAlone, pausing: pausedMs !== null,
  };
  if (deadlineMs !== null && deadlineMs + STEP_GRACE_MS < nowMs) return { because: 'overdue', sentence: `Step "${step}" is past its deadline of ${iso(deadlineMs)} and worker ${worker.name} has not ended it: any other worker takes it over.`, sinceMs: deadlineMs, details, command: `mainstay runs cancel ${run}` };
  const more = pausedMs !== null ? ' It pauses when the step has ended.' : crashes > 0 ? ` Its worker died ${many(crashes, 'time')} in this step${ranAlone ? ', so it runs alone' : ''}.` : '';
  return { because: 'running', sentence: `Worker ${worker.name} runs its step "${step}"${attempt > 0 ? `, try ${attempt + 1}` : ''}${deadlineMs === null ? '' : `, at the latest until ${iso(deadlineMs)}`}.${more}`, sinceMs: movedMs, details, command: null };
}

function backOff(facts: RunFacts): Explanation | undefined {
  const { status, wakeMs, nowMs, attempt, attempts, failure, movedMs, startedMs, step, crashes } = facts;
  if (status !== 'queued' || wakeMs === null || wakeMs <= nowMs) return undefined;
  if (attempt === 0 && crashes > 0) return apart(facts); // handed back, because the others did not make way
  const details = { until: iso(wakeMs), step, attempt, attempts, failure };
  if (attempt === 0 || startedMs === null) return { because: 'not_due', sentence: `It may not ${startedMs === null ? 'start' : 'go on'} before ${iso(wakeMs)}.`, sinceMs: movedMs, details: { until: iso(wakeMs) }, command: null };
  return { because: 'retry', sentence: `Step "${step}" failed ${attempt}${attempts === null ? '' : ` of ${attempts}`} times${failure === null ? '' : `, the last time with ${failure.code}: ${failure.message}`}; it is tried again at ${iso(wakeMs)}.`, sinceMs: movedMs, details, command: null };
}

function workers({ liveWorkers, canRun, pool, agent, version, versions, wakeMs, movedMs }: RunFacts): Explanation | undefined {
  if (liveWorkers === 0) return { because: 'no_worker', sentence: `No worker of the pool "${pool}" is alive.`, sinceMs: wakeMs ?? movedMs, details: { pool }, command: `mainstay worker --pool ${pool}` };
  if (canRun) return undefined;
  const have = versions.length === 0 ? 'none at all' : `only ${versions.join(', ')}`;
  return { because: 'version', sentence: `Blocked by its version: no live worker runs ${agent} version ${version}; they have ${have}.`, sinceMs: wakeMs ?? movedMs, details: { agent, version, versions, liveWorkers }, command: null };
}

function session({ status, before, wakeMs }: RunFacts): Explanation | undefined {
  if (status === 'running' || before === null) return undefined;
  return { because: 'session', sentence: `Its session is held by ${before.run}, which is ${before.waitReason === null ? before.status : `waiting: ${before.waitReason}`}.`, sinceMs: wakeMs, details: { holder: before }, command: `mainstay explain ${before.run}` };
}

function limit({ status, tenant, limits, wakeMs }: RunFacts): Explanation | undefined {
  const full = limits.find(({ limit: most, running }) => running >= most);
  if (status === 'running' || full === undefined) return undefined;
  const { of, name, limit: most, running, holders } = full;
  const who = { tenant: 'The tenant', agent: `Agent ${name}`, key: `The key "${name}"` }[of];
  const held = `${many(running, 'run')} of the ${most} that may be running at once${holders[0] === undefined ? '' : `, ${holders[0]} among them`}`;
  const more = { tenant: '', agent: ` --agent ${quoted(name)}`, key: '' }[of];
  return {
    because: `${of}_limit`, sentence: `${who} has ${held}: it goes on when one of them ends${of === 'key' ? '; the limit of a key is given with each run' : ''}.`, sinceMs: wakeMs,
    details: { of, name, limit: most, running, holders }, command: of === 'key' ? null : `mainstay tenants limit ${tenant}${more} --max-running ${most + 1}`,
  };
}

function suspect({ status, crashes, worker, wakeMs, nowMs, movedMs }: RunFacts): Explanation | undefined {
  if (status === 'running') return { because: 'orphaned', sentence: `Worker ${worker?.name ?? '(unknown)'} died while it ran; another takes it over within seconds.`, sinceMs: worker?.leaseUntilMs ?? movedMs, details: { worker: worker?.name ?? null, crashes: crashes + 1 }, command: null };
  return crashes === 0 ? undefined : apart({ crashes, wakeMs, nowMs, movedMs });
}

function apart({ crashes, wakeMs, nowMs, movedMs }: Pick<RunFacts, 'crashes' | 'wakeMs' | 'nowMs' | 'movedMs'>): Explanation {
  const again = wakeMs !== null && wakeMs > nowMs ? `; it is offered again at ${iso(wakeMs)}` : '';
  return { because: 'suspect', sentence: `Its worker died ${many(crashes, 'time')} while it ran: it is run apart from others, by a worker that has made way${again}.`, sinceMs: movedMs, details: { crashes }, command: null };
}

function queue({ place, wakeMs, pool }: RunFacts): Explanation {
  if (place === null) return { because: 'queue_silent', sentence: 'Redis does not answer: workers with a free place claim due runs from Postgres, one round a second.', sinceMs: wakeMs, details: {}, command: 'mainstay doctor' };
  const { held: state, ...details } = place;
  if (state === 'none') return { because: 'not_offered', sentence: 'It is due and the ready queue does not hold it: a worker is claiming it, or maintenance offers it within a second.', sinceMs: wakeMs, details, command: `mainstay rebuild queue --pool ${pool}` };
  if (state === 'parked') return { because: 'parked', sentence: 'Its tenant has no free slot in the ready queue: it goes on when one of the tenant’s runs ends.', sinceMs: wakeMs, details, command: null };
  if (state === 'aside') return { because: 'parked', sentence: `Its agent or its key has no free slot in the ready queue: it goes on when a run of that limit ends; ${many(place.runsAhead, 'run')} of it go first.`, sinceMs: wakeMs, details, command: null };
  return {
    because: 'ready', sentence: `It is in the ready queue: ${many(place.runsAhead, 'run')} of its own tenant and ${many(place.tenantsAhead, 'tenant')} of ${place.tenants} go first (weight ${place.weight}).`, sinceMs: wakeMs, details, command: null,
  };
}

/** A name as one word of a shell. */
const quoted = (name: string): string => (/^[\w.@:-]+$/.test(name) ? name : `'${name.replaceAll("'", `'\\''`)}'`);
