// A worker as a process of its own, for stories that kill it: `node test/support/run-journal-worker.ts`, configured by the
// environment. Prints `ready` once it may claim.
import { readConfig } from '../../src/config.ts';
import { openRedis } from '../../src/redis.ts';
import { RunWorker } from '../../src/run/run-worker.ts';
import { assembleBase, assembleExecution, assembleLimits } from '../../workers/assemble.ts';
import { journalMachine } from './journal-machine.ts';

const base = await assembleBase(readConfig(), 'test-worker', [journalMachine]);
const queue = base.queues.get('agent');
if (!queue) throw new Error('no queue');
const worker = new RunWorker({
  ...assembleExecution(base, assembleLimits(base), { recall: () => Promise.reject(new Error('no memory here')), cite: () => Promise.resolve(), searchDocuments: () => Promise.reject(new Error('no documents')) }, `w-${process.pid}`),
  pool: 'agent', queue, dispatcher: base.dispatcher, redisUrl: base.config.REDIS_URL, subscriber: openRedis(base.config.REDIS_URL, 'blocking', base.log),
  concurrency: 4, leaseMs: base.config.LEASE_MS, drainMs: 2_000, onEnded: () => Promise.resolve(),
});
await worker.start();
console.log('ready');
process.on('SIGTERM', () => { void worker.stop().then(() => process.exit(0)); });
