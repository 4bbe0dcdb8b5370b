// What a tenant has set for its memory, in one place: where the gate's policy and the rules of retention differ from those of everybody.
// Settings are kept by version and never changed, so that a verdict names what it was decided under.
import { z } from 'zod';
import { MainstayError } from './errors.ts';
import { bounds, POLICY, policySchema, policyVersion, rows, share, type GatePolicy, type Thresholds } from './gate-policy.ts';
import { mergePatch } from './json.ts';
import { PII_CLASSES, PII_RULES } from './pii.ts';
import { days, daysOrNever, RETENTION, retentionSchema, type RetentionRules } from './retention.ts';
import { MEMORY_TYPES } from './status.ts';

/** Left out: as it was. null: as it is for everybody. */
const own = <T extends z.ZodType>(of: T) => of.nullish();
const each = <Key extends string, T extends z.ZodType>(keys: readonly Key[], of: T) => own(z.strictObject(Object.fromEntries(keys.map((key) => [key, own(of)])) as Record<Key, z.ZodOptional<z.ZodNullable<T>>>));

export const memorySettingsSchema = z.strictObject({
  /** true: nothing is learned of runs and documents that end meanwhile, not later either; what is known is recalled as before. */
  paused: own(z.boolean()),
  /** How the model is asked what runs and documents teach, whatever their own lane: `batch` costs half and may take a day. */
  extraction: own(z.strictObject({ lane: own(z.enum(['realtime', 'batch'])) })),
  gate: own(z.strictObject({
    admitFrom: own(share), quarantineFrom: own(share), byType: each(MEMORY_TYPES, z.strictObject({ admitFrom: own(share), quarantineFrom: own(share) })), maxAdmits: own(policySchema.shape.maxAdmits),
    caps: own(z.strictObject({ tenant: own(rows), user: own(rows), agent: own(rows), workspace: own(rows), types: each(MEMORY_TYPES, rows) })),
    pii: each(PII_CLASSES, z.enum(PII_RULES)),
  })),
  retention: own(z.strictObject({ halfLifeDays: each(MEMORY_TYPES, days), idleDays: each(MEMORY_TYPES, daysOrNever), rollUpDays: own(daysOrNever), closedDays: own(days) })),
});
export type MemorySettings = z.infer<typeof memorySettingsSchema>;

/** One version of a tenant's settings; version 0: nothing was ever set. */
export interface MemoryPolicy {
  readonly version: number;
  readonly settings: MemorySettings;
  readonly setBy: string | null;
  readonly setAt: Date | null;
  /** What was measured of embedders, for all tenants: it comes before what is built in. */
  readonly measured?: readonly Thresholds[];
}
export const NOTHING_SET: MemoryPolicy = { version: 0, settings: {}, setBy: null, setAt: null };

/** The gate's policy for this tenant. */
export const gatePolicyOf = ({ settings, measured = [] }: Pick<MemoryPolicy, 'settings' | 'measured'>): GatePolicy => {
  const policy = policySchema.parse(mergePatch(POLICY, settings.gate ?? {}));
  return measured.length === 0 ? policy : { ...policy, thresholds: [...measured, ...policy.thresholds] };
};

/** As a call of the model takes it: unset, the lane is the run's. */
export const extractionLane = ({ settings }: Pick<MemoryPolicy, 'settings'>): { lane?: 'realtime' | 'batch' } => (settings.extraction?.lane ? { lane: settings.extraction.lane } : {});

/** How long this tenant's memories stay. */
export const retentionOf = ({ settings }: Pick<MemoryPolicy, 'settings'>): RetentionRules => retentionSchema.parse(mergePatch(RETENTION, settings.retention ?? {}));

/** As verdicts name it: the numbers, and behind a dot the version of the tenant's settings, where it has any. */
export const policyNameOf = (policy: GatePolicy, version: number): string => (version === 0 ? policyVersion(policy) : `${policyVersion(policy)}.${version}`);

/** The settings with this change. Throws `bad_request` for a policy that contradicts itself. */
export function changedSettings(present: MemorySettings, change: MemorySettings): MemorySettings {
  const settings = memorySettingsSchema.parse(mergePatch(present, change));
  const policy = gatePolicyOf({ settings });
  for (const [path, of, { admitFrom, quarantineFrom }] of [['gate', 'Candidates', policy] as const, ...MEMORY_TYPES.map((type) => [`gate.byType.${type}`, `Candidates of type ${type}`, bounds(policy, type)] as const)]) {
    if (quarantineFrom <= admitFrom) continue;
    throw new MainstayError('bad_request', `${of} are admitted from ${admitFrom} on, so quarantine cannot begin at ${quarantineFrom}: set ${path}.admitFrom and ${path}.quarantineFrom together.`, { fields: [{ path: `${path}.quarantineFrom`, message: `above ${path}.admitFrom` }] });
  }
  return settings;
}
