// What ends a known value and what does not: the same quantity in other words, a value beside the first, a question, a maybe, a denial,
// words about somebody else. Pure.
import { describe, expect, test } from '@jest/globals';
import { judge } from '../src/domain/gate.ts';
import { hashOf, propertyOf, sameValue, subjectOf } from '../src/domain/gate-identity.ts';
import type { LiveMemory, Verdict } from '../src/domain/gate-input.ts';
import { bounds, measured } from '../src/domain/gate-quantities.ts';
import { negations } from '../src/domain/gate-words.ts';
import type { Candidate } from '../src/domain/memory.ts';

const NOW = Date.parse('2026-11-24T10:00:00Z');
type Said = Partial<Candidate> & { readonly words: string };
type Held = Pick<LiveMemory, 'attribute' | 'value' | 'statement'> & Partial<LiveMemory>;

const known = (over: Held, at = 0): LiveMemory => ({
  id: `m${at}`, scope: 'user', user: 'ada', agent: null, type: 'fact', subject: 'user', source: 'user', confidence: 0.9, validFromMs: NOW - 86_400_000 * 30, hash: hashOf('acme', { scope: 'user', user: 'ada', agent: null }, 'fact', over.statement), ...over,
});
/** One user's words, one candidate made of them, and what is known; every cosine as high as can be. */
function verdictOn({ words, ...over }: Said, ...held: readonly LiveMemory[]): Verdict {
  const candidate: Candidate = { type: 'fact', subject: 'user', attribute: 'plan', value: 'Pro', statement: 'The user is on the Pro plan.', valid_from: null, evidence: [{ event_id: 'e1', quote: words }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user', ...over };
  const [verdict] = judge({
    run: { tenant: 'acme', id: 'r', user: 'ada', agent: 'support', observedMs: NOW }, events: [{ id: 'e1', role: 'user', tool: undefined, text: words, atMs: NOW }], candidates: [candidate], ids: ['new'], live: held, waiting: [], injected: [],
    neighbours: [held.map(({ id }) => ({ id, cosine: 0.95 }))], embedder: 'builtin:all-minilm-l6-v2-int8:384',
  });
  return verdict as Verdict;
}
const words = ({ decision, reason }: Verdict): string => `${decision} ${reason}`;

describe('quantities', () => {
  test.each([
    ['an hour and a half', '90 minutes', '1.5 hours'], ['two weeks', '14 days'], ['a week', '7 days'], ['half past seven in the evening', '19:30', '7:30 pm'], ['6 am UTC', '06:00 UTC'], ['eight in the morning', '8:00'], ['2 h 10 min', 'two hours and ten minutes'],
    ['$120', '120 dollars', '120 USD'], ['1.500 €', '€1500', '1,500 euros'], ['once a month', 'monthly', 'every month'], ['every second day', 'every other day'], ['one hundred and eighty', '180'], ['80 percent', '80 %'], ['183 cm', '1.83 m'], ['400 ms', '0.4 seconds'], ['€2m', '2 million euros'], ['no longer than 5 days', 'at most five days'],
  ])('%s is %s', (first, ...others) => {
    for (const other of others) expect(measured(other)).toBe(measured(first));
  });
  test.each([['every day', 'every second day'], ['1 month', '30 days'], ['5 minutes', '5 hours'], ['7:30', '19:30'], ['at most 5', 'at least 5'], ['€5', '$5'], ['A2', 'B2'], ['one of them', '1 of them']])('%s is not %s', (a, b) => {
    expect(measured(a)).not.toBe(measured(b));
  });
  test('a bound is no denial', () => {
    expect(bounds('no line longer than 100 characters')).toContain('at most 100');
    expect([negations('Coverage must not fall below 80 %.'), negations('It must not fall.'), negations('Lift B is out of service.')]).toEqual([0, 1, 1]);
  });
  test.each<[string, string, string, boolean]>([
    ['renewal date', '2026-08-01', '1 August 2026', true], ['start', '1 February', 'February 1st', true], ['extension', '214', 'extension 214', true], ['age', '10 to 14', '10 to 14 years', true], ['days', 'Monday, Friday', 'Mon, Fri', true], ['encryption', 'required', 'mandatory', true],
    ['renewal date', '2026-08', '2026-08-01', false], ['state', 'on', 'off', false], ['limit', 'at most 5', 'at least 5', false], ['window', '5 minutes', '5 hours', false],
  ])('%s: %s and %s are one value: %s', (attribute, a, b, same) => {
    expect(sameValue({ attribute, value: a, statement: '' }, { attribute, value: b, statement: '' })).toBe(same);
  });
});

test('one property by one name', () => {
  expect([propertyOf('deadline for submission', 'x'), propertyOf('hosting provider', 'x'), propertyOf('list of tools', 'x')]).toEqual(['submission deadline', 'hosting', 'list of tools']);
});

describe('the same value', () => {
  test('in other words ends nothing, and its numbers are supported by what was said', () => {
    const held = known({ attribute: 'notice period', value: '14 days', statement: 'The user has a notice period of 14 days.' });
    expect(words(verdictOn({ words: 'It is two weeks of notice.', attribute: 'notice period', value: '14 days', statement: 'The notice period is 14 days.' }, held))).toBe('REINFORCE SAME_VALUE');
    expect(words(verdictOn({ words: 'It is three weeks of notice.', attribute: 'notice period', value: '14 days', statement: 'The notice period is 14 days.' }, held))).toBe('REJECT UNSUPPORTED');
  });
  test.each([
    ['with more to it', 'revenue formula', 'gross minus refunds', 'gross minus refunds minus vouchers'],
    ['with a word of its own in the place of another', 'rate formula', 'orders divided by sessions', 'orders divided by visitors'],
    ['sharing but its last word', 'owner', 'growth team', 'core data team'],
  ])('%s is another one', (_what, attribute, before, after) => {
    const held = known({ subject: 'net revenue', attribute, value: before, statement: `It is ${before}.` });
    expect(words(verdictOn({ words: `It is ${after}.`, subject: 'net revenue', attribute, value: after, statement: `It is ${after}.` }, held))).toBe('SUPERSEDE NEWER');
  });
});

describe('a second value beside the first', () => {
  const metformin = known({ attribute: 'medication', value: 'metformin', statement: 'The user takes metformin.' });
  const also = { words: 'I also take lisinopril.', attribute: 'medication', value: 'lisinopril', statement: 'The user also takes lisinopril.' };
  test('is kept with it, without the key that lets one row through', () => {
    expect(verdictOn(also, metformin)).toMatchObject({ decision: 'ADMIT', reason: 'NEW', memory: { slot: null } });
    expect(words(verdictOn({ ...also, words: 'I take lisinopril now.', statement: 'The user takes lisinopril.' }, metformin))).toBe('SUPERSEDE NEWER');
  });
  test('makes it a property of several: a third one ends neither', () => {
    const lisinopril = known({ attribute: 'medication', value: 'lisinopril', statement: 'The user also takes lisinopril.' }, 1);
    expect(verdictOn({ words: 'I take ibuprofen.', attribute: 'medication', value: 'ibuprofen', statement: 'The user takes ibuprofen.' }, metformin, lisinopril)).toMatchObject({ decision: 'ADMIT', reason: 'NEW', memory: { slot: null } });
  });
});

describe('what is not settled', () => {
  const plan = known({ attribute: 'plan', value: 'Starter', statement: 'The user is on the Starter plan.' });
  test.each([
    ['considered', 'We might go to Pro at some point.', 'QUARANTINE UNSETTLED'], ['thought about', 'I am thinking about Pro, nothing is signed.', 'QUARANTINE UNSETTLED'], ['looked at', 'We are looking at the Pro plan.', 'QUARANTINE UNSETTLED'],
    ['asked', 'Is the plan Pro by now?', 'QUARANTINE UNSETTLED'],
    ['denied', 'We have not moved to Pro.', 'QUARANTINE UNSETTLED'], ['said of somebody else', 'My brother is on the Pro plan.', 'QUARANTINE SOMEBODY_ELSE'],
    ['said', 'We are on the Pro plan since Monday.', 'SUPERSEDE NEWER'], ['said beside a denial', 'We are on Pro and not on Starter.', 'SUPERSEDE NEWER'], ['said beside a maybe about something else', 'We are on Pro. Maybe I call later.', 'SUPERSEDE NEWER'], ['said while asking for something', 'Can you check why my Pro plan is slow?', 'SUPERSEDE NEWER'],
    ['said of both', 'My brother and I are on the Pro plan.', 'SUPERSEDE NEWER'],
  ])('%s: %s', (_how, text, verdict) => {
    expect(words(verdictOn({ words: text }, plan))).toBe(verdict);
  });
  test('a statement that says maybe itself is kept, and ends nothing', () => {
    const maybe = { words: 'We are considering Pro.', statement: 'The user is considering the Pro plan.' };
    expect(words(verdictOn(maybe, plan))).toBe('QUARANTINE UNSETTLED');
    expect(words(verdictOn(maybe))).toBe('ADMIT NEW');
  });
  test('a polite wish is an order', () => {
    expect(words(verdictOn({ words: 'Could you perhaps answer in German?', type: 'preference', attribute: 'language', value: 'German', statement: 'The user wants answers in German.' }))).toBe('ADMIT NEW');
  });
});

describe('names and numbers that a quote leaves to "it"', () => {
  const held = known({ subject: 'three sisters', attribute: 'director', value: 'Anselm Roth', statement: 'Anselm Roth directs Three Sisters.' });
  const directs = (text: string): Said => ({ words: text, subject: 'Three Sisters', attribute: 'director', value: 'Anselm Roth', statement: 'Three Sisters is directed by Anselm Roth.' });
  test('may be those of a known subject, when the quote names nobody else', () => {
    expect(words(verdictOn(directs('Anselm Roth keeps directing it.'), held))).toBe('REINFORCE SAME_VALUE');
    expect(words(verdictOn(directs('Anselm Roth keeps directing it.')))).toBe('REJECT UNSUPPORTED');
    const monitor = known({ subject: subjectOf('API p95 monitor'), attribute: 'channel', value: '#api', statement: 'The API p95 monitor posts to #api.' });
    expect(words(verdictOn({ words: 'Post its alerts to #sre.', subject: 'API p95 monitor', attribute: 'channel', value: '#sre', statement: 'The API p95 monitor posts to #sre.' }, monitor))).toBe('SUPERSEDE NEWER');
    expect(words(verdictOn(directs('At last Anselm Roth directs Hamlet.'), held))).toBe('REJECT UNSUPPORTED');
  });
});
