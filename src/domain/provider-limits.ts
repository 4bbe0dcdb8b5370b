// What a model provider says of its own limits with each answer: how much of a kind is allowed, how much of it is left, and
// when all of it is there again. A bucket fills up evenly until then.

export const LIMIT_KINDS = ['requests', 'input', 'output'] as const;
/** `input`: tokens that are not read from a cache. */
export type LimitKind = (typeof LIMIT_KINDS)[number];

export interface ProviderLimit {
  readonly limit: number;
  readonly left: number;
  /** Milliseconds until all of it is there again. */
  readonly resetMs: number;
}

export interface ProviderLimits {
  readonly kinds: Readonly<Partial<Record<LimitKind, ProviderLimit>>>;
  /** The provider refused, and takes nothing of this model for so long. */
  readonly closedMs?: number | undefined;
}

/** Milliseconds until `need` of a kind is there, `ageMs` after the provider said so. More than there ever is waits for all of it. */
export function waitForMs({ limit, left, resetMs }: ProviderLimit, need: number, ageMs: number): number {
  const short = Math.min(need, limit) - left;
  if (short <= 0 || resetMs <= 0) return 0;
  const whole = Math.max(1, limit - left);
  return Math.max(0, Math.ceil((resetMs * short) / whole) - ageMs);
}
