// API keys: how they are written, checked and limited. `mk_<id>_<secret><check>`: the id finds the row, only the SHA-256 of
// the whole key is kept, and the check (of everything before it) lets a typo or a scanner's find be told without a database.
import { createHash, timingSafeEqual } from 'node:crypto';
import { SCOPES, type Scope } from './status.ts';
import { MainstayError } from './errors.ts';

/** 64 bits name the key, 192 are secret; hexadecimal digits. */
export const KEY_ID_BYTES = 8;
export const KEY_SECRET_BYTES = 24;
const KEY = /^mk_([0-9a-f]{16})_[0-9a-f]{48}([0-9a-f]{8})$/;

const sha256 = (text: string): Buffer => createHash('sha256').update(text).digest();
const checkOf = (body: string): string => sha256(`check:${body}`).toString('hex').slice(0, 8);

/** The key of fresh random bytes. The caller shows it once and keeps its digest. */
export function composeKey(idBytes: Buffer, secretBytes: Buffer): { id: string; key: string; hash: Buffer } {
  const id = idBytes.toString('hex');
  const body = `mk_${id}_${secretBytes.toString('hex')}`;
  const key = body + checkOf(body);
  return { id, key, hash: sha256(key) };
}

/** The id of what may be a key, or undefined for what cannot be one. */
export function keyIdOf(key: string): string | undefined {
  const found = KEY.exec(key);
  return found && checkOf(key.slice(0, -8)) === found[2] ? found[1] : undefined;
}

/** Compares in constant time. */
export const keyMatches = (key: string, hash: Uint8Array): boolean => hash.length === 32 && timingSafeEqual(sha256(key), hash);

/** `all`, or names separated by commas. */
export function scopesOf(text: string): Scope[] {
  if (text.trim() === 'all') return [...SCOPES];
  const names = text.split(',').map((name) => name.trim()).filter(Boolean);
  const unknown = names.find((name) => !(SCOPES as readonly string[]).includes(name));
  if (names.length === 0 || unknown !== undefined) throw new MainstayError('bad_request', `"${(unknown ?? text).slice(0, 60)}" is no scope; there are: all, ${SCOPES.join(', ')}.`, { fields: [{ path: 'scopes', message: 'unknown scope' }] });
  return [...new Set(names)] as Scope[];
}

/** What a key may do and for whom. */
export interface Bearer {
  readonly keyId: string;
  readonly tenant: string;
  /** The one user this key acts for. */
  readonly user: string | undefined;
  readonly scopes: readonly string[];
  readonly expiresAt: Date | undefined;
}

/** A key may only hand on what it has itself: its scopes, its user where it is bound to one, and its time. */
export function refuseEscalation(bearer: Bearer, wanted: { readonly scopes: readonly string[]; readonly user: string | undefined; readonly expiresAt: Date | undefined }): void {
  const beyond = wanted.scopes.find((scope) => !bearer.scopes.includes(scope));
  if (beyond !== undefined) throw new MainstayError('forbidden', `This key does not hold "${beyond}" and cannot grant it.`, { fields: [{ path: 'scopes', message: `lacks ${beyond}` }] });
  if (bearer.user === undefined && wanted.user !== undefined && !bearer.scopes.includes('users:any')) throw new MainstayError('forbidden', 'This key lacks `users:any` and cannot make a key for a user.', { fields: [{ path: 'user', message: 'lacks users:any' }] });
  if (bearer.user !== undefined && wanted.user !== bearer.user) throw new MainstayError('forbidden', 'This key is bound to a user and can only make keys for that user.', { fields: [{ path: 'user', message: 'another user' }] });
  if (bearer.expiresAt !== undefined && (wanted.expiresAt === undefined || wanted.expiresAt > bearer.expiresAt)) throw new MainstayError('forbidden', `This key ends at ${bearer.expiresAt.toISOString()} and cannot make one that outlives it.`, { fields: [{ path: 'expiresAt', message: 'later than this key' }] });
}
