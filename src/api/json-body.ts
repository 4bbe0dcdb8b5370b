// Reads a JSON body without trusting it: UTF-8 that is none, a depth that would break a recursive reader, a key given twice
// (readers differ in which one counts) and keys that reach for a prototype are refused before anything else sees them. No
// recursion here, and no work beyond one pass over the text.
import { MainstayError } from '../domain/errors.ts';
import { MAX_JSON_DEPTH } from '../domain/tunables.ts';

/** Two more than what a row may hold: the body wraps input and metadata. */
const MAX_DEPTH = MAX_JSON_DEPTH + 2;
const POLLUTING = new Set(['__proto__', 'constructor', 'prototype']);

/** The value, or undefined for an empty body. Throws `bad_json` or `data_not_storable`. */
export function readJson(bytes: Buffer): unknown {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new MainstayError('bad_json', 'The body is not UTF-8.');
  }
  if (text.trim() === '') return undefined;
  refuseDeep(text);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new MainstayError('bad_json', `The body is not JSON: ${error instanceof Error ? error.message.slice(0, 120) : ''}`);
  }
  refuseKeys(text);
  return value;
}

/** Before parsing, so that it also holds for text that is no JSON. */
function refuseDeep(text: string): void {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const letter = text[at];
    if (letter === '"') at = endOfString(text, at);
    else if (letter === '{' || letter === '[') { if (++depth > MAX_DEPTH) throw new MainstayError('data_not_storable', `The body is nested deeper than ${MAX_DEPTH}.`); }
    else if (letter === '}' || letter === ']') depth--;
  }
}

/** After parsing: the text is JSON, so a string followed by a colon is a key of the innermost object. */
function refuseKeys(text: string): void {
  const open: Set<string>[] = [];
  for (let at = 0; at < text.length; at++) {
    const letter = text[at];
    if (letter === '{' || letter === '[') open.push(new Set());
    else if (letter === '}' || letter === ']') open.pop();
    else if (letter === '"') {
      const end = endOfString(text, at);
      if (isKey(text, end)) refuseKey(JSON.parse(text.slice(at, end + 1)) as string, open.at(-1));
      at = end;
    }
  }
}

function refuseKey(key: string, siblings: Set<string> | undefined): void {
  if (POLLUTING.has(key)) throw new MainstayError('bad_json', `The body has a key "${key}", which is not accepted.`);
  if (siblings?.has(key)) throw new MainstayError('bad_json', `The body has the key "${key.slice(0, 60)}" twice in one object.`);
  siblings?.add(key);
}

/** Place of the quote that ends the string that begins at `start`; the text's end where none does. */
function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] === '\\') at++;
    else if (text[at] === '"') return at;
  }
  return text.length;
}

function isKey(text: string, end: number): boolean {
  let at = end + 1;
  while (text[at] === ' ' || text[at] === '\n' || text[at] === '\r' || text[at] === '\t') at++;
  return text[at] === ':';
}
