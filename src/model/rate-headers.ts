// The provider's limits as its headers say them: `anthropic-ratelimit-<kind>-{limit,remaining,reset}`, the last an RFC 3339
// time. `tokens` alone, without input and output, is taken for input; beside them it repeats the tighter of the two.
import type { LimitKind, ProviderLimit, ProviderLimits } from '../domain/provider-limits.ts';

const KINDS: readonly (readonly [LimitKind, string])[] = [['requests', 'requests'], ['input', 'input-tokens'], ['output', 'output-tokens']];

/** `nowMs`: wall clock. `closedMs`: of a refusal with `retry-after`. */
export function limitsOf(headers: Headers, nowMs: number, closedMs?: number): ProviderLimits {
  const kinds: Partial<Record<LimitKind, ProviderLimit>> = {};
  for (const [kind, name] of KINDS) {
    const said = limitOf(headers, name, nowMs);
    if (said) kinds[kind] = said;
  }
  if (!kinds.input && !kinds.output) {
    const tokens = limitOf(headers, 'tokens', nowMs);
    if (tokens) kinds.input = tokens;
  }
  return { kinds, closedMs };
}

function limitOf(headers: Headers, name: string, nowMs: number): ProviderLimit | undefined {
  const header = (part: string): string => headers.get(`anthropic-ratelimit-${name}-${part}`) ?? '';
  const [limit, left, resetMs] = [Number(header('limit') || NaN), Number(header('remaining') || NaN), Date.parse(header('reset')) - nowMs];
  return Number.isFinite(limit) && limit > 0 && Number.isFinite(left) && Number.isFinite(resetMs) ? { limit, left: Math.max(0, left), resetMs: Math.max(0, resetMs) } : undefined;
}
