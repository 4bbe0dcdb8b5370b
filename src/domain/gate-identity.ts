// What makes two memories the same: the hash of a statement for one owner, and the slot (owner, subject, attribute) that
// holds one value or several. Keys, not similarity: a newer plan replaces the older one without anybody asking a model.
import { createHash } from 'node:crypto';
import { measured } from './gate-quantities.ts';
import { contentWords, datesIn, fold, negations, sameDate, sameWord, stem, tokensOf, unitsIn, withoutDates } from './gate-words.ts';
import type { MemoryScope, MemoryType } from './status.ts';

export interface Owned { readonly scope: MemoryScope; readonly user: string | null; readonly agent: string | null }

export const sameOwner = (a: Owned, b: Owned): boolean => a.scope === b.scope && ownerOf(a) === ownerOf(b);
const ownerOf = ({ scope, user, agent }: Owned): string | null => (scope === 'user' ? user : scope === 'agent' ? agent : null);

/** Lower case, one space, no quotes or sentence marks; signs that carry meaning (`<`, `-5`, `#`) stay. */
export const exact = (text: string): string => text.normalize('NFKC').toLowerCase()
  .replace(/[\u00ad\u200b-\u200f\u2060\ufeff]/g, '').replace(/["'`‘’“”„«»()[\]{}]/g, '').replace(/[.,;:!?…]+(?=\s|$)/g, '').replace(/\s+/g, ' ').trim();

/** Hexadecimal sha256: the same words of one type for one owner, whatever session or run they came from. */
export const hashOf = (tenant: string, owner: Owned, type: MemoryType, statement: string): string =>
  createHash('sha256').update(JSON.stringify([tenant, owner.scope, ownerOf(owner), type, exact(statement)])).digest('hex');

/** Names that mean the same thing come out the same: `The User`, `user`. */
export const subjectOf = (text: string): string => {
  const folded = fold(text.replace(/[_/]+/g, ' ')).replace(/^(?:the|a|an|our|my|this|their|his|her) /, '');
  return /^(?:user|customer|client|me|i|myself|current user|speaker|human)$/.test(folded) ? 'user' : folded || text.trim().toLowerCase();
};
export const attributeOf = (text: string): string => fold(text.replace(/[_/.-]+/g, ' ')) || text.trim().toLowerCase();

/** One property by one name: `contact person` is `contact`, `deadline for submission` is `submission deadline`, and `viewers` with a number
 *  (or `none`) for its value is `viewer count`. */
export function propertyOf(attribute: string, value: string): string {
  const plain = attribute.replace(/^(?:number|count|amount) of /, '').replace(/^(?!list|set|group|range)(\S+) (?:of|for) (?:the |a |an )?(\S*[^s\s])$/, '$2 $1').replace(/(?<=. )(?:name|person|provider|vendor|company)$/, '').trim();
  const isCount = /^(?:\d[\d.,]*|none|zero)$/i.test(value.trim()) && (plain !== attribute || /[^su]s$/.test(plain)) && !ONE.has(plain);
  return isCount ? `${plain.replace(/s$/, '')} count` : plain;
}

/** What a person has several of and a thing one. */
const SEVERAL_OF_A_PERSON = new Set(['use', 'software', 'contact', 'device', 'product']);
/** Attributes that hold several values at a time. What is not here, and not a plural, holds one. */
const SEVERAL = new Set(['uses', 'using', 'tool', 'stack', 'order', 'order number', 'ticket', 'issue', 'problem', 'request', 'question', 'note', 'info', 'information', 'detail', 'other', 'misc', 'general', 'topic',
  'interest', 'hobby', 'likes', 'like', 'dislikes', 'dislike', 'allergy', 'pet', 'child', 'sibling', 'friend', 'colleague', 'member', 'skill', 'goal', 'task', 'project', 'purchase', 'experience', 'event', 'constraint', 'rule',
  'requirement', 'preference', 'feedback', 'complaint', 'fact', 'decision', 'history', 'tool result', 'result', 'outcome', 'example', 'alias', 'query', 'query pattern', 'instruction', 'asset', 'dependency', 'integration', 'visited', 'owns', 'has']);
/** They end like plurals and hold one value. */
const ONE = new Set(['status', 'address', 'business', 'timezone', 'basis', 'access', 'process', 'progress', 'class', 'hours', 'business hours', 'office hours', 'opening hours', 'working hours', 'focus', 'gas', 'bus', 'dns', 'sms', 'os', 'terms', 'payment terms', 'settings', 'units', 'sales', 'news', 'means', 'series', 'analysis', 'headquarters', 'pronouns', 'details level', 'savings', 'days', 'dates', 'thanks']);

/** Outcomes and procedures are many by nature; the rest goes by the attribute. */
export function isSingleValued(type: MemoryType, attribute: string, subject = 'user'): boolean {
  if (type === 'outcome' || type === 'procedure') return false;
  if (ONE.has(attribute)) return true;
  if (subject === 'user' && SEVERAL_OF_A_PERSON.has(attribute.split(' ').at(-1) ?? '')) return false;
  if (SEVERAL.has(attribute) || /^(?:always|never|do|don't|avoid) /.test(attribute)) return false;
  const last = attribute.split(' ').at(-1) ?? '';
  if (ONE.has(last)) return true;
  return !SEVERAL.has(last) && !(/[^su]s$/.test(last) && last.length > 3);
}

/** Key of a single-valued slot; the partial unique index on it lets one live row through. */
export const slotOf = (owner: Owned, type: MemoryType, subject: string, attribute: string): string | null =>
  (isSingleValued(type, attribute, subject) ? JSON.stringify([owner.scope, ownerOf(owner), subject, attribute]) : null);

export interface Valued { readonly attribute?: string; readonly value: string; readonly statement: string }

/** The same value said twice, be it in other words for the same quantity. A denial of the same value is another one, whatever the
 *  model wrote into `value`. */
export function sameValue(a: Valued, b: Valued): boolean {
  if (negations(a.statement) % 2 !== negations(b.statement) % 2) return false;
  if (exact(a.value) === exact(b.value)) return true;
  if (signs(a.value) !== signs(b.value)) return false;
  return (bare(a.value) === bare(b.value) && bare(a.value) !== '') || sameQuantity(a, b);
}
const bare = (value: string): string => tokensOf(value).map(sameWord).filter((word) => !FILLS.has(word)).join(' ');
const FILLS = new Set('the a an by via in on at to is plan please only'.split(' '));

function sameQuantity(a: Valued, b: Valued): boolean {
  const [dates, others] = [fullest(datesIn(a.value)), fullest(datesIn(b.value))];
  if (dates.length !== others.length || !dates.every((date) => others.some((other) => sameDay(date, other)))) return false;
  const [mine, theirs] = [a, b].map(({ value }) => measured(withoutDates(value))) as [string, string];
  const bound = [mine, theirs].map((text) => /\bat (most|least)\b/.exec(text)?.[1]);
  if (bound[0] !== bound[1] && bound[0] !== undefined && bound[1] !== undefined) return false;
  const named = contentWords(`${a.attribute ?? ''} ${b.attribute ?? ''}`);
  const [one, other] = [core(mine, named), core(theirs, named)];
  if (one === other) return one !== '' || dates.length > 0;
  // A number without its unit, as in `10 to 14` for an age, is the same with it.
  const without = [a, b].map(({ value }) => core(withoutDates(value), named).replace(UNIT_WORDS, ' ').replace(/\s+/g, ' ').trim());
  return /\d/.test(without[0] ?? '') && without[0] === without[1] && (unitsIn(a.value).size === 0) !== (unitsIn(b.value).size === 0);
}
const UNIT_WORDS = /\b(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?|%|percent|people|persons?|pieces?|times)(?= |$)/g;
/** `1 August 2026` reads as that month too: the day says it already. */
const fullest = (dates: ReadonlySet<string>): string[] => [...dates].filter((date) => ![...dates].some((other) => other !== date && sameDate(date, other) && (other.match(/\?/g) ?? []).length < (date.match(/\?/g) ?? []).length));
/** The same day and month; one of them may leave out the year. */
const sameDay = (a: string, b: string): boolean => sameDate(a, b) && a.slice(a.indexOf('-')) === b.slice(b.indexOf('-'));
/** What is left of a value beside small words, bounds and the name of its own property. */
const core = (value: string, named: ReadonlySet<string>): string =>
  tokensOf(value.replace(/\bat (?:most|least)\b/g, ' ')).map(sameWord).map((word) => (word.length > 4 ? word.replace(/(?<=[^su])s$/, '') : word)).filter((word) => !FILLS.has(word) && !named.has(stem(word))).join(' ');
/** Comparisons, signs and the like, in order. */
export const signs = (text: string): string => (text.normalize('NFKC').match(/[<>=≤≥≠±#+*^]+|(?<![\p{L}\p{N}])[-−](?=\d)/gu) ?? []).join(' ');
