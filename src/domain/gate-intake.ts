// Before anything is proposed: may this run teach memory anything at all, and has it anything to teach? Both are told from what is
// recorded, without a model. A run that is passed over says why; of a trivial one a summary is kept, of an ineligible one nothing.
import { contentWords } from './gate-words.ts';
import type { RunSummary } from './memory.ts';
import type { TranscriptEvent } from './transcript.ts';

/** As a run's row says it. */
export type Skip = `SKIP_INELIGIBLE:${'PAUSED' | 'NOTHING_SAID'}` | `SKIP_TRIVIAL:${'SMALL_TALK' | 'REPLAY'}`;

/** PAUSED: the tenant has memory rest. NOTHING_SAID: no word of a user, a tool or a document is in it, and an agent alone is no source. */
export function ineligible(events: readonly TranscriptEvent[], isPaused: boolean): Skip | undefined {
  if (isPaused) return 'SKIP_INELIGIBLE:PAUSED';
  return events.some(({ role }) => role !== 'agent') ? undefined : 'SKIP_INELIGIBLE:NOTHING_SAID';
}

/** SMALL_TALK: user and tools said nothing beyond these words. REPLAY: word for word what the run it was forked from said, which has been remembered. */
export function trivial(events: readonly TranscriptEvent[], origin: readonly TranscriptEvent[] | undefined): Skip | undefined {
  if (origin && saidIn(events) === saidIn(origin)) return 'SKIP_TRIVIAL:REPLAY';
  const words = contentWords(events.filter(({ role }) => role !== 'agent').map(({ text }) => text).join('\n'));
  return [...words].every((word) => SMALL_TALK.has(word)) ? 'SKIP_TRIVIAL:SMALL_TALK' : undefined;
}

/** One word may be a memory ("vegan"), so nothing else is trivial. */
const SMALL_TALK = contentWords('hello hi hey ok okay yes yeah no nope thanks thank bye goodbye please sorry great good fine cool nice perfect sure right well welcome morning afternoon evening day much lot');

const saidIn = (events: readonly TranscriptEvent[]): string => JSON.stringify(events.map(({ role, tool, text }) => [role, tool ?? null, text]));

/** What a model would be asked for, made without one. */
export function templateSummary(events: readonly TranscriptEvent[]): RunSummary {
  const line = (event: TranscriptEvent | undefined): string => event?.text.slice(0, 300).toWellFormed().trim() || 'nothing was said';
  return { goal: line(events.find((event) => event.role !== 'agent')), result: line(events.findLast((event) => event.role === 'agent')), decisions: [], open_items: [] };
}
