// Words as the memory gate compares them. Folding makes two spellings of the same words equal; the extractors find what a
// sentence must not change in silence: numbers, dates, names, units, negation. Deterministic and free of any model, because
// cosine similarity does not tell "on the Pro plan" from "not on the Pro plan".
import { bounds } from './gate-quantities.ts';

/** Characters nobody sees: zero-width, direction marks, soft hyphens, tags, variation selectors. */
const HIDDEN = /[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\u{e0000}-\u{e0fff}]/gu;

/** True for text that holds characters a reader cannot see, or words that mix look-alike alphabets. */
export function hidesSomething(text: string): boolean {
  // An emoji's own joiners and variation selectors hide nothing.
  const plain = text.replace(/\p{Extended_Pictographic}[\ufe0f\u200d\p{Extended_Pictographic}\p{Emoji_Modifier}]*/gu, '');
  HIDDEN.lastIndex = 0;
  if (HIDDEN.test(plain)) return true;
  return (plain.match(/\p{L}+/gu) ?? []).some((word) => /\p{Script=Latin}/u.test(word) && /[\p{Script=Cyrillic}\p{Script=Greek}]/u.test(word));
}

/** Lower case, one space between tokens, no punctuation; a number keeps its inner marks (`3.5`, `2026-11-24`). */
export const fold = (text: string): string => tokensOf(text).join(' ');

export function tokensOf(text: string): string[] {
  const plain = text.normalize('NFKC').replace(HIDDEN, '').toLowerCase()
    .replace(/[\u2018\u2019\u02bc]/g, "'").replace(/\b([\p{L}]+)'s\b/gu, '$1')
    .replace(/\be-(mail|commerce|book|learning)/g, 'e$1')
    .replace(/(\d),(?=\d{3}\b)/g, '$1');
  return plain.match(/\d+(?:[.:/-]\d+)*|\p{L}[\p{L}\p{M}]*(?:'\p{L}+)?|\p{N}+|[€$£¥%]/gu) ?? [];
}

/** `inner` occurs in `outer`, both folded, at the borders of tokens. */
export const contains = (outer: string, inner: string): boolean => inner !== '' && ` ${outer} `.includes(` ${inner} `);

/** A rough stem: enough to match `reports` with `report`, and never used to decide that two things are different. */
export const stem = (word: string): string => (word.length > 4 ? word.replace(/(?:'s|ies|ing|ed|es|s|y)$/, '') : word.replace(/(?<=[^su]{3})s$/, ''));

const COMMON = new Set(('a an and any are as at be been but by can could did do does for from had has have he her hers his how i if in into is it its may me my no not of off on one or our ours she should so some such '
  + 'than that the their them then there these they this those to too up us use uses used user users very want wants was we were what when where which who whom will with would you your yours asks asked called wants prefers prefer per every each once').split(' '));

/** Words that say the same of a value; few, because each row here is a promise. */
const SAME = new Map(['short brief concise terse', 'email mail', 'monday mon', 'tuesday tue tues', 'wednesday wed', 'thursday thu thur thurs', 'friday fri', 'saturday sat', 'sunday sun', 'required mandatory compulsory', 'under below', 'mobile cellphone cell', 'yes true', 'no false', 'hour hourly', 'day daily', 'week weekly', 'month monthly', 'quarter quarterly', 'year yearly annually annual'].flatMap((row) => { const [first = '', ...others] = row.split(' '); return others.map((word): [string, string] => [word, first]); }));
export const sameWord = (word: string): string => SAME.get(word) ?? word;

/** Stems of the words that carry meaning. */
export const contentWords = (text: string): Set<string> => new Set(tokensOf(text).filter((word) => !COMMON.has(word)).map((word) => stem(sameWord(word))));

/** Share of the smaller set that the larger holds; 1 when one says all the other says. */
export function containment(a: ReadonlySet<string>, b: ReadonlySet<string>): number {
  const [small, large] = a.size <= b.size ? [a, b] : [b, a];
  if (small.size === 0) return large.size === 0 ? 1 : 0;
  return [...small].filter((word) => large.has(word)).length / small.size;
}

export function jaccard(a: ReadonlySet<string>, b: ReadonlySet<string>): number {
  const both = [...a].filter((word) => b.has(word)).length;
  return a.size + b.size === 0 ? 1 : both / (a.size + b.size - both);
}

/** Without `one`, which is a pronoun more often than a number. */
const NUMBER_WORDS = new Map('zero - two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen'.split(' ').map((word, value): [string, string] => [word, String(value)]).concat([['twice', '2'], ['thrice', '3']]));

/** Numbers as written, without dates; with `words`, small ones spelt out too. `0042` and `42` differ: they may be ids. */
export function numbersIn(text: string, words = false): Set<string> {
  const rest = withoutDates(text).normalize('NFKC').toLowerCase().replace(/(\d),(?=\d{3}\b)/g, '$1');
  const found: string[] = (rest.match(/\d+(?:[.:]\d+)*/g) ?? []).map((number) => number.replace(/\.0+$/, ''));
  if (words) found.push(...tokensOf(rest).flatMap((word) => { const value = NUMBER_WORDS.get(word); return value === undefined ? [] : [value]; }));
  return new Set(found);
}

const MONTHS = ['january', 'february', 'march', 'april', 'may', 'june', 'july', 'august', 'september', 'october', 'november', 'december'];
const MONTH = MONTHS.map((name) => (name === 'may' ? 'may' : `${name.slice(0, 3)}(?:${name.slice(3)}|\\.|t\\.?)?`)).join('|');
const DATES = [
  /\b(?<y>\d{4})-(?<m>\d{1,2})(?:-(?<d>\d{1,2}))?(?![\d-])/g,
  /\b(?<d>\d{1,2})[./](?<m>\d{1,2})[./](?<y>\d{4})\b/g,
  new RegExp(`\\b(?<d>\\d{1,2})(?:st|nd|rd|th)?\\.? (?:of )?(?<name>${MONTH})\\b,? ?(?<y>\\d{4})?`, 'gi'),
  new RegExp(`\\b(?<name>${MONTH}) (?<d>\\d{1,2})(?:st|nd|rd|th)?\\b(?:,? (?<y>\\d{4}))?`, 'gi'),
  new RegExp(`\\b(?<name>${MONTH}) (?<y>\\d{4})\\b`, 'gi'),
  /(?<=\b(?:in|since|until|during|from) )(?<y>(?:19|20)\d{2})\b(?![-./:]?\d)/gi,
] as const;

/** Dates as `year-month-day` with `?` for what is not said. `11/12/2026` stands for both its readings. */
export function datesIn(text: string): Set<string> {
  const found = new Set<string>();
  for (const pattern of DATES) {
    for (const { groups } of text.matchAll(pattern)) {
      const month = groups?.['m'] ?? monthOf(groups?.['name']);
      const day = groups?.['d'];
      found.add(dateOf(groups?.['y'], month, day));
      if (pattern === DATES[1]) found.add(dateOf(groups?.['y'], day, month));
    }
  }
  return found;
}

const monthOf = (name = ''): string | undefined => {
  const at = MONTHS.findIndex((month) => month.startsWith(name.slice(0, 3).toLowerCase()));
  return at < 0 ? undefined : String(at + 1);
};
const two = (part: string | undefined): string => (part === undefined ? '?' : part.padStart(2, '0'));
const dateOf = (year: string | undefined, month: string | undefined, day: string | undefined): string => `${year ?? '?'}-${two(month)}-${two(day)}`;

/** One of them may be the other with less said: `?-11-24` and `2026-11-24`. */
export const sameDate = (a: string, b: string): boolean => {
  const [one, other] = [a.split('-'), b.split('-')];
  return one.every((part, at) => part === '?' || other[at] === '?' || part === other[at]);
};

export const withoutDates = (text: string): string => DATES.reduce((rest, pattern) => rest.replace(pattern, ' '), text);

/** Words that point at a day from the day they were said. */
export const RELATIVE_DAY = /\b(today|tonight|yesterday|tomorrow|this (?:morning|afternoon|evening|week|month|year|quarter)|(?:last|next|this|past|coming|since|until|by|on) (?:week|month|year|quarter|weekend|mon|tues|wednes|thurs|fri|satur|sun)(?:day)?|(?:mon|tues|wednes|thurs|fri|satur|sun)days?|in \w+ (?:days?|weeks?|months?)|\w+ (?:days?|weeks?|months?|years?) ago|now|currently|just)\b/i;

/** How a sentence may begin without naming anybody. */
const STARTERS = new Set(('a an the this that these those it its they their there user users customer customers client clients team we our my i he she his her you your all any each every some anything everything something nothing everyone everybody someone no none not never always only both '
  + 'if when while after before during since until for from in on at by to of with without as about regarding please do don do not does is are was were has have had can will should must may answer answers reports report prefers').split(' '));
/** Behind a beginning such as `Returns` or `Changes` they tell a plural from a name: `James needs`, `changes need`. */
const PLURAL_VERBS = /^\s+(?:are|were|need|have|get|go|do|live|leave|come|pass|last|run|start|stop|begin|cost|follow|under|above|below|up to)\b/;
const NEVER_NAMES = new Set(['i', "i'm", "i'd", "i'll", "i've", 'user', 'users', 'ok']);

/** Names in mid-sentence (`sure`) and at its beginning (`maybe`), folded to tokens. Acronyms count. */
export function namesIn(text: string): { sure: Set<string>; maybe: Set<string> } {
  const sure = new Set<string>();
  const maybe = new Set<string>();
  const plain = withoutDates(text.normalize('NFKC')).replace(/[\u2018\u2019\u02bc]/g, "'");
  for (const match of plain.matchAll(/(?<![\p{L}\p{N}'])\p{Lu}[\p{L}\p{M}\p{N}]*(?:['-]\p{L}+)*/gu)) {
    const initial = /(?:^|[.!?:;"“”(\]\n]\s*|[-•]\s)$/.test(plain.slice(0, match.index));
    for (const token of tokensOf(match[0])) {
      if (NEVER_NAMES.has(token) || /^\d/.test(token)) continue;
      const acronym = /^\p{Lu}{2,}/u.test(match[0]);
      if (!initial || acronym) sure.add(token);
      else if (!STARTERS.has(token) && !(token.endsWith('s') && PLURAL_VERBS.test(plain.slice(match.index + match[0].length))) && !/(?:ing|ed|ly|tion|tions|ment|ments|ness)$/.test(token)) maybe.add(token);
    }
  }
  return { sure, maybe };
}

/** Codes such as `checkout-api`, `mart.orders` or `src/billing`, each as the tokens it is made of; `on-call` is none. */
export const codesIn = (text: string): string[][] => (withoutDates(text).match(/(?<![\p{L}\p{N}])[\p{L}\p{N}]+(?:[-_./][\p{L}\p{N}]+)+/gu) ?? []).filter((code) => /\p{L}/u.test(code) && !(code.includes('-') && code.toLowerCase().split('-').some((part) => COMMON.has(part)))).map((code) => tokensOf(code.replace(/[-_./]/g, ' ')));

const NEGATION = /\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot|can't|won't|doesn't|don't|didn't|isn't|aren't|wasn't|weren't|shouldn't|wouldn't|hasn't|haven't|stop(?:ped|s)?|avoid(?:s|ed)?|refuse[sd]?|dislike[sd]?|hate[sd]?|no longer|out of (?:order|service|stock|use|date|scope|office)|except|unless|un(?:able|available|supported|subscribed|paid)|dis(?:abled?|allow(?:ed|s)?))\b/gi;

/** True when the sentence denies; two denials of the same word are still told from none. */
export const negations = (text: string): number => (bounds(text.replace(/[\u2018\u2019\u02bc]/g, "'")).match(NEGATION) ?? []).length;

const UNITS = new Map(Object.entries({
  ms: 'ms', millisecond: 'ms', s: 's', sec: 's', second: 's', min: 'min', minute: 'min', h: 'h', hr: 'h', hour: 'h', day: 'day', week: 'week', month: 'month', quarter: 'quarter', year: 'year',
  mg: 'mg', g: 'g', gram: 'g', kg: 'kg', kilogram: 'kg', lb: 'lb', pound: 'lb', oz: 'oz', mm: 'mm', cm: 'cm', m: 'm', metre: 'm', meter: 'm', km: 'km', kilometre: 'km', kilometer: 'km', mile: 'mile', ft: 'ft', feet: 'ft',
  ml: 'ml', l: 'l', litre: 'l', liter: 'l', kb: 'kb', mb: 'mb', gb: 'gb', tb: 'tb', '%': '%', percent: '%', '€': 'eur', eur: 'eur', euro: 'eur', '$': 'usd', usd: 'usd', dollar: 'usd', '£': 'gbp', gbp: 'gbp', '¥': 'jpy', jpy: 'jpy', chf: 'chf',
  c: 'c', celsius: 'c', f: 'f', fahrenheit: 'f', am: 'am', pm: 'pm', daily: 'day', weekly: 'week', monthly: 'month', quarterly: 'quarter', yearly: 'year', annually: 'year', hourly: 'h',
  thousand: 'thousand', k: 'thousand', million: 'million', billion: 'billion',
}));

/** Units that are told: `5 minutes` and `5 hours` are not the same. Bare letters count only behind a number. */
export function unitsIn(text: string): Set<string> {
  const tokens = tokensOf(withoutDates(text).replace(/(\d)(\p{L})/gu, '$1 $2'));
  return new Set(tokens.flatMap((token, at) => {
    const unit = UNITS.get(token) ?? UNITS.get(token.replace(/s$/, ''));
    const needsNumber = token.length <= 2 && !/[€$£¥%]/.test(token);
    return unit !== undefined && (!needsNumber || /^\d/.test(tokens[at - 1] ?? '')) ? [unit] : [];
  }));
}
