// The rows of the fault matrix, in the order of their numbers, and those of our own (`S`).
import type { Row } from '../row.ts';
import { R16, R17 } from './clocks.ts';
import { R13, R14, R15, R52 } from './deploys.ts';
import { R27, R47 } from './load.ts';
import { R45 } from './memory.ts';
import { R21, R23 } from './postgres-full.ts';
import { R18, R19, R20, R22 } from './postgres-loss.ts';
import { R4, R5, R6, R8 } from './redis-loss.ts';
import { R7, R9, R10, R11, R12 } from './redis-trouble.ts';
import { S1 } from './sessions.ts';
import { R24, R25, R26 } from './submits.ts';
import { R1, R2, R3, R33, R34 } from './workers.ts';

export const ROWS: readonly Row[] = [R1, R2, R3, R4, R5, R6, R7, R8, R9, R10, R11, R12, R13, R14, R15, R16, R17, R18, R19, R20, R21, R22, R23, R24, R25, R26, R27, R33, R34, R45, R47, R52, S1];
