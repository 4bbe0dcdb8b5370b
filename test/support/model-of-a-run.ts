// A run as a value, and what each statement of the engine makes of it, written from the promises and not from the SQL: a
// second opinion. The interleavings compare what two sessions left behind with the orders this model allows; the table of
// moves compares one statement at a time. It knows one run, one signal name, one question and one tool call; what it does
// not know (sessions, parents, budgets) has tests of its own.

/** Where two sessions meet a run: `told` runs with a signal nobody has read, `dead` is held by a dead worker. */
export const MEETING_STATES = ['queued', 'running', 'told', 'dead', 'pausing', 'cancelling', 'signal', 'approval', 'outcome', 'paused', 'completed'] as const;
/** All there are: every status, every reason to wait; `due` is a timer whose time has come. */
export const STATES = [...MEETING_STATES, 'timer', 'due', 'child', 'batch', 'budget', 'rate', 'restored', 'failed', 'cancelled', 'expired'] as const;
export type State = (typeof STATES)[number];

export const MOVES = ['claim', 'reclaim', 'checkpoint', 'wait', 'finish', 'send', 'read', 'cancel', 'interrupt', 'pause', 'resume', 'fill', 'decide', 'intent', 'settle'] as const;
/** `reclaim`: the holder's lease ends and another claims. `intent`, `fill`, `read` and the commits come from the first holder. */
export type Move = (typeof MOVES)[number];
/** Which of two statements: each has workers, a wait and a decision of its own, but the key of their signal is the same. */
export type Side = 'a' | 'b';

/** A run's rows with everything taken out that differs from one play to the next. */
export interface RunImage {
  readonly status: string;
  readonly waitReason: string | null;
  readonly wake: 'now' | 'later' | null;
  readonly resume: 'now' | 'later' | null;
  /** 0: never claimed; 1: the first holder's; 2: a later one's; negative: parked or ended. */
  readonly fence: number;
  readonly holder: string | null;
  /** Whether the first holder's lease lasts. */
  readonly holderLives: boolean;
  readonly stepSeq: number;
  readonly stepClaims: number;
  readonly crashes: number;
  readonly inboxSeq: number;
  readonly eventSeq: number;
  /** `<seq> <type>`, steps among them as `step <name>`. */
  readonly events: readonly string[];
  readonly cancelRequested: boolean;
  readonly pauseRequested: boolean;
  readonly started: boolean;
  readonly finished: boolean;
  readonly unread: number;
  readonly consumed: number;
  /** Paths of recorded waits. */
  readonly records: readonly string[];
  readonly approval: string | null;
  readonly tool: string | null;
  readonly toolAttempts: number;
}

/** What the one who made a move was told. */
export type Answer = string;
export interface Told { readonly image: RunImage; readonly answer: Answer }

const BY_NEWS = ['signal', 'approval', 'child', 'outcome', 'budget', 'batch'];
const ENDED = ['completed', 'failed', 'cancelled', 'expired'];
/** What a wait of the first holder has read of the inbox: all there was when the run was made ready. */
export type InboxRead = number;

/** What the move makes of the run. `read`: the inbox as the first holder knows it. */
export function moved(image: RunImage, move: Move, side: Side, read: InboxRead): Told {
  switch (move) {
    case 'claim': return claimed(image, `claim ${side}`);
    case 'reclaim': return claimed({ ...image, holderLives: false }, `reclaim ${side}`);
    case 'checkpoint': return ifHeld(image, (run) => committed({ ...run, ...withStep(run, 'one') }, 'running', null, read));
    case 'wait': return ifHeld(image, (run) => committed(run, 'waiting', 'signal', read));
    case 'finish': return ifHeld(image, (run) => ended({ ...run, ...withStep(run, 'one') }));
    case 'send': return sent(image);
    case 'read': return readBy(image, side);
    case 'cancel': return cancelled(image);
    case 'interrupt': return interrupted(image);
    case 'pause': return paused(image);
    case 'resume': return resumed(image);
    case 'fill': return filled(image);
    case 'decide': return decided(image);
    case 'intent': return intended(image);
    case 'settle': return settled(image);
  }
}

const noted = (image: RunImage, type: string): RunImage => ({ ...image, eventSeq: image.eventSeq + 1, events: [...image.events, `${image.eventSeq + 1} ${type}`] });

function claimed(image: RunImage, worker: string): Told {
  const due = (image.status === 'queued' || image.status === 'waiting') && image.wake === 'now';
  const orphan = image.status === 'running' && image.holder === 'holder' && !image.holderLives;
  if (!due && !orphan) return { image, answer: 'refused' };
  const taken = { ...image, status: 'running', waitReason: null, fence: 2, holder: worker, stepClaims: image.stepClaims + 1, crashes: image.crashes + (orphan ? 1 : 0), started: true };
  return { image: image.started ? taken : noted(taken, 'run.started'), answer: image.cancelRequested ? 'claimed, to cancel' : 'claimed' };
}

function ifHeld(image: RunImage, work: (image: RunImage) => Told): Told {
  return image.fence === 1 && image.holder === 'holder' && image.stepSeq === 0 ? work(image) : { image, answer: 'fenced' };
}

const withStep = (run: RunImage, name: string): Partial<RunImage> => ({
  stepSeq: run.stepSeq + 1, eventSeq: run.eventSeq + 1, events: [...run.events, `${run.eventSeq + 1} step ${name}`], crashes: 0, stepClaims: 0,
});
const LET_GO = { holder: null, fence: -1 } as const;

/** A commit that does not end the run: a pause parks it, news that was not read sends it back to the queue. */
function committed(run: RunImage, status: 'running' | 'waiting', reason: string | null, read: InboxRead): Told {
  if (run.pauseRequested) return { image: noted({ ...run, ...(status === 'running' ? { stepClaims: 1 } : {}), ...LET_GO, status: 'waiting', waitReason: 'paused', wake: null, resume: 'now' }, 'run.paused'), answer: told(run, 'waiting') };
  if (status === 'running') return { image: { ...run, stepClaims: 1 }, answer: told(run, 'running') };
  if (run.cancelRequested || run.inboxSeq !== read) return { image: { ...run, ...LET_GO, status: 'queued', waitReason: null, wake: 'now' }, answer: told(run, 'queued') };
  return { image: { ...run, ...LET_GO, status, waitReason: reason, wake: null }, answer: told(run, 'waiting') };
}

const told = (run: RunImage, status: string): Answer => (run.cancelRequested ? `${status}, to cancel` : status);

function ended(run: RunImage): Told {
  return { image: noted({ ...run, ...LET_GO, status: 'completed', waitReason: null, resume: null, finished: true }, 'run.completed'), answer: told(run, 'completed') };
}

/** Something was sent: it is counted, and a wait that ends by news is over. */
function woken(image: RunImage): RunImage {
  const wakes = image.status === 'waiting' && BY_NEWS.includes(image.waitReason ?? '');
  return { ...image, inboxSeq: image.inboxSeq + 1, ...(wakes ? { status: 'queued', waitReason: null, wake: 'now' as const } : {}) };
}

function sent(image: RunImage): Told {
  if (image.finished) return { image, answer: 'finished' };
  if (image.unread + image.consumed > 0) return { image, answer: 'repeated' };
  return { image: { ...noted(woken(image), 'signal.received'), unread: image.unread + 1 }, answer: 'sent' };
}

const isHeld = (image: RunImage): boolean => image.status === 'running' && image.fence === 1 && image.holder === 'holder';

function readBy(image: RunImage, side: Side): Told {
  if (!isHeld(image)) return { image, answer: 'fenced' };
  if (image.unread === 0) return { image, answer: `nothing, inbox ${image.inboxSeq}` };
  return { image: { ...image, unread: image.unread - 1, consumed: image.consumed + 1, records: [...image.records, `wait ${side}`] }, answer: 'received' };
}

function cancelled(image: RunImage): Told {
  if (image.finished) return { image, answer: `already ${image.status}` };
  const asked = { ...image, cancelRequested: true, inboxSeq: image.inboxSeq + 1, waitReason: null };
  if (image.status === 'running') return { image: noted(asked, 'run.cancelling'), answer: 'running' };
  const withdrawn = image.approval === 'pending' ? 'withdrawn' : image.approval;
  return { image: noted({ ...asked, status: 'cancelled', finished: true, approval: withdrawn }, 'run.cancelled'), answer: 'cancelled' };
}

/** Another message takes its place: held, it is told; parked, it becomes due so that a worker ends it. */
function interrupted(image: RunImage): Told {
  if (image.finished || !image.started || image.cancelRequested) return { image, answer: 'left alone' };
  const asked = noted({ ...image, cancelRequested: true, inboxSeq: image.inboxSeq + 1, waitReason: null, resume: null, pauseRequested: false }, 'run.interrupting');
  return image.status === 'running' ? { image: asked, answer: 'running' } : { image: { ...asked, status: 'queued', wake: 'now' }, answer: 'queued' };
}

function paused(image: RunImage): Told {
  if (image.finished) return { image, answer: 'finished' };
  const answer = image.status === 'running' ? 'pausing' : 'paused';
  if (image.pauseRequested) return { image, answer };
  const asked = { ...image, pauseRequested: true };
  if (image.status === 'running') return { image: noted({ ...asked, resume: null }, 'run.pausing'), answer };
  const resume = BY_NEWS.includes(image.waitReason ?? '') ? null : image.wake;
  return { image: noted({ ...asked, status: 'waiting', waitReason: 'paused', wake: null, resume }, 'run.paused'), answer };
}

function resumed(image: RunImage): Told {
  const stands = image.waitReason === 'paused' || image.waitReason === 'restored';
  if (image.finished || !(image.pauseRequested || stands)) return { image, answer: 'not_paused' };
  const free = { ...image, pauseRequested: false, resume: null };
  if (!stands) return { image: noted(free, 'run.resumed'), answer: 'resumed' };
  return { image: noted({ ...free, status: 'queued', waitReason: null, wake: image.resume ?? 'now' }, 'run.resumed'), answer: 'resumed' };
}

const OPEN = ['intent', 'unknown'];

/** The result of the first holder's call: a fact. To that holder itself, while it still runs, it is no news. */
function filled(image: RunImage): Told {
  if (!OPEN.includes(image.tool ?? '')) return { image, answer: 'not filled' };
  const known = { ...image, tool: 'succeeded' };
  return { image: image.finished || image.fence === 1 ? known : woken(known), answer: 'filled' };
}

function decided(image: RunImage): Told {
  if (image.approval === null) return { image, answer: 'no question' };
  if (image.finished) return { image, answer: 'closed: withdrawn' };
  if (image.approval !== 'pending') return { image, answer: `closed: ${image.approval}` };
  return { image: noted({ ...woken(image), approval: 'approved' }, 'approval.decided'), answer: 'decided: approved' };
}

function intended(image: RunImage): Told {
  if (!isHeld(image)) return { image, answer: 'fenced' };
  if (image.tool === 'succeeded') return { image, answer: 'known' };
  return { image: { ...image, tool: 'intent', toolAttempts: image.toolAttempts + 1 }, answer: 'open' };
}

function settled(image: RunImage): Told {
  if (image.tool === null) return { image, answer: 'no call' };
  if (!OPEN.includes(image.tool)) return { image, answer: 'settled' };
  const known = { ...image, tool: 'succeeded' };
  return { image: image.finished ? known : noted(woken(known), 'outcome.settled'), answer: 'done' };
}

/** What must hold of a run whatever came before: faults in words. */
export function faultsOf(before: RunImage, after: RunImage): string[] {
  const faults: string[] = [];
  const require = (holds: boolean, words: string): void => { if (!holds) faults.push(words); };
  require(after.events.every((event, at) => Number(event.split(' ')[0]) === at + 1) && after.events.length === after.eventSeq, `events are not 1 to ${after.eventSeq}: ${after.events.join(', ')}`);
  require(before.events.every((event, at) => after.events[at] === event), 'an event or a step of before has changed');
  require(after.events.filter((event) => ENDED.some((word) => event.endsWith(` run.${word}`))).length === (after.finished ? 1 : 0), 'not exactly one terminal event');
  require(Math.abs(after.fence) >= Math.abs(before.fence), 'the fence fell');
  require(after.stepSeq === after.events.filter((event) => event.includes(' step ')).length, 'the number of steps and the step rows differ');
  require(!before.finished || (after.status === before.status && after.eventSeq === before.eventSeq), 'an ended run was moved');
  require(after.waitReason !== 'signal' || after.unread === 0, 'it waits for a signal that lies unread');
  require(after.waitReason !== 'approval' || after.approval === 'pending', 'it waits for an answer that was given');
  require(after.waitReason !== 'outcome' || after.tool !== 'succeeded', 'it waits for a result that is there');
  require(after.unread + after.consumed >= before.unread + before.consumed, 'a signal is gone');
  require(after.records.length === after.consumed, 'a signal was consumed by more or fewer waits than one');
  return faults;
}
