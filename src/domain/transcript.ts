// What the gate reads of a run: events with ids, each said by the user, by a tool or by the agent. Roles come from where
// the words were stored, never from the words; an event that carries injected memories is dropped by its mark, never by
// guessing at its text. Secrets, and personal data the tenant does not allow, are gone before anybody, the model included, sees a line.
import { redact, type PiiRules } from './pii.ts';
import { scrubSecrets } from './secrets.ts';
import type { SourceRole } from './status.ts';

/** Something that was said in a run, in order; `injected`: put into the prompt by us (recall, instructions). */
export interface RawEvent {
  readonly role: SourceRole;
  readonly tool?: string | undefined;
  readonly text: string;
  readonly atMs: number;
  readonly injected?: boolean | undefined;
}

export interface TranscriptEvent {
  /** `e1`, `e2`, … by position among what the gate may read. */
  readonly id: string;
  readonly role: SourceRole;
  readonly tool: string | undefined;
  readonly text: string;
  readonly atMs: number;
}

/** Characters of one event kept; a larger tool result keeps its beginning and its end. */
export const MAX_EVENT_CHARS = 12_000;
/** Characters of a transcript: about 15,000 tokens, far below the band where the extraction model's price rises. */
export const MAX_TRANSCRIPT_CHARS = 60_000;

/** Events as the model and the gate both see them. Quotes are checked against exactly these texts. */
export function eventsOf(raw: readonly RawEvent[], pii: PiiRules): TranscriptEvent[] {
  return raw.filter((event) => !event.injected && event.text.trim() !== '')
    .map((event, at) => ({ id: `e${at + 1}`, role: event.role, tool: event.role === 'tool' ? event.tool ?? 'unknown' : undefined, text: headAndTail(redact(scrubSecrets(event.text.toWellFormed().replaceAll('\u0000', '')), pii), MAX_EVENT_CHARS), atMs: event.atMs }));
}

/** The events a transcript of this length has room for: the beginning says what was wanted, the end what came of it; of the
 *  middle the user's words matter most. */
export function fitEvents(events: readonly TranscriptEvent[], maxChars = MAX_TRANSCRIPT_CHARS): TranscriptEvent[] {
  const lengths = events.map((event) => lineOf(event).length + 1);
  if (lengths.reduce((sum, length) => sum + length, 0) <= maxChars) return [...events];
  const kept = new Set<number>();
  let room = maxChars - 100;
  const keep = (at: number): void => {
    const length = lengths[at] ?? 0;
    if (kept.has(at) || length > room) return;
    kept.add(at);
    room -= length;
  };
  const order = outsideIn(events.length);
  order.slice(0, 20).forEach(keep);
  order.filter((at) => events[at]?.role === 'user').forEach(keep);
  order.forEach(keep);
  return events.filter((_, at) => kept.has(at));
}

/** One line per event, `[e12 user] text`; where events were left out, a line says how many. */
export function transcriptFor(events: readonly TranscriptEvent[], maxChars = MAX_TRANSCRIPT_CHARS): string {
  let last = 0;
  const end = Number(events.at(-1)?.id.slice(1) ?? 0);
  const kept = fitEvents(events, maxChars);
  const lines = kept.flatMap((event) => {
    const number = Number(event.id.slice(1));
    const missing = number - last - 1;
    last = number;
    return [...leftOut(missing), lineOf(event)];
  });
  return [...lines, ...leftOut(end - last)].join('\n');
}

const leftOut = (count: number): string[] => (count > 0 ? [`(${count} events left out)`] : []);

/** A text may not begin a line that looks like an event of its own: what follows its first line is indented. */
function lineOf(event: TranscriptEvent): string {
  const name = event.role === 'tool' ? `tool:${(event.tool ?? 'unknown').replace(/[^\w.-]/g, '_')}` : event.role;
  return `[${event.id} ${name}] ${event.text.trim().replace(/[\r\n\u000b\u000c\u0085\u2028\u2029]+/g, '\n  ')}`;
}

/** 0, last, 1, last but one, … */
const outsideIn = (count: number): number[] => Array.from({ length: count }, (_, at) => (at % 2 === 0 ? at / 2 : count - (at + 1) / 2));

function headAndTail(text: string, max: number): string {
  if (text.length <= max) return text;
  const head = Math.floor(max * 0.7);
  return `${text.slice(0, head).toWellFormed()} … ${text.slice(text.length - (max - head)).toWellFormed()}`;
}
