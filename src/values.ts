// Values of steps, records, tools and outputs: in their row while small, in the object store beyond that. The row then holds
// `sha256:<digest>:<bytes>`; the key is made of tenant and digest, so that no row can name another tenant's value and a fork
// shares what it took over.
import { createHash } from 'node:crypto';
import type { BlobStore, Stored } from './domain/blob.ts';
import { MainstayError } from './domain/errors.ts';
import { storable } from './domain/json.ts';
import { INLINE_BYTES, MAX_VALUE_BYTES } from './domain/tunables.ts';

const REFERENCE = /^sha256:([0-9a-f]{64}):(\d+)$/;
const keyOf = (tenant: string, digest: string): string => `values/${encodeURIComponent(tenant)}/${digest}.json`;
const digestOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

/** The key in the object store of what a reference of this tenant names. Throws `value_lost` for what is no reference. */
export function valueKey(tenant: string, reference: string): string {
  const digest = REFERENCE.exec(reference)?.[1];
  if (digest === undefined) throw new MainstayError('value_lost', 'The row holds no reference to a value.');
  return keyOf(tenant, digest);
}

/** The value as its row keeps it. Throws `data_not_storable`; `value_unavailable` when a large one cannot be put. */
export async function keepValue(blobs: BlobStore, tenant: string, value: unknown, what: string): Promise<Stored> {
  const json = storable(value, what, MAX_VALUE_BYTES);
  if (json.length <= INLINE_BYTES && Buffer.byteLength(json) <= INLINE_BYTES) return { json, blob: null };
  const bytes = Buffer.from(json);
  const digest = digestOf(bytes);
  await blobs.put(keyOf(tenant, digest), bytes);
  return { json: null, blob: `sha256:${digest}:${bytes.length}` };
}

/** What a reader is told of a value that is not in its row. */
export function storedNote(reference: string): { $stored: { bytes: number; sha256: string } } {
  const [, sha256 = '', bytes] = REFERENCE.exec(reference) ?? [];
  return { $stored: { bytes: Number(bytes ?? 0), sha256 } };
}

/** The value behind a reference. Throws `value_lost` when it is gone or is not what was put. */
export async function readValue(blobs: BlobStore, tenant: string, reference: string): Promise<unknown> {
  const [, digest, length] = REFERENCE.exec(reference) ?? [];
  if (digest === undefined) throw new MainstayError('value_lost', 'The row holds no reference to a value.');
  const bytes = await blobs.get(keyOf(tenant, digest));
  if (!bytes) throw new MainstayError('value_lost', `The value ${digest.slice(0, 12)} is not in the object store.`);
  if (bytes.length !== Number(length) || digestOf(bytes) !== digest) throw new MainstayError('value_lost', `The value ${digest.slice(0, 12)} is not what was stored.`);
  return JSON.parse(Buffer.from(bytes).toString('utf8'));
}
