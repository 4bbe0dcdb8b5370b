// src/guards.ts with the guards of MAINSTAY_BREAK (comma-separated) switched off: only test builds get this module in the other's
// place (jest's moduleNameMapper, or test/support/break-guards.mjs in a process). Parameters stay in the statement, so that it
// still runs.
import type { Guard } from '../../src/guards.ts';
export { GUARDS } from '../../src/guards.ts';
export type { Guard };

const isBroken = (guard: Guard): boolean => (process.env['MAINSTAY_BREAK'] ?? '').split(',').includes(guard);

export const guarded = (guard: Guard, sql: string): string => (isBroken(guard) ? `((${sql}) OR true)` : sql);
export const isGuarded = (guard: Guard): boolean => !isBroken(guard);
