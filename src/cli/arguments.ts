// How words of the command line become values. What cannot be understood is bad usage (exit code 2), told before anything
// was sent.
import { readFileSync } from 'node:fs';
import { InvalidArgumentError } from 'commander';
import { messageOf } from '../domain/errors.ts';

/** A whole number; its range is the server's to judge. */
export function wholeNumber(text: string): number {
  if (!/^-?\d{1,15}$/.test(text)) throw new InvalidArgumentError('It must be a whole number.');
  return Number(text);
}

/** JSON itself, `@file` that holds it, or `-` for standard input. */
export function jsonArgument(text: string): unknown {
  const source = text === '-' ? readText(0, 'standard input') : text.startsWith('@') ? readText(text.slice(1), text.slice(1)) : text;
  try {
    return JSON.parse(source) as unknown;
  } catch (error) {
    throw new InvalidArgumentError(`It is not JSON: ${messageOf(error)}. Give JSON, @file, or - for standard input.`);
  }
}

/** JSON objects, one a line, in a file or, with `-`, on standard input; empty lines are passed over. */
export function jsonLines(file: string): { readonly line: number; readonly value: Record<string, unknown> }[] {
  return readText(file === '-' ? 0 : file, file === '-' ? 'standard input' : file).split('\n').flatMap((text, at) => {
    if (text.trim() === '') return [];
    let value: unknown;
    try { value = JSON.parse(text); } catch (error) { throw new InvalidArgumentError(`Line ${at + 1} is not JSON: ${messageOf(error)}`); }
    if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new InvalidArgumentError(`Line ${at + 1} is not a JSON object.`);
    return [{ line: at + 1, value: value as Record<string, unknown> }];
  });
}

export function jsonObject(text: string): Record<string, unknown> {
  const value = jsonArgument(text);
  if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new InvalidArgumentError('It must be a JSON object.');
  return value as Record<string, unknown>;
}

/** Names separated by commas; an empty text is no name at all. */
export const nameList = (text: string): string[] => text.split(',').map((name) => name.trim()).filter(Boolean);

/** ISO 8601 with a zone. */
export function isoTime(text: string): string {
  if (!/^\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)$/.test(text) || Number.isNaN(Date.parse(text))) throw new InvalidArgumentError('It must be a time with a zone, such as 2027-01-31T09:00:00Z.');
  return text;
}

function readText(from: string | 0, what: string): string {
  try {
    return readFileSync(from, 'utf8');
  } catch (error) {
    throw new InvalidArgumentError(`${what} cannot be read: ${messageOf(error)}`);
  }
}
