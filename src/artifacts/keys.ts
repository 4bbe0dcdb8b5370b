// The form of a key, the same for every object store: parts between slashes, each made of what `encodeURIComponent` leaves. So
// a name of somebody's, once encoded, can neither reach out of its place nor mean something else to a file system, and a
// part can be a file name. Keys are made by us: one that is refused here is a fault of ours, not of a caller.
import { MainstayError } from '../domain/errors.ts';
import { MAX_BLOB_KEY_CHARACTERS, MAX_BLOB_PART_CHARACTERS } from '../domain/tunables.ts';

const PART = /^[A-Za-z0-9\-_.!~*'()%]+$/;

/** The parts of a key. Throws `internal` for an empty, absolute, climbing or over-long one, and for other characters. */
export function partsOf(key: string): string[] {
  const parts = key.split('/');
  if (key.length > MAX_BLOB_KEY_CHARACTERS || !parts.every(isPart)) throw new MainstayError('internal', `${JSON.stringify(key.slice(0, 80))} is no key of the object store.`);
  return parts;
}

const isPart = (part: string): boolean => PART.test(part) && part !== '.' && part !== '..' && part.length <= MAX_BLOB_PART_CHARACTERS;
