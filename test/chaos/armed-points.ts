// src/fault-points.ts as the processes under chaos get it: each point asks whether it is the one that the harness has armed.
export { FAULT_POINTS } from '../../src/fault-points.ts';
export type { FaultPoint } from '../../src/fault-points.ts';
export { pass as faultPoint } from './in-process.ts';
