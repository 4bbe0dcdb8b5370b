// The agent worker: runs the machines of AGENTS_MODULE.
import { makeLog } from '../src/log.ts';
import { runProcess } from '../src/service.ts';
import { startWorker } from './run-pool.ts';

runProcess(() => startWorker('agent'), makeLog('info', 'agent-worker'));
