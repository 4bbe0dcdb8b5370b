// Quantities said in one way: `two weeks` and `14 days`, `3 pm` and `15:00`, `$120` and `120 dollars`, `an hour and a half` and `90
// minutes` come out the same, so that a value said in other words is not taken for a newer one. Pure, for English; what it does not
// know stays as it is. Times of day come out as `15:00`, durations in seconds, days or months, money with its currency behind.

const SMALL = 'zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen'.split(' ');
const TENS = 'twenty thirty forty fifty sixty seventy eighty ninety'.split(' ');
const WORTH = new Map([...SMALL.map((word, at): [string, number] => [word, at]), ...TENS.map((word, at): [string, number] => [word, 20 + 10 * at])]);
const NUMBER = [...WORTH.keys(), 'hundred', 'thousand'].join('|');
const SPELT = new RegExp(`\\b(?:${NUMBER})(?:(?: and |[ -])(?:${NUMBER}))*\\b`, 'g');

const PERIOD = '(?:hour|day|week|month|quarter|year)';
const OFTEN = new Map([['hourly', 'hour'], ['daily', 'day'], ['weekly', 'week'], ['monthly', 'month'], ['quarterly', 'quarter'], ['yearly', 'year'], ['annually', 'year']]);

/** Factor and unit of a length, of time or otherwise. Seconds, days and months never meet: a month is no number of days. */
const LENGTHS: readonly (readonly [string, number, string])[] = [
  ['ms|milliseconds?', 0.001, 'sec'], ['s|secs?|seconds?', 1, 'sec'], ['mins?|minutes?', 60, 'sec'], ['h|hrs?|hours?', 3_600, 'sec'], ['days?', 1, 'day'], ['weeks?', 7, 'day'], ['months?', 1, 'month'], ['quarters?', 3, 'month'], ['years?', 12, 'month'],
  ['mm|millimet(?:re|er)s?', 0.001, 'm'], ['cm|centimet(?:re|er)s?', 0.01, 'm'], ['m|met(?:re|er)s?', 1, 'm'], ['km|kilomet(?:re|er)s?', 1_000, 'm'], ['g|grams?', 1, 'g'], ['kgs?|kilos?|kilograms?', 1_000, 'g'],
];
const LENGTH = LENGTHS.map(([words]) => words).join('|');
const LASTING = new RegExp(`(?<![\\d.:])(\\d+(?:\\.\\d+)?)[ -]?(${LENGTH})\\b`, 'g');
const CURRENCIES: readonly (readonly [string, string, string])[] = [['[$]', 'us dollars?|dollars?|usd', 'usd'], ['€', 'euros?|eur', 'eur'], ['£', 'gbp', 'gbp'], ['chf ', 'swiss francs?|francs?|chf', 'chf']];

const OVER = '(?:more|longer|higher|larger|bigger|greater|later|wider|heavier|older|faster) than|above|over|beyond|exceed(?:s|ing)?';
const BELOW = '(?:less|fewer|shorter|lower|smaller|earlier|younger|slower) than|below|under';
const DENIED = "\\b(?:no|not|never|cannot|can't|mustn't|without)\\b((?: [\\w'-]+){0,3}?) ";
const [AT_MOST, AT_LEAST] = [OVER, BELOW].map((words) => new RegExp(`${DENIED}(?:${words})(?= )`, 'gi')) as [RegExp, RegExp];

/** `not longer than 5` is no denial: it is `at most 5`. */
export const bounds = (text: string): string => text.replace(AT_MOST, '$1 at most').replace(AT_LEAST, '$1 at least').replace(/\b(?:up to|(?:a )?max(?:imum|\.)?(?: of)?)(?= ?\d)/gi, 'at most').replace(/\b(?:a )?min(?:imum|\.)?(?: of)?(?= ?\d)/gi, 'at least');

/** The text in lower case with its quantities said in one way. */
export function measured(text: string): string {
  const plain = text.normalize('NFKC').toLowerCase().replace(/[\u2018\u2019\u02bc]/g, "'").replace(/(\d),(?=\d{3}\b)/g, '$1');
  return [digits, bounds, rates, halves, clock, amounts, lengths].reduce((rest, step) => step(rest), plain).replace(/\s+/g, ' ').trim();
}

/** `one` alone is a pronoun more often than a number, but for `one hour`. */
const digits = (text: string): string => text.replace(SPELT, (words) => (words === 'one' ? words : String(valueOf(words)))).replace(new RegExp(`\\bone (?=(?:${LENGTH})\\b)`, 'g'), '1 ');

function valueOf(words: string): number {
  let [whole, part] = [0, 0];
  for (const word of words.split(/ and |[ -]/)) {
    if (word === 'hundred') part = Math.max(1, part) * 100;
    else if (word === 'thousand') { whole += Math.max(1, part) * 1_000; part = 0; } else part += WORTH.get(word) ?? 0;
  }
  return whole + part;
}

function rates(text: string): string {
  let out = text.replace(/\btwice (?=(?:a|an|per|each|every) )/g, '2 times ').replace(/\bonce (?=(?:a|an|per|each|every) )/g, 'every ').replace(/\bevery (?:a|an|per|each|every) /g, 'every ');
  out = out.replace(/\bevery (?:other|second|2nd) (?=day|week|month|year)/g, 'every 2 ').replace(/\bfortnightly\b/g, 'every 2 weeks');
  for (const [word, period] of OFTEN) out = out.replace(new RegExp(`\\b${word}\\b`, 'g'), `per ${period}`);
  return out.replace(new RegExp(`(?<=(?:[\\d%€£$]|times|hours?|euros?|eur|dollars?|usd|gbp|chf|francs?) )(?:a|an) (?=${PERIOD}\\b)`, 'g'), 'per ').replace(new RegExp(`\\b(?:each|every) (?=${PERIOD}\\b)`, 'g'), 'per ');
}

const halves = (text: string): string => text.replace(/\bhalf an hour\b/g, '30 minutes')
  .replace(new RegExp(`\\b(?:an?|1) (${LENGTH}) and a half\\b`, 'g'), '1.5 $1').replace(/\b(\d+|one) and a half\b/g, (_, whole: string) => `${whole === 'one' ? 1 : whole}.5`)
  .replace(new RegExp(`\\b(?:an?) (?=(?:hour|day|week|month|quarter|year)\\b)`, 'g'), '1 ');

function clock(text: string): string {
  const said = text.replace(/\bhalf past (\d{1,2})\b/g, '$1:30').replace(/\bquarter past (\d{1,2})\b/g, '$1:15').replace(/\bquarter to (\d{1,2})\b/g, (_, hour: string) => `${Number(hour) - 1}:45`)
    .replace(/\b(\d{1,2}) o'clock\b/g, '$1:00').replace(/\bnoon\b/g, '12:00').replace(/\bmidnight\b/g, '0:00');
  return said.replace(/(?<![\d:.-])(\d{1,2})(?= (?:in the (?:morning|afternoon|evening)|at night)\b)/g, '$1:00').replace(/(?<![\d:.-])(\d{1,2})(?::(\d\d))? ?([ap])\.?m\b\.?/g, (_, hour: string, minute: string | undefined, half: string) => `${(Number(hour) % 12) + (half === 'p' ? 12 : 0)}:${minute ?? '00'}`)
    .replace(/\b(\d{1,2}):(\d\d) (?:in the (?:afternoon|evening)|at night)\b/g, (_, hour: string, minute: string) => `${(Number(hour) % 12) + 12}:${minute}`).replace(/(\d:\d\d) in the morning\b/g, '$1').replace(/\b0(\d:\d\d)\b/g, '$1');
}

function amounts(text: string): string {
  const plain = text.replace(/(\d)\.(?=\d{3} ?(?:€|eur|chf))/g, '$1').replace(/([€$£] ?)(\d{1,3})\.(?=\d{3}\b)/g, '$1$2').replace(/([€$£] ?\d+(?:\.\d+)?) ?m\b/g, '$1 million');
  const whole = plain.replace(/(\d+(?:\.\d+)?) ?(k|thousand|million|mn)\b/g, (_, number: string, unit: string) => String(Number(number) * (unit.startsWith('m') ? 1_000_000 : 1_000))).replace(/(\d) ?(?:percent|per cent|%)/g, '$1 %');
  return CURRENCIES.reduce((rest, [sign, words, name]) => rest.replace(new RegExp(`${sign} ?(\\d+(?:\\.\\d+)?)`, 'g'), `$1 ${name}`).replace(new RegExp(`(\\d) ?${sign.trim()}(?!\\w)`, 'g'), `$1 ${name}`).replace(new RegExp(`\\b(?:${words})\\b`, 'g'), name), whole);
}

/** `2 h 10 min` and `2 hours and 10 minutes` are one length. */
function lengths(text: string): string {
  const out = text.replace(LASTING, (_, number: string, word: string) => {
    const [, factor = 1, unit = ''] = LENGTHS.find(([words]) => new RegExp(`^(?:${words})$`).test(word)) ?? [];
    return `${Number((Number(number) * factor).toFixed(6))} ${unit}`;
  });
  return out.replace(/\b(\d+(?:\.\d+)?) sec(?: and|,)? (\d+(?:\.\d+)?) sec\b/g, (_, a: string, b: string) => `${Number(a) + Number(b)} sec`);
}
