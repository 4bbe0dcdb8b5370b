// What may enter a row: JSON without NUL, not too deep, not too large. Checked before any statement, so that one run's
// bad value never fails a group of others.
import { hash } from 'node:crypto';
import { MainstayError } from './errors.ts';
import { MAX_JSON_BYTES, MAX_JSON_DEPTH } from './tunables.ts';

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };

/** The value's JSON text. Throws `data_not_storable` with the path of what cannot be kept. `undefined` members vanish, as in JSON. */
export function storable(value: unknown, what: string, maxBytes = MAX_JSON_BYTES): string {
  check(value ?? null, what, 0, new Set());
  const text = JSON.stringify(value ?? null);
  const bytes = Buffer.byteLength(text);
  if (bytes > maxBytes) throw new MainstayError('data_not_storable', `${what} is ${bytes} bytes of JSON; at most ${maxBytes} can be kept.`);
  return text;
}

function check(value: unknown, path: string, depth: number, seen: Set<object>): void {
  if (depth > MAX_JSON_DEPTH) throw new MainstayError('data_not_storable', `${path.slice(0, 200)} is nested deeper than ${MAX_JSON_DEPTH}.`);
  if (value === null || typeof value === 'boolean' || value === undefined) return;
  if (typeof value === 'string') {
    if (value.includes('\u0000')) throw new MainstayError('data_not_storable', `${path.slice(0, 200)} contains a NUL character.`);
    if (!value.isWellFormed()) throw new MainstayError('data_not_storable', `${path.slice(0, 200)} contains half of a surrogate pair.`);
    return;
  }
  if (typeof value === 'number') {
    if (!Number.isFinite(value)) throw new MainstayError('data_not_storable', `${path.slice(0, 200)} is ${value}, which JSON cannot hold.`);
    return;
  }
  if (typeof value !== 'object') throw new MainstayError('data_not_storable', `${path.slice(0, 200)} is a ${typeof value}, which JSON cannot hold.`);
  if (seen.has(value)) throw new MainstayError('data_not_storable', `${path.slice(0, 200)} contains itself.`);
  if ('toJSON' in value && typeof value.toJSON === 'function') return;
  seen.add(value);
  for (const [key, inner] of Object.entries(value)) {
    check(key, `a key of ${path}`, depth, seen);
    check(inner, `${path}.${key}`, depth + 1, seen);
  }
  seen.delete(value);
}

/** `base` with `patch` laid over it, after RFC 7396: objects are joined, null takes a member away, anything else replaces. */
export function mergePatch(base: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const merged = new Map(isObject(base) ? Object.entries(base) : []);
  for (const [key, value] of Object.entries(patch)) {
    if (value === undefined) continue;
    if (value === null) merged.delete(key);
    else merged.set(key, mergePatch(merged.get(key), value));
  }
  return Object.fromEntries(merged);
}
const isObject = (value: unknown): value is Record<string, unknown> => typeof value === 'object' && value !== null && !Array.isArray(value);

/** The same value always gives the same text: object keys sorted at every level. For digests, never for storage. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_key, inner: unknown) =>
    inner !== null && typeof inner === 'object' && !Array.isArray(inner)
      ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1)))
      : inner) ?? 'null';
}

/** Of a request under an idempotency key: 32 hex digits, the first half of its SHA-256. */
export const requestDigest = (request: unknown): string => hash('sha256', canonicalJson(request)).slice(0, 32);
