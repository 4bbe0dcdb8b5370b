// The gate's policy: every number it decides by, as one value, so that stored verdicts can be judged again under another one. Its
// rules stand in the stages; what is here was fitted on the `dev` part of eval/gate and is reported on its `test` part.
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { PII_CLASSES, PII_FOR_ALL, PII_RULES } from './pii.ts';
import { CLAIMED_ROLES, MEMORY_TYPES, type MemoryType } from './status.ts';

export const share = z.number().min(0).max(1);
/** How many live memories there may be. */
export const rows = z.int().min(0).max(10_000_000);
/** From which cosine on two statements may be the same, for one embedder: the scales of two models have nothing to do with each other. */
const thresholds = z.strictObject({
  /** A pattern of fingerprints, such as `^builtin:.*minilm`. */
  embedder: z.string().max(200).refine((text) => { try { new RegExp(text); return true; } catch { return false; } }, 'is no regular expression'),
  /** From here on, with all guards passed, a paraphrase. */
  high: share,
  /** From here on to `high`: kept apart, noted as related. */
  low: share,
  /** ISO date */
  calibratedAt: z.string().max(40),
  pairs: z.int().min(0),
});
export type Thresholds = z.infer<typeof thresholds>;

export const policySchema = z.strictObject({
  /** Confidence from which a candidate is admitted, and from which it is at least kept for a second sighting. */
  admitFrom: share,
  quarantineFrom: share,
  /** The same for memories of a type, where it differs. */
  byType: z.partialRecord(z.enum(MEMORY_TYPES), z.strictObject({ admitFrom: share.optional(), quarantineFrom: share.optional() })).optional(),
  /** Parts of confidence; they add up to 1. */
  weights: z.strictObject({ evidence: share, source: share, model: share, type: share, specificity: share }),
  /** A document is trusted as a tool is. */
  sources: z.record(z.enum(CLAIMED_ROLES), share),
  /** What the model's own word is worth. */
  model: z.strictObject({ high: share, medium: share, low: share }),
  /** How often memories of a type turn out worth keeping, after A-MAC's priors. */
  types: z.record(z.enum(MEMORY_TYPES), share),
  /** Below this share of its own words in the quotes nobody *stated* a statement. */
  statedFrom: share,
  /** The user's own quotes carry a statement alone when they hold this share of its words. */
  ownWords: share,
  /** Share of words from which two statements with equal guards say the same, without any embedder. */
  sameWords: share,
  /** A value says the same when the smaller holds this share of words in common. */
  valueWords: share,
  /** What of personal data memory may hold. */
  pii: z.record(z.enum(PII_CLASSES), z.enum(PII_RULES)),
  /** Rows one run may add. */
  maxAdmits: z.int().min(0).max(64),
  /** Live memories of the tenant, of one user, of one agent, of the workspace; and of a type, for each of those owners. */
  caps: z.strictObject({ tenant: rows, user: rows, agent: rows, workspace: rows, types: z.record(z.enum(MEMORY_TYPES), rows) }),
  /** An embedder without a row merges nothing by meaning; identical words and slots still count. */
  thresholds: z.array(thresholds).max(50),
});
export type GatePolicy = z.infer<typeof policySchema>;

export const POLICY: GatePolicy = {
  admitFrom: 0.70, quarantineFrom: 0.55,
  weights: { evidence: 0.35, source: 0.25, model: 0.15, type: 0.15, specificity: 0.10 },
  sources: { user: 1, tool: 0.7, agent: 0.4 },
  model: { high: 1, medium: 0.6, low: 0.2 },
  types: { preference: 0.9, constraint: 0.9, decision: 0.8, fact: 0.8, procedure: 0.6, outcome: 0.5 },
  statedFrom: 0.34, ownWords: 0.5, sameWords: 0.8, valueWords: 0.4,
  pii: PII_FOR_ALL,
  maxAdmits: 8,
  caps: { tenant: 200_000, user: 2_000, agent: 5_000, workspace: 20_000, types: { preference: 500, constraint: 500, decision: 2_000, fact: 10_000, procedure: 2_000, outcome: 10_000 } },
  thresholds: [
    // Paraphrases .823 to .983, same topic up to .794, unrelated up to .071; near misses .62 to .99, which only the guards tell.
    { embedder: '^builtin:.*minilm', high: 0.82, low: 0.60, calibratedAt: '2026-11-24', pairs: 48 },
  ],
};

/** What a candidate of this type must reach. */
export const bounds = ({ byType, admitFrom, quarantineFrom }: GatePolicy, type: MemoryType): { admitFrom: number; quarantineFrom: number } =>
  ({ admitFrom: byType?.[type]?.admitFrom ?? admitFrom, quarantineFrom: byType?.[type]?.quarantineFrom ?? quarantineFrom });

/** Twelve hexadecimal digits: the same numbers, the same version. */
export const policyVersion = (policy: GatePolicy): string => createHash('sha256').update(JSON.stringify(policySchema.parse(policy))).digest('hex').slice(0, 12);

export const thresholdsOf = (policy: GatePolicy, fingerprint: string): Thresholds | undefined => policy.thresholds.find(({ embedder }) => new RegExp(embedder, 'i').test(fingerprint));
