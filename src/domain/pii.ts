// Personal data by its shape: addresses, telephone numbers, accounts, cards, internet addresses. A tenant says of each class whether memory
// may hold it, holds the rest without it, or refuses what holds it. What may not be held is taken out before the model that
// extracts memories reads a line. Shapes are a net with holes: a number nobody calls a telephone number, written without a plus, passes.
import { isIPv6 } from 'node:net';

export const PII_CLASSES = ['email', 'phone', 'iban', 'card', 'ip'] as const;
export type PiiClass = (typeof PII_CLASSES)[number];

/** `redact`: kept without it; `reject`: what holds it is no memory. */
export const PII_RULES = ['allow', 'redact', 'reject'] as const;
export type PiiRule = (typeof PII_RULES)[number];
export type PiiRules = Readonly<Record<PiiClass, PiiRule>>;

/** What holds where a tenant has said nothing, and for texts of no tenant. */
export const PII_FOR_ALL: PiiRules = { email: 'allow', phone: 'allow', iban: 'allow', card: 'reject', ip: 'allow' };

interface Span { readonly of: PiiClass; readonly start: number; readonly end: number }

const EMAIL = /[\p{L}\p{N}._%+'-]{1,64}@(?:[\p{L}\p{N}-]{1,63}\.){1,8}\p{L}{2,24}/gu;
const IBAN = /(?<![A-Za-z0-9])(?:[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}|[a-z]{2}\d{2}[a-z0-9]{11,30})(?![A-Za-z0-9])/g;
const CARD = /(?<![\d-])(?:\d[ -]?){12,18}\d(?![\d-])/g;
const BYTE = '(?:25[0-5]|2[0-4]\\d|1?\\d?\\d)';
/** Four numbers with dots are an address unless they are called a version. */
const IPV4 = new RegExp(`(?<![\\w.:-])(?<!\\bv(?:ersion|er)?[. ]{0,2})(?:${BYTE}\\.){3}${BYTE}(?![\\w-]|\\.\\d)`, 'gi');
const IPV6 = /(?<![\w:.])(?:[0-9a-f]{0,4}:){2,7}[0-9a-f]{0,4}(?![\w:])/gi;
const ABROAD = /(?<![\w+.-])(?:\+\d{1,3}|00[1-9]\d{0,2}(?=[ ./-]))(?:[ ./-]?\(?\d{1,8}\)?){1,6}(?![\w-])/g;
const AMERICAN = /(?<![\w.-])(?:\([2-9]\d{2}\) ?|[2-9]\d{2}[.-])\d{3}[ .-]\d{4}(?![\w-])/g;
const CALLED = /\b(?:tele)?(?:phone|fon|fax)|\b(?:tel|mobile|cell|handy|whatsapp|call|ring)\b/gi;
/** From a word such as `phone` to its number. */
const NUMBER_BEHIND = /^(?:[ \t]*(?:number|no\.?|nr\.?|is|still|now|at|on|me|us|under|[:=#.]))*[ \t]*(?<number>[+(]?\d[\d ()./-]{4,18}\d)(?!\w)/i;
const DATE = /^(?:\d{4}[-./]\d{1,2}[-./]\d{1,2}|\d{1,2}[-./]\d{1,2}[-./]\d{2,4})$/;
const REMOVED = new RegExp(`\\[(${PII_CLASSES.join('|')}) removed\\]`, 'g');

/** What marks the place of what was taken out. */
export const removed = (of: PiiClass): string => `[${of} removed]`;

/** Classes the text holds. */
export const piiIn = (text: string): PiiClass[] => spansOf(text).map(({ of }) => of);

/** Classes that were taken out of the text. */
export const takenFrom = (text: string): PiiClass[] => [...text.matchAll(REMOVED)].map((match) => match[1] as PiiClass);

/** The text without what the rules do not allow. */
export function redact(text: string, rules: PiiRules): string {
  let [clean, from] = ['', 0];
  for (const { of, start, end } of spansOf(text)) {
    if (rules[of] === 'allow') continue;
    clean += text.slice(from, start) + removed(of);
    from = end;
  }
  return clean + text.slice(from);
}

/** In order, none over another: what is found first is not looked at again, so that an account's digits are no telephone number. */
function spansOf(text: string): Span[] {
  if (!/\d|@|::/.test(text)) return [];
  const spans: Span[] = [];
  let left = text;
  const take = (of: PiiClass, start: number, length: number): void => {
    spans.push({ of, start, end: start + length });
    left = left.slice(0, start) + '\u0001'.repeat(length) + left.slice(start + length);
  };
  const each = (of: PiiClass, pattern: RegExp, size: (found: string) => number): void => {
    for (const match of left.matchAll(pattern)) { const length = size(match[0]); if (length > 0) take(of, match.index, length); }
  };
  const whole = (holds: (found: string) => boolean) => (found: string): number => (holds(found) ? found.length : 0);
  each('email', EMAIL, whole(() => true));
  each('iban', IBAN, ibanLength);
  each('card', CARD, whole(isCard));
  each('ip', IPV4, whole(() => true));
  each('ip', IPV6, whole((found) => /\d/.test(found) && isIPv6(found)));
  each('phone', ABROAD, whole((found) => digitsOf(found).length >= 8 && digitsOf(found).length <= 17));
  each('phone', AMERICAN, whole(() => true));
  for (const match of left.matchAll(CALLED)) {
    const at = match.index + match[0].length;
    const behind = NUMBER_BEHIND.exec(left.slice(at, at + 60));
    const number = behind?.groups?.['number'];
    if (behind && number !== undefined && !DATE.test(number) && digitsOf(number).length >= 6) take('phone', at + behind[0].length - number.length, number.length);
  }
  return spans.sort((a, b) => a.start - b.start);
}

const digitsOf = (text: string): string => text.replace(/\D/g, '');

/** ISO 13616: the remainder by 97 is 1. Words in capitals behind an account are not part of it. */
function ibanLength(found: string): number {
  for (let length = found.length; length >= 15; length = found.lastIndexOf(' ', length - 1)) {
    const account = found.slice(0, length).replaceAll(' ', '').toUpperCase();
    if (account.length < 15) return 0;
    const digits = (account.slice(4) + account.slice(0, 4)).replace(/[A-Z]/g, (letter) => String(letter.charCodeAt(0) - 55));
    if ([...digits].reduce((rest, digit) => (rest * 10 + Number(digit)) % 97, 0) === 1) return length;
  }
  return 0;
}

/** Luhn's check, and a first digit that card numbers have. */
function isCard(written: string): boolean {
  const digits = digitsOf(written);
  if (!/^[2-6]/.test(digits) || digits.length < 13 || /^(\d)\1+$/.test(digits)) return false;
  const sum = [...digits].reverse().reduce((total, digit, at) => {
    const value = Number(digit) * (at % 2 === 1 ? 2 : 1);
    return total + (value > 9 ? value - 9 : value);
  }, 0);
  return sum % 10 === 0;
}
