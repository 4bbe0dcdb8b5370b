// A run's events as they happen, over server-sent events. It promises every event once and in order: a connection that
// broke, or fell silent longer than the server's heartbeat allows, is opened again after the last event that came. It ends
// after the run's terminal event, and must never end before it because a proxy closed a connection politely.
import type { LiveText, Run, RunEvent } from '../domain/wire.ts';
import { isPassing, MainstayApiError, unreachable } from './api-error.ts';
import { backoffMs, pause, type Http } from './http.ts';

export interface Follow {
  /** Begins after the event of this number. */
  readonly after?: number;
  readonly signal?: AbortSignal | undefined;
  /** Told the text of the model as it comes, before it is on record; without it the server sends none. */
  readonly onText?: ((piece: LiveText) => void) | undefined;
}

export interface ServerSentEvent { readonly id: string | undefined; readonly event: string; readonly data: string }

/** The server says something every 15 seconds, if only that it is there; three times that is a dead connection. */
const SILENCE_MS = 45_000;
/** Connections that failed one after the other, none of which brought a sign of life, before the stream gives up: about a minute. */
const STREAM_RETRIES = 10;

const TERMINAL = /^run\.(completed|failed|cancelled|expired)$/;

export async function* followRun(http: Http, runPath: string, { after = 0, signal, onText }: Follow): AsyncGenerator<RunEvent, void, undefined> {
  let seen = after;
  let failures = 0;
  let sawEnd = false; // the run had ended before the last connection was opened
  for (;;) {
    const connection = openEvents(http, `${runPath}/events`, seen, signal, onText !== undefined);
    let brought = false;
    const text = openTexts(onText);
    try {
      for await (const message of connection) {
        failures = 0;
        if (message === 'heartbeat') continue;
        if (message.event.startsWith('text.')) { text.tell(JSON.parse(message.data) as LiveText); continue; }
        const event = JSON.parse(message.data) as RunEvent;
        if (event.seq <= seen) continue; // told again by the server after a resume
        seen = event.seq;
        brought = true;
        yield event;
        if (TERMINAL.test(event.type)) return;
      }
    } catch (error) {
      text.withdraw(); // the next connection tells it from its beginning
      if (!isPassing(error) || failures >= STREAM_RETRIES) throw error;
      await pause(backoffMs(failures, error.retryAfterS), signal);
      failures += 1;
      continue;
    }
    // Closed in order, without the terminal event: by a proxy, by an API that stops, or because all of it lies before `after`.
    text.withdraw();
    if (sawEnd && !brought) return;
    sawEnd = (await http.json<Run>(runPath, { signal })).finishedAt !== null;
    if (!sawEnd) await pause(backoffMs(0), signal);
  }
}

/** What one connection has told of turns that are not over. */
function openTexts(onText: Follow['onText']): { tell(piece: LiveText): void; withdraw(): void } {
  const open = new Set<string>();
  return {
    tell: (piece) => {
      if (piece.type === 'text.delta') open.add(piece.turn);
      else open.delete(piece.turn);
      onText?.(piece);
    },
    withdraw: () => { for (const turn of open) onText?.({ type: 'text.withdrawn', turn, provisional: false }); },
  };
}

/** One connection. Throws MainstayApiError when it breaks. */
async function* openEvents(http: Http, path: string, after: number, signal: AbortSignal | undefined, text: boolean): AsyncGenerator<ServerSentEvent | 'heartbeat', void, undefined> {
  const guard = new AbortController();
  const either = signal === undefined ? guard.signal : AbortSignal.any([signal, guard.signal]);
  let timer = setTimeout(() => guard.abort(new Error('the stream did not begin in time')), http.timeoutMs);
  const parser = makeParser();
  try {
    const response = await http.open(path, { signal: either, query: { after, ...(text ? { text: 'true' } : {}) }, headers: { accept: 'text/event-stream', ...(after > 0 ? { 'last-event-id': String(after) } : {}) } });
    const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      clearTimeout(timer);
      timer = setTimeout(() => guard.abort(new Error('the stream fell silent')), SILENCE_MS);
      const chunk = await reader?.read();
      if (chunk === undefined || chunk.done) return;
      if (/^:/m.test(chunk.value)) yield 'heartbeat'; // the server is there, though nothing happens
      yield* parser(chunk.value);
    }
  } catch (error) {
    signal?.throwIfAborted();
    throw error instanceof MainstayApiError ? error : unreachable(path, error);
  } finally {
    clearTimeout(timer);
    guard.abort(); // whoever stops reading closes the connection
  }
}

/** Reads pieces of a text/event-stream, cut anywhere; gives the events that are complete. */
export function makeParser(): (text: string) => ServerSentEvent[] {
  let rest = '';
  let id: string | undefined;
  let event = '';
  let data: string[] = [];
  return (text) => {
    const found: ServerSentEvent[] = [];
    rest += text;
    const lines = rest.split(/\r\n|\n|\r(?!$)/); // a CR at the very end may be half of a CRLF
    rest = lines.pop() ?? '';
    for (const line of lines) {
      if (line === '') {
        if (data.length > 0) found.push({ id, event: event || 'message', data: data.join('\n') });
        [event, data] = ['', []];
        continue;
      }
      const [, name, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
      if (name === 'data') data.push(value);
      else if (name === 'event') event = value;
      else if (name === 'id') id = value;
    }
    return found;
  };
}
