// What a tool answered, as JSON that can be kept. A tool that has done its work must not fail for its answer: bytes become base64
// with their digest, text is made well-formed, what JSON cannot hold is named, and what is too large is kept by its beginning.
import { createHash } from 'node:crypto';
import type { Json } from '../domain/json.ts';
import { MAX_JSON_DEPTH, MAX_VALUE_BYTES } from '../domain/tunables.ts';

/** Of a value that is too large to be kept: JSON escapes at most six bytes for one. */
const KEPT_CHARACTERS = Math.floor(MAX_VALUE_BYTES / 8);

export function storableOutput(value: unknown): Json {
  const json = storableOf(value, 0, new Set());
  const text = JSON.stringify(json);
  if (text.length <= MAX_VALUE_BYTES && Buffer.byteLength(text) <= MAX_VALUE_BYTES) return json;
  return { $cut: { characters: text.length, kept: KEPT_CHARACTERS }, text: (typeof json === 'string' ? json : text).slice(0, KEPT_CHARACTERS).toWellFormed() };
}

function storableOf(value: unknown, depth: number, above: Set<object>): Json {
  switch (typeof value) {
    case 'string': return clean(value);
    case 'number': return Number.isFinite(value) ? value : String(value);
    case 'boolean': return value;
    case 'bigint': return value.toString();
    case 'object': break;
    default: return null; // undefined, functions, symbols: as JSON has it in a list
  }
  if (value === null) return null;
  if (ArrayBuffer.isView(value)) return bytesOf(Buffer.from(value.buffer, value.byteOffset, value.byteLength));
  if (value instanceof ArrayBuffer) return bytesOf(Buffer.from(value));
  if (above.has(value)) return '(contains itself)';
  if (depth >= MAX_JSON_DEPTH) return '(nested too deep)';
  if ('toJSON' in value && typeof value.toJSON === 'function') return storableOf((value as { toJSON(): unknown }).toJSON(), depth + 1, above);
  above.add(value);
  const kept = Array.isArray(value)
    ? value.map((inner) => storableOf(inner, depth + 1, above))
    : Object.fromEntries(Object.entries(value).filter(([, inner]) => inner !== undefined && typeof inner !== 'function').map(([key, inner]) => [clean(key), storableOf(inner, depth + 1, above)]));
  above.delete(value);
  return kept;
}

/** NUL and halves of surrogate pairs become U+FFFD: Postgres holds neither. */
const clean = (text: string): string => text.toWellFormed().replaceAll('\u0000', '\ufffd');

/** base64 is a third longer; beyond what can be kept the digest and the size stay. */
function bytesOf(bytes: Buffer): Json {
  const fits = bytes.length <= MAX_VALUE_BYTES / 2;
  return { $bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex'), base64: fits ? bytes.toString('base64') : null };
}
