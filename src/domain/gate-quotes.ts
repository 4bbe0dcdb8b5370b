// Are a candidate's quotes the words of this run? Word for word after folding, or nearly: four fifths of the words, in their order,
// within one place of the event, and nothing told apart by a number, date, name, code, unit, sign or denial. From here on such a quote
// is what was really said there: a model that copies carelessly puts no word of its own into evidence.
import { guardFaults } from './gate-duplicates.ts';
import type { Decided } from './gate-input.ts';
import { contains, fold, tokensOf } from './gate-words.ts';
import type { Candidate } from './memory.ts';
import type { TranscriptEvent } from './transcript.ts';

/** Share of words that a quote and its place must have in common, of the longer of the two. */
const MOST = 0.8;
/** Words of a quote below which it is exact or none: of four, one other is a fourth of what it says. */
const FEWEST = 5;
/** How much longer than the quote the place may be: the model left words out. */
const STRETCH = 1.25;
/** Characters of a quote; evidence holds no longer ones. */
const MAX_QUOTE = 1_000;

/** `overlap`: of the quote least like what was said, the share of words in common; 1 = word for word. */
export interface Quotes { readonly candidate: Candidate; readonly overlap: number }

/** The candidate with its quotes as they were said. */
export function asSaid(candidate: Candidate, events: readonly TranscriptEvent[]): Quotes | Decided {
  const byId = new Map(events.map((event) => [event.id, event]));
  const evidence: { event_id: string; quote: string }[] = [];
  let overlap = 1;
  for (const { event_id, quote } of candidate.evidence) {
    const event = byId.get(event_id);
    if (!event) return { decision: 'REJECT', reason: 'NO_PROVENANCE', scores: { event: event_id } };
    const place = contains(fold(event.text), fold(quote)) ? { words: quote, overlap: 1 } : placeOf(quote, event.text);
    if (!place) return { decision: 'REJECT', reason: 'NO_PROVENANCE', scores: { event: event_id, quote: 'not said there' } };
    evidence.push({ event_id, quote: place.words });
    overlap = Math.min(overlap, place.overlap);
  }
  return { candidate: overlap === 1 ? candidate : { ...candidate, evidence }, overlap };
}

/** Where a quote was nearly said, and how nearly. */
function placeOf(quote: string, text: string): { words: string; overlap: number } | undefined {
  const wanted = tokensOf(quote);
  if (wanted.length < FEWEST) return undefined;
  const words = [...text.matchAll(/\S+/g)].flatMap((match) => tokensOf(match[0]).map((token) => ({ token, from: match.index, to: match.index + match[0].length })));
  const size = Math.ceil(wanted.length * STRETCH);
  const start = fullestWindow(words.map(({ token }) => token), wanted, size);
  const window = words.slice(start, start + size);
  const common = inOrder(wanted, window.map(({ token }) => token));
  const [begin = 0, end = 0] = [common[0], common.at(-1)];
  const overlap = common.length / Math.max(wanted.length, end - begin + 1);
  const [first, last] = [window[begin], window[end]];
  if (overlap < MOST || !first || !last) return undefined;
  const said = text.slice(first.from, last.to).replace(/^[^\p{L}\p{N}]+|[.,;:!?"'”’)\]]+$/gu, '');
  return said.length <= MAX_QUOTE && guardFaults({ statement: quote, value: '' }, { statement: said, value: '' }).length === 0 ? { words: said, overlap } : undefined;
}

/** Where the window that shares most words with `wanted` begins. */
function fullestWindow(tokens: readonly string[], wanted: readonly string[], size: number): number {
  const missing = new Map<string, number>();
  for (const word of wanted) missing.set(word, (missing.get(word) ?? 0) + 1);
  let [shared, best, at] = [0, -1, 0];
  tokens.forEach((token, end) => {
    const left = missing.get(token);
    if (left !== undefined) { if (left > 0) shared++; missing.set(token, left - 1); }
    const gone = tokens[end - size];
    const owed = gone === undefined ? undefined : missing.get(gone);
    if (gone !== undefined && owed !== undefined) { if (owed >= 0) shared--; missing.set(gone, owed + 1); }
    if (shared > best) [best, at] = [shared, Math.max(0, end - size + 1)];
  });
  return at;
}

/** Places in `said` of the longest sequence of words that both have in this order. */
function inOrder(wanted: readonly string[], said: readonly string[]): number[] {
  const lengths = Array.from({ length: wanted.length + 1 }, () => new Array<number>(said.length + 1).fill(0));
  const length = (row: number, column: number): number => lengths[row]?.[column] ?? 0;
  for (let row = wanted.length - 1; row >= 0; row--) {
    for (let column = said.length - 1; column >= 0; column--) lengths[row]![column] = wanted[row] === said[column] ? 1 + length(row + 1, column + 1) : Math.max(length(row + 1, column), length(row, column + 1));
  }
  const places: number[] = [];
  for (let [row, column] = [0, 0]; row < wanted.length && column < said.length;) {
    if (wanted[row] === said[column]) { places.push(column); row++; column++; } else if (length(row + 1, column) >= length(row, column + 1)) row++; else column++;
  }
  return places;
}
