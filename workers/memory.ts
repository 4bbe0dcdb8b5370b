// The memory worker: summarises finished runs, lets the gate judge what they learned, and indexes it.
import { makeLog } from '../src/log.ts';
import { runProcess } from '../src/service.ts';
import { startWorker } from './run-pool.ts';

runProcess(() => startWorker('memory'), makeLog('info', 'memory-worker'));
