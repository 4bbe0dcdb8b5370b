// Secrets by their shape: keys, tokens, passwords. What looks like one never reaches the model that extracts
// memories, nor memory itself. Patterns first, for they are precise; then long words that are too random to be language.
// It is a net with holes, not a promise: a password that reads like a sentence passes.
import { PII_FOR_ALL, redact } from './pii.ts';

const KEYS: readonly RegExp[] = [
  /-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)/g,
  /\bsk-(?:ant-|proj-|live-)?[\w-]{16,}/g,
  /\b(?:sk|pk|rk)_(?:live|test)_[A-Za-z0-9]{10,}/g,
  /\b(?:AKIA|ASIA|AGPA|AIDA|AROA)[A-Z0-9]{16}\b/g,
  /\b(?:ghp|gho|ghu|ghs|ghr)_[A-Za-z0-9]{30,}/g,
  /\bgithub_pat_\w{30,}/g,
  /\bglpat-[\w-]{16,}/g,
  /\bxox[abposr]-[\w-]{10,}/g,
  /\bAIza[\w-]{30,}/g,
  /\bya29\.[\w-]{20,}/g,
  /\bnpm_[A-Za-z0-9]{30,}/g,
  /\bhf_[A-Za-z0-9]{20,}/g,
  /\bSG\.[\w-]{16,}\.[\w-]{16,}/g,
  /\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}/g,
  /\bwhsec_[A-Za-z0-9+/=]{16,}/g,
  /\b(?:Bearer|Basic)\s+[A-Za-z0-9+/._~=-]{16,}/g,
];
/** What stands between the words and the secret is kept, the secret is not. */
const NAMED: readonly RegExp[] = [
  /(?<keep>\b[a-z][a-z0-9+.-]*:\/\/[^\s:/@]{1,100}:)(?<secret>[^\s/@]{1,200})(?=@)/gi,
  /(?<keep>\b(?:pass(?:word|phrase|code|wd)|kennwort|passwort)\b["']?\s*(?:is|was|are|=|:|to be|to)\s*["'`]?)(?<secret>[^\s"'`,;]{3,}[^\s"'`,;.])/gi,
  /(?<keep>\b(?:pin|cvv|cvc|otp|security code|ssn|social security number)\b["']?\s*(?:number|code)?\s*(?:is|was|=|:)\s*["'`]?)(?<secret>\d[\d -]{2,})/gi,
  /(?<keep>\b(?:api|access|secret|private|auth|session|client|refresh|encryption|signing)[ _-]?(?:key|token|secret)s?\b["']?\s*(?:is|was|=|:)\s*["'`]?)(?<secret>(?=[^\s"'`,;]*\d)[^\s"'`,;]{6,})/gi,
  /(?<keep>\b(?:token|secret|credential)s?\b["']?\s*(?:is|=|:)\s*["'`]?)(?<secret>(?=[^\s"'`,;]*\d)(?=[^\s"'`,;]*[a-z])[^\s"'`,;]{8,})/gi,
];
/** "The password is required" tells nobody a password. */
const NO_PASSWORD = /^(?:required|wrong|incorrect|expired|invalid|missing|needed|reset|changed|being|not|the|same|too|set|stored|forgotten|unknown|correct|weak|strong|empty|blank|optional|reused|shared|hashed|encrypted|still|never|now|also|his|her|their|our|case-sensitive|protected)$/i;
const LONG_WORD = /[A-Za-z0-9+/_=-]{24,}/g;

export const REMOVED = '[secret removed]';

export const holdsSecret = (text: string): boolean => scrub(text) !== text;

/** The text with every secret replaced, card numbers included. */
export const scrub = (text: string): string => redact(scrubSecrets(text), PII_FOR_ALL);

/** Card numbers stay: of them, as of other personal data, the tenant's rules decide. */
export function scrubSecrets(text: string): string {
  let clean = text;
  for (const pattern of KEYS) clean = clean.replace(pattern, REMOVED);
  for (const pattern of NAMED) {
    clean = clean.replace(pattern, (whole: string, ...rest: unknown[]) => {
      const { keep = '', secret = '' } = rest.at(-1) as Record<string, string>;
      return NO_PASSWORD.test(secret) || secret.startsWith('[secret') ? whole : keep + REMOVED;
    });
  }
  return clean.replace(LONG_WORD, (word) => (isRandom(word) ? REMOVED : word));
}

/** Mixed cases and digits with as many bits as a key has. Paths, uuids and hexadecimal digests are no keys by themselves. */
function isRandom(word: string): boolean {
  if (!/[a-z]/.test(word) || !/[A-Z]/.test(word) || (word.match(/\d/g) ?? []).length < 3) return false;
  if (/^[0-9a-f-]+$/i.test(word) || (word.match(/[/_=-]/g) ?? []).length > word.length / 6) return false;
  const counts = new Map<string, number>();
  for (const letter of word) counts.set(letter, (counts.get(letter) ?? 0) + 1);
  const bits = [...counts.values()].reduce((sum, count) => sum - (count / word.length) * Math.log2(count / word.length), 0);
  return bits >= 3.9;
}
