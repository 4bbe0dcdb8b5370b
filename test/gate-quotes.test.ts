// Quotes against the words of the run: exact, or nearly so and then taken as they were said. What a careless copy changes is never
// evidence, and what tells two things apart (a number, a date, a name, a unit, a denial) is never copied carelessly.
import { describe, expect, test } from '@jest/globals';
import { judge } from '../src/domain/gate.ts';
import type { GateInput, Verdict } from '../src/domain/gate-input.ts';
import { asSaid } from '../src/domain/gate-quotes.ts';
import type { Candidate } from '../src/domain/memory.ts';
import type { TranscriptEvent } from '../src/domain/transcript.ts';

const NOW = Date.parse('2026-11-24T10:00:00Z');
const uuid = (n: number): string => `00000000-0000-7000-8000-${String(n).padStart(12, '0')}`;
const SAID = 'Hi! We have moved the main office of the company from Graz to Linz in 2025, so please send the invoices within 14 days to the new address there.';
const eventsOf = (text: string): TranscriptEvent[] => [{ id: 'e1', role: 'user', tool: undefined, text, atMs: NOW }];
const candidate = (quote: string, over: Partial<Candidate> = {}): Candidate => ({
  type: 'fact', subject: 'user', attribute: 'main office', value: 'Linz', statement: 'The main office of the user is in Linz.', valid_from: null,
  evidence: [{ event_id: 'e1', quote }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user', ...over,
});
const verdictOf = (one: Candidate, text = SAID): Verdict => {
  const input: GateInput = { run: { tenant: 'acme', id: uuid(1), user: 'ada', agent: 'support', observedMs: NOW }, events: eventsOf(text), candidates: [one], ids: [uuid(100)], live: [], waiting: [], injected: [], neighbours: [], embedder: 'none' };
  return judge(input)[0] as Verdict;
};
const words = ({ decision, reason }: Verdict): string => `${decision} ${reason}`;
/** What becomes of a quote; null: it was not said. */
const heard = (quote: string, text = SAID): string | null => { const found = asSaid(candidate(quote), eventsOf(text)); return 'candidate' in found ? found.candidate.evidence[0]!.quote : null; };

describe('a quote is what was said', () => {
  test.each<[string, string, string | null]>([
    ['word for word', 'moved the main office of the company', 'moved the main office of the company'],
    ['in other case and marks', 'MOVED the main-office of the company', 'MOVED the main-office of the company'],
    ['with one small word of another kind', 'We moved our main office of the company from Graz to Linz in 2025', 'We have moved the main office of the company from Graz to Linz in 2025'],
    ['with a word left out', 'please send invoices within 14 days to the new address', 'please send the invoices within 14 days to the new address'],
    ['with a third of its words its own', 'We swiftly relocated our main office of the group from Graz to Linz in 2025', null],
    ['in another order of words', 'the main office from Linz to Graz in 2025 we have moved of the company', null],
    ['words from all over the event', 'We send the company to the main office within 14 days from Graz to there', null],
    ['too short to be judged by share', 'moved a main office', null],
  ])('%s', (_how, quote, expected) => { expect(heard(quote)).toBe(expected); });

  test.each([
    ['a number', 'please send the invoices within 10 days to the new address'], ['a date', 'We have moved the main office of the company from Graz to Linz in 2024'],
    ['a name', 'We have moved the main office of the company from Graz to Wels in 2025'], ['a unit', 'please send the invoices within 14 weeks to the new address'],
    ['a denial', 'We have not moved the main office of the company from Graz to Linz in 2025'],
  ])('never with %s of its own', (_what, quote) => {
    expect(heard(quote)).toBeNull();
    expect(words(verdictOf(candidate(quote)))).toBe('REJECT NO_PROVENANCE');
  });

  test('a denial that was said is not left out', () => {
    expect(heard('we have moved the main office of the company to Linz', 'No, we have not moved the main office of the company to Linz.')).toBeNull();
  });

  test('it is found in a long text, at its best place', () => {
    const filler = 'The office of the company is a nice place to be in. '.repeat(150);
    expect(heard('We moved our main office of the company from Graz to Linz in 2025', filler + SAID + filler)).toBe('We have moved the main office of the company from Graz to Linz in 2025');
  });
});

describe('what was nearly quoted', () => {
  const loose = 'We moved our main office of the company from Graz to Linz in 2025';
  test('is admitted with the words as they were said, and says how near it was', () => {
    const verdict = verdictOf(candidate(loose));
    expect([words(verdict), verdict.scores['quote_overlap']]).toEqual(['ADMIT NEW', 0.867]);
    expect(verdict.memory?.evidence).toEqual([{ event_id: 'e1', quote: 'We have moved the main office of the company from Graz to Linz in 2025' }]);
    expect(verdictOf(candidate('from Graz to Linz in 2025')).scores).not.toHaveProperty('quote_overlap');
  });

  test.each([
    ['a number', { value: '30 days', statement: 'The user wants invoices within 30 days.' }, 'please send invoices within 14 days to the new address'],
    ['a date', { statement: 'The main office of the user is in Linz since 2024.' }, loose],
    ['a name', { value: 'Wels', statement: 'The main office of the user is in Wels.' }, loose],
  ])('carries no statement with %s of its own', (_what, over, quote) => { expect(words(verdictOf(candidate(quote, over)))).toBe('REJECT UNSUPPORTED'); });

  test('a maybe that the quote left out is heard', () => {
    expect(words(verdictOf(candidate('We will move the main office of the company from Graz to Linz soon'), 'We will perhaps move the main office of the company from Graz to Linz soon.'))).toBe('QUARANTINE UNSETTLED');
  });
});
