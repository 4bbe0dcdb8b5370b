// Provenance: is there evidence in this very run, does it say what the statement says, and whose words is it? The cheap test
// for inventions: numbers, dates and names of a statement must stand in its quotes. Trust follows from where the quoted words
// were said, never from what the model calls their source.
import { contains, contentWords, datesIn, fold, namesIn, numbersIn, RELATIVE_DAY, sameDate, stem, tokensOf } from './gate-words.ts';
import { subjectOf } from './gate-identity.ts';
import type { Decided, GateInput } from './gate-input.ts';
import { asSaid } from './gate-quotes.ts';
import { measured } from './gate-quantities.ts';
import type { GatePolicy } from './gate-policy.ts';
import type { Candidate } from './memory.ts';
import type { SourceRole } from './status.ts';
import type { TranscriptEvent } from './transcript.ts';

export interface Provenance {
  /** With its quotes as they were said. */
  readonly candidate: Candidate;
  /** Share of words that its quotes have in common with what was said; 1 = word for word. */
  readonly overlap: number;
  readonly source: SourceRole;
  readonly saidMs: number;
  /** Share of the statement's words that the quotes hold. */
  readonly support: number;
  /** Distinct events quoted. */
  readonly quoted: number;
  readonly dates: ReadonlySet<string>;
}

/** A date may be named by "yesterday" up to this far from the day it was said. */
const RELATIVE_REACH_MS = 400 * 86_400_000;

interface Quoted { readonly event: TranscriptEvent; readonly quote: string }

/** `live`: what is known; a subject that stands there is nobody's invention. */
export function provenance(given: Candidate, events: readonly TranscriptEvent[], policy: GatePolicy, live: GateInput['live'] = []): Provenance | Decided {
  const quotes = asSaid(given, events);
  if ('decision' in quotes) return quotes;
  const { candidate, overlap } = quotes;
  const byId = new Map(events.map((event) => [event.id, event]));
  const all = candidate.evidence.flatMap(({ event_id, quote }): Quoted[] => { const event = byId.get(event_id); return event ? [{ event, quote }] : []; });
  const missing = unsupported(candidate, all, events, live);
  if (missing.length > 0) return { decision: 'REJECT', reason: 'UNSUPPORTED', scores: { missing } };
  const own = all.filter(({ event }) => event.role === 'user');
  const ownSupport = supportOf(candidate, own);
  const isOwn = candidate.source_role === 'user' && own.length > 0 && (own.length === all.length || (ownSupport >= policy.ownWords && unsupported(candidate, own, events, live).length === 0));
  const used = isOwn ? own : all;
  return {
    candidate, overlap,
    source: isOwn ? 'user' : weakest(candidate.source_role, all.map(({ event }) => event.role)),
    saidMs: Math.max(...used.map(({ event }) => event.atMs)),
    support: supportOf(candidate, used),
    quoted: new Set(used.map(({ event }) => event.id)).size,
    dates: new Set(used.flatMap(({ quote }) => [...datesIn(quote)])),
  };
}

/** A tool's words are the least to be trusted with instructions, the agent's the least to be trusted with facts. */
function weakest(claimed: SourceRole, roles: readonly SourceRole[]): SourceRole {
  const all = new Set([claimed, ...roles]);
  if (all.has('document')) return 'document';
  return all.has('tool') ? 'tool' : 'agent';
}

function supportOf(candidate: Candidate, quoted: readonly Quoted[]): number {
  const words = contentWords(`${candidate.statement} ${candidate.value}`);
  const said = contentWords(quoted.map(({ quote }) => quote).join('\n'));
  return words.size === 0 ? 1 : [...words].filter((word) => said.has(word)).length / words.size;
}

/** Numbers, dates and names that the statement has and its quotes have not. */
function unsupported(candidate: Candidate, quoted: readonly Quoted[], events: readonly TranscriptEvent[], live: GateInput['live']): string[] {
  const claim = `${candidate.statement} ; ${candidate.value}`;
  const quotes = quoted.map(({ quote }) => quote).join(' \n');
  const words = new Set(tokensOf(quotes).flatMap((token) => [token, stem(token)]));
  const wordsOfRun = (): Set<string> => new Set(events.flatMap((event) => tokensOf(event.text)).flatMap((token) => [token, stem(token)]));
  const names = namesIn(claim);
  const isIn = (said: ReadonlySet<string>, name: string): boolean => said.has(name) || said.has(stem(name));
  const pointedAt = subjectNames(candidate, quotes, events, live);
  const strangers = [...names.sure].filter((name) => !isIn(words, name) && !pointedAt().has(name));
  // A capital at the beginning of a sentence may be grammar; only a word that this run never saw is taken for a name.
  const maybe = [...names.maybe].filter((name) => !isIn(words, name) && !pointedAt().has(name));
  if (maybe.length > 0) { const said = wordsOfRun(); strangers.push(...maybe.filter((name) => !isIn(said, name))); }
  return [
    ...numbersMissing(claim, quotes, words).filter((number) => !pointedAt().has(number)),
    ...[...datesIn(claim)].filter((date) => !dateIsSaid(date, quotes, quoted)),
    ...strangers,
  ];
}

/** `14 days` are said by "two weeks", and 0 by "without". */
function numbersMissing(claim: string, quotes: string, words: ReadonlySet<string>): string[] {
  const said = numbersIn(quotes, true);
  const missing = [...numbersIn(claim)].filter((number) => !said.has(number) && !words.has(number) && !(number === '0' && NOTHING.test(quotes)));
  if (missing.length === 0) return missing;
  const measures = numbersIn(measured(quotes));
  return [...numbersIn(measured(claim))].every((number) => measures.has(number) || said.has(number)) ? [] : missing;
}
const NOTHING = /\b(?:no|none|nobody|without|never|zero)\b/i;

/** Names and numbers in the subject and the property of a candidate, which a quote may leave to "she" and "it": where the subject is known or the run
 *  names it, and the quote names nobody else it might be about. */
function subjectNames(candidate: Candidate, quotes: string, events: readonly TranscriptEvent[], live: GateInput['live']): () => ReadonlySet<string> {
  let names: ReadonlySet<string> | undefined;
  return () => {
    if (names) return names;
    const subject = subjectOf(candidate.subject);
    const claimed = new Set(tokensOf(`${candidate.statement} ${candidate.value}`).map(stem));
    const others = [...namesIn(quotes).sure].some((name) => !claimed.has(stem(name)));
    const isKnown = subject !== 'user' && !others && (live.some((memory) => memory.subject === subject) || events.some((event) => event.role === 'user' && contains(fold(event.text), subject)));
    names = new Set(isKnown ? tokensOf(`${candidate.subject} ${candidate.attribute}`) : []);
    return names;
  };
}

function dateIsSaid(date: string, quotes: string, quoted: readonly Quoted[]): boolean {
  if ([...datesIn(quotes)].some((said) => sameDate(said, date))) return true;
  if (date.includes('?')) return false;
  const dayMs = Date.parse(date);
  return quoted.some(({ event, quote }) => RELATIVE_DAY.test(quote) && Math.abs(dayMs - event.atMs) <= RELATIVE_REACH_MS);
}

/** From when it holds: the day the evidence names, else the moment it was said. A day still to come counts from when it was said. */
export function validity(candidate: Candidate, found: Provenance): { validFromMs: number; dayOnly: boolean } {
  const day = /^\d{4}-\d{2}-\d{2}/.exec(candidate.valid_from ?? '')?.[0];
  const dayMs = day === undefined ? NaN : Date.parse(day);
  const isSaid = day !== undefined && [...found.dates].some((date) => sameDate(date, day));
  const sameDay = day === new Date(found.saidMs).toISOString().slice(0, 10);
  if (!isSaid || !(dayMs < found.saidMs) || sameDay) return { validFromMs: found.saidMs, dayOnly: false };
  return { validFromMs: dayMs, dayOnly: true };
}

