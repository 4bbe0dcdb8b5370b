// How long a memory stays. What nobody has said again or cited for long enough is closed (archived: no recall finds it), and what has
// been closed for long enough is deleted. Wishes, decisions and constraints stay until somebody takes them back. A tenant may set its
// own days. One sweep never takes more than a small part of a tenant's memories: a mistake in these numbers must not cost a memory.
import { z } from 'zod';
import { MEMORY_TYPES, type MemoryType } from './status.ts';

export const days = z.int().min(1).max(36_500);
export const daysOrNever = z.union([days, z.literal('never')]);

export const retentionSchema = z.strictObject({
  /** Days after which a memory nobody repeats or cites has half its strength. */
  halfLifeDays: z.record(z.enum(MEMORY_TYPES), days),
  /** Days without being said again or cited after which it is closed. */
  idleDays: z.record(z.enum(MEMORY_TYPES), daysOrNever),
  /** Days without either after which outcomes of one owner and subject become one memory. */
  rollUpDays: daysOrNever,
  /** Days that a closed memory and a replaced document are kept: for looks into the past, and for whoever finds that it was closed in error. */
  closedDays: days,
});
export type RetentionRules = z.infer<typeof retentionSchema>;

/** For whoever has set nothing else. */
export const RETENTION: RetentionRules = {
  halfLifeDays: { preference: 180, fact: 90, decision: 365, constraint: 365, outcome: 30, procedure: 120 },
  idleDays: { preference: 'never', fact: 365, decision: 'never', constraint: 'never', outcome: 180, procedure: 365 },
  rollUpDays: 90,
  closedDays: 90,
};
/** Of a tenant's memories in one sweep, and this many in any case. */
export const BRAKE_SHARE = 0.05;
export const BRAKE_FLOOR = 20;

/** Which rule takes how many: its path in the settings, and its days. */
export interface Taken { readonly rule: string; readonly days: number; readonly memories: number }

export interface Retention {
  readonly tenant: string;
  readonly memories: number;
  /** Live ones that are due to be closed. */
  readonly closes: number;
  /** Live outcomes that are due to be rolled up. */
  readonly rolls: number;
  /** Closed ones that are due to be deleted. */
  readonly deletes: number;
  /** Version of the tenant's settings these rules are from; 0: it has none. */
  readonly settings: number;
  readonly takes: readonly Taken[];
}

/** Whether a sweep would take more than it may: then it takes nothing, and a person decides. */
export const isBraked = ({ memories, closes, rolls, deletes }: Pick<Retention, 'memories' | 'closes' | 'rolls' | 'deletes'>): boolean => closes + rolls + deletes > Math.max(BRAKE_FLOOR, BRAKE_SHARE * memories);

/** By rule, leaving out those that take nothing. `closed`: by type. */
export function takenBy({ idleDays, rollUpDays, closedDays }: RetentionRules, { closed, rolled, deleted }: { readonly closed: ReadonlyMap<MemoryType, number>; readonly rolled: number; readonly deleted: number }): Taken[] {
  const rules = [...MEMORY_TYPES.map((type) => [`idleDays.${type}`, idleDays[type], closed.get(type) ?? 0] as const), ['rollUpDays', rollUpDays, rolled] as const, ['closedDays', closedDays, deleted] as const];
  return rules.flatMap(([rule, after, memories]) => (after === 'never' || memories === 0 ? [] : [{ rule, days: after, memories }]));
}
