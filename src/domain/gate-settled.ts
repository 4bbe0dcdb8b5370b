// Settled: what was only asked, considered or denied is no fact, and least of all does it end one. Told by the sentences quoted, never
// by the statement alone: a model turns "we might move to Linz" into "the office is in Linz" all too easily. Preferences, rules and
// procedures are left out: there "could you perhaps …?" is how people give orders.
import { subjectOf } from './gate-identity.ts';
import { contentWords, negations, stem } from './gate-words.ts';
import type { Decided } from './gate-input.ts';
import type { Candidate } from './memory.ts';
import type { TranscriptEvent } from './transcript.ts';

const HEDGE = new RegExp(`\\b(?:${[
  'might', 'maybe', 'perhaps', 'possibly', 'supposedly', 'presumably', 'allegedly', 'reportedly', 'rumou?r(?:ed)?', 'probably', 'i (?:guess|suppose)', 'think(?:ing)? (?:of|about)', 'considering', 'looking (?:at|for|into)', 'wonder(?:ing)?', 'toying with', 'tempted to',
  'not (?:yet |quite )?(?:sure|settled|decided|certain|final|clear|confirmed)', 'unsure', 'undecided', 'would love to', 'hop(?:e|ing) to', 'one day', 'some ?day', 'at some point', 'in theory', 'hypothetically', 'what if', 'let me think',
].join('|')})\\b`, 'i');
/** A question whose answer is yes or no; "can you …?" asks for something and may tell a lot. */
const ASKS = /^(?:(?:and|but|so|or|hi|hey|also|by the way|wait)[, ]+)*(?:(?:is|are|was|were|does|do|did|has|have|had)(?:n't)? (?!you\b)|(?:can|could|shall|should|will|would|may) (?:we|i|it|they|he|she|the|this|that)\b)/i;
/** Somebody of the user's who does or is something, and nobody else in the sentence. */
const OTHERS = /^(?:(?:and|but|so|also)[, ]+)*(?:my|our) (?:[a-z]+ )?(wife|husband|partner|girlfriend|boyfriend|fianc[ée]e?|brother|sister|mother|father|mum|mom|dad|son|daughter|cousin|uncle|aunt|grand(?:mother|father|ma|pa)|friend|colleague|co-?worker|boss|manager|neighbou?r|flatmate|room-?mate)\b(?! and i\b)/i;
const TOLD: ReadonlySet<Candidate['type']> = new Set(['fact', 'decision', 'outcome']);

/** What was only considered or asked waits, unless the statement says as much; and so does what was said of somebody else. */
export function settled(candidate: Candidate, events: readonly TranscriptEvent[]): Decided | undefined {
  const sentences = sentencesOn(candidate, events);
  if (sentences.length > 0 && sentences.every((sentence) => isOfAnother(sentence, candidate))) return { decision: 'QUARANTINE', reason: 'SOMEBODY_ELSE' };
  if (!TOLD.has(candidate.type) || HEDGE.test(candidate.statement)) return undefined;
  const open = sentences.filter((sentence) => HEDGE.test(sentence) || (sentence.endsWith('?') && ASKS.test(sentence)));
  return sentences.length > 0 && open.length === sentences.length ? { decision: 'QUARANTINE', reason: 'UNSETTLED' } : undefined;
}

/** "My wife pays by card" and "the user pays by card". */
function isOfAnother(sentence: string, { subject, statement }: Candidate): boolean {
  const [, who] = OTHERS.exec(sentence) ?? [];
  return who !== undefined && subjectOf(subject) === 'user' && !/\b(?:i|me|us|we)\b/i.test(sentence) && !contentWords(statement).has(stem(who.toLowerCase()));
}

/** Reason enough not to end what is known: the statement itself is a maybe, or its quotes deny what it says. */
export function endsNothing(candidate: Candidate): boolean {
  if (!TOLD.has(candidate.type)) return false;
  return HEDGE.test(candidate.statement) || isDenied(candidate);
}

/** Of the events quoted, the whole sentences that quotes touch and that speak of the value; all of those touched where none names it. */
function sentencesOn({ evidence, value }: Candidate, events: readonly TranscriptEvent[]): string[] {
  const touched = evidence.flatMap(({ event_id, quote }) => {
    const sentences = sentencesOf(events.find(({ id }) => id === event_id)?.text ?? quote);
    const said = sentencesOf(quote).map(plain);
    return sentences.filter((sentence) => said.some((part) => plain(sentence).includes(part) || part.includes(plain(sentence))));
  });
  const words = contentWords(value);
  const on = touched.filter((sentence) => { const said = contentWords(sentence); return [...words].some((word) => said.has(word)); });
  return on.length > 0 ? on : touched;
}

const sentencesOf = (text: string): string[] => text.split(/(?<=[.!?])\s+|\n+/).map((sentence) => sentence.trim()).filter(Boolean);
const plain = (text: string): string => text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, ' ').trim();

/** "We have not moved to Linz" beside "the office is in Linz": each part of a sentence that holds the whole value denies, the statement does not. */
function isDenied({ statement, value, evidence }: Candidate): boolean {
  if (negations(statement) % 2 === 1 || negations(value) % 2 === 1) return false;
  const words = [...contentWords(value)];
  const parts = evidence.flatMap(({ quote }) => quote.split(/[.;:!?,]+\s|\s+(?:but|and|instead|because|so)\s+/)).filter((part) => { const said = contentWords(part); return words.every((word) => said.has(word)); });
  return words.length > 0 && parts.length > 0 && parts.every((part) => negations(part) % 2 === 1 && !/\bnot (?:only|just)\b/i.test(part));
}

/** It says of itself that it comes beside what is known, not in its place. */
export const addsTo = ({ statement, evidence }: Pick<Candidate, 'statement' | 'evidence'>): boolean =>
  /\b(?:also|as well|another|additional(?:ly)?|in addition|besides|alongside|a second)\b|\btoo[.!]?$/i.test(statement) || evidence.some(({ quote }) => /\b(?:besides|in addition to|next to|alongside|on top of)\b/i.test(quote));
