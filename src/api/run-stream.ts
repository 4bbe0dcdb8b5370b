// Following a run: waiting for its end, and its feed as a stream of server-sent events. Both look at the run's row and only
// then at its events, in one transaction: an event has its number from the run's row, so whatever number the row shows, every
// event up to it is there to be read and none is missed. A stream survives a Postgres that restarts; it ends after the
// run's last event, when its key no longer lives, when the caller leaves and when the server stops.
import type { FastifyReply } from 'fastify';
import { monoMs, pause } from '../clock.ts';
import { codeOf } from '../domain/errors.ts';
import { FEED_PAGE, FOLLOW_POLL_MS, STREAM_RETRY_MS } from '../domain/tunables.ts';
import { LIVE_START, LiveReader, type LiveEntry, type LiveText } from '../limits/live-text.ts';
import type { AppStore, Scope } from '../store/app-store.ts';
import { feed, getRun, runPosition, type AgentRun, type FeedEvent } from '../store/read-runs.ts';
import * as views from './views.ts';

/** Aborts when the caller is gone or the server stops. */
export function leftBehind(reply: FastifyReply, stopping: AbortSignal): AbortSignal {
  const gone = new AbortController();
  reply.raw.once('close', () => gone.abort());
  return AbortSignal.any([gone.signal, stopping]);
}

/** The run as soon as it has ended, or as it is after `waitS` seconds. Undefined: there is none in this scope. */
export async function runWhenEnded(store: AppStore, scope: Scope, id: string, waitS: number, signal: AbortSignal): Promise<AgentRun | undefined> {
  for (const endMs = monoMs() + waitS * 1_000; monoMs() < endMs && !signal.aborted;) {
    const position = await store.withTenant(scope, (tx) => runPosition(tx, id));
    if (!position || position.finished) break;
    await pause(Math.min(FOLLOW_POLL_MS, Math.max(0, endMs - monoMs())), signal);
  }
  return store.withTenant(scope, (tx) => getRun(tx, id));
}

export interface Following {
  readonly store: AppStore;
  readonly scope: Scope;
  /** uuid */
  readonly run: string;
  /** The last event the caller has. */
  readonly after: number;
  readonly signal: AbortSignal;
  readonly heartbeatMs: number;
  /** Also the text of turns while they stream; undefined: events only. */
  readonly live: LiveText | undefined;
  /** False once the caller's key is revoked or has expired; asked at heartbeats. */
  keyLives(): Promise<boolean>;
}

/** The text of the stream, piece by piece. */
export async function* streamOf({ store, scope, run, after, signal, heartbeatMs, live, keyLives }: Following): AsyncGenerator<string, void> {
  yield `retry: ${STREAM_RETRY_MS}\n\n`; // also sends the headers
  let seen = after;
  let beatMs = monoMs() + heartbeatMs;
  const reader = new LiveReader();
  let liveAt = LIVE_START;
  while (!signal.aborted) {
    const pieces = await live?.read(run, liveAt) ?? [];
    liveAt = pieces.at(-1)?.id ?? liveAt;
    const found = await lookAgain(store, scope, run, seen);
    for (const piece of reader.take(pieces)) yield liveTextOf(piece);
    if (found.ended) for (const piece of reader.end(found.events.some(({ type }) => type === 'run.completed') ? 'settled' : 'withdrawn')) yield liveTextOf(piece);
    for (const event of found.events) yield textOf(event);
    seen = found.events.at(-1)?.seq ?? seen;
    if (found.ended) return;
    if (monoMs() >= beatMs) {
      if (!(await keyLives())) return;
      yield ': still here\n\n';
      beatMs = monoMs() + heartbeatMs;
    }
    if (!found.more) await pause(FOLLOW_POLL_MS, signal);
  }
}

interface Found { readonly events: readonly FeedEvent[]; readonly more: boolean; readonly ended: boolean }

/** What came after `seen`. A store that does not answer is asked again: the caller has lost nothing yet. */
async function lookAgain(store: AppStore, scope: Scope, run: string, seen: number): Promise<Found> {
  try {
    return await store.withTenant(scope, async (tx) => {
      const position = await runPosition(tx, run);
      if (!position) return { events: [], more: false, ended: true };
      const events = position.eventSeq > seen ? await feed(tx, run, seen, FEED_PAGE) : [];
      const more = events.length === FEED_PAGE;
      return { events, more, ended: position.finished && !more };
    });
  } catch (error) {
    if (codeOf(error) !== 'unavailable') throw error;
    return { events: [], more: false, ended: false };
  }
}

/** Without an id: a stream that is taken up again goes on after the last event, and what was provisional is told anew or is on record. */
const liveTextOf = ({ turn, kind, text }: Omit<LiveEntry, 'id'>): string =>
  `event: text.${kind === 'text' ? 'delta' : kind}\ndata: ${JSON.stringify({ type: `text.${kind === 'text' ? 'delta' : kind}`, turn, ...(kind === 'text' ? { text } : {}), provisional: kind === 'text' })}\n\n`;

/** JSON has no line breaks outside of strings and escapes them inside: one `data` line is enough. */
function textOf(event: FeedEvent): string {
  const shown = views.event(event);
  return `id: ${shown.seq}\nevent: ${shown.type}\ndata: ${JSON.stringify(shown)}\n\n`;
}
