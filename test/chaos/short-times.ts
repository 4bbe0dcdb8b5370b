// src/domain/tunables.ts as the processes under chaos get it: what takes the batch lane minutes takes it seconds.
export * from '../../src/domain/tunables.ts';
export const BATCH_WAIT_MS = 500;
export const BATCH_LOOK_MS = 300;
export const BATCH_LOOK_MAX_MS = 1_000;
export const BATCH_CREATE_MS = 3_000;
export const BATCH_LOST_MS = 12_000;
export const BATCH_REFUSED_MS = 1_000;
