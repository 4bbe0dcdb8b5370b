// What a process gets before its script where this test run has a guard switched off: the same guard is off there.
import { resolve } from 'node:path';

export const brokenGuard = (): string[] => (process.env['MAINSTAY_BREAK'] ? ['--import', resolve(import.meta.dirname, 'break-guards.mjs')] : []);
