// The batch lane alone, as a process that can be killed.
import { readConfig } from '../../src/config.ts';
import { assembleBase, assembleBatchLane } from '../../workers/assemble.ts';

const base = await assembleBase(readConfig(), 'batches', []);
await assembleBatchLane(base, { createMs: 0, waitMs: 0, lookMs: 1, lookMaxMs: 5, lostMs: 200 }).start();
base.log.info('batch lane up');
