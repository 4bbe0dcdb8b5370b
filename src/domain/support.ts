// Whether an answer says what a memory says: its value, or a number, date, code or name of it, which nobody had said before the answer did.
// Told by words alone, so that anybody can tell again; it says that the answer agrees with the memory, not that it was the cause.
import { codesIn, contains, contentWords, datesIn, fold, namesIn, numbersIn, sameDate } from './gate-words.ts';

export interface Supporting { readonly value: string; readonly statement: string }

const CITATION = /\[m:[0-9a-f]{32}\]/g;
/** Values that any answer may hold: they are told by their citation alone. */
const SAYS_NOTHING = contentWords('yes no true false ok none unknown set enabled disabled');
/** A list has a first, a second and a third whatever is remembered. */
const MIN_DIGITS = 2;

/** `question`: what the run was asked; what it brought itself no memory has brought. */
export function isSupported({ value, statement }: Supporting, answer: string, question: string): boolean {
  const said = answer.replace(CITATION, ' ');
  return saysWords(contentWords(value), contentWords(said), contentWords(question))
    || brings(numbersOf(`${statement}\n${value}`), numbersOf(said), numbersOf(question))
    || bringsDate(datesIn(`${statement}\n${value}`), datesIn(said), datesIn(question))
    || brings(namesOf(value), namesOf(said), new Set(fold(question).split(' ')))
    || codesIn(statement).map((code) => code.join(' ')).some((code) => contains(fold(said), code) && !contains(fold(question), code));
}

/** All words of the value, of which one is new. */
const saysWords = (value: ReadonlySet<string>, said: ReadonlySet<string>, asked: ReadonlySet<string>): boolean =>
  [...value].every((word) => said.has(word)) && [...value].some((word) => !SAYS_NOTHING.has(word) && !asked.has(word));

const brings = (own: ReadonlySet<string>, said: ReadonlySet<string>, asked: ReadonlySet<string>): boolean => [...own].some((one) => said.has(one) && !asked.has(one));

function bringsDate(own: ReadonlySet<string>, said: ReadonlySet<string>, asked: ReadonlySet<string>): boolean {
  const among = (date: string, others: ReadonlySet<string>): boolean => [...others].some((other) => sameDate(date, other));
  return [...own].some((date) => among(date, said) && !among(date, asked));
}

const numbersOf = (text: string): Set<string> => new Set([...numbersIn(text)].filter((number) => number.length >= MIN_DIGITS));

function namesOf(text: string): Set<string> {
  const { sure, maybe } = namesIn(text);
  return new Set([...sure, ...maybe]);
}
