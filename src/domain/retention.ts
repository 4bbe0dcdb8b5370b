// How long a memory stays. What nobody has said again or cited for long enough is closed (archived: no recall finds it), and what has
// been closed for long enough is deleted. Wishes, decisions and constraints stay until somebody takes them back. One sweep never takes
// more than a small part of a tenant's memories: a mistake in these numbers must not cost a memory.
import type { MemoryType } from './status.ts';

/** Days after which a memory nobody repeats or cites has half its strength. */
export const HALF_LIFE_DAYS: Readonly<Record<MemoryType, number>> = { preference: 180, fact: 90, decision: 365, constraint: 365, outcome: 30, procedure: 120 };
/** Days without being said again or cited after which it is closed; null = never. */
export const IDLE_DAYS: Readonly<Record<MemoryType, number | null>> = { preference: null, fact: 365, decision: null, constraint: null, outcome: 180, procedure: 365 };
/** Days that a closed memory is kept: for looks into the past, and for whoever finds that it was closed in error. */
export const CLOSED_DAYS = 90;
/** Of a tenant's memories in one sweep, and this many in any case. */
export const BRAKE_SHARE = 0.05;
export const BRAKE_FLOOR = 20;

export interface Retention { readonly tenant: string; readonly memories: number; /** Live ones that are due to be closed. */ readonly closes: number; /** Closed ones that are due to be deleted. */ readonly deletes: number }

/** Whether a sweep would take more than it may: then it takes nothing, and a person decides. */
export const isBraked = ({ memories, closes, deletes }: Retention): boolean => closes + deletes > Math.max(BRAKE_FLOOR, BRAKE_SHARE * memories);
