// A process of the fleet for the fault rows: `node test/faults/run-process.ts worker|maintenance|submit`, configured by the
// environment as the real roots are, and stopped as they are; only memory is left out. It ends with the harness, whose end
// of its standard input it hears.
import { once } from 'node:events';
import { flushCompileCache } from 'node:module';
import { readConfig } from '../../src/config.ts';
import { makeLog } from '../../src/log.ts';
import { openRedis } from '../../src/redis.ts';
import { SCHEDULES_A_SWEEP } from '../../src/domain/tunables.ts';
import { makeCancelRun } from '../../src/run/cancel-run.ts';
import { fireSchedules } from '../../src/run/fire-schedules.ts';
import { Maintenance } from '../../src/run/maintain.ts';
import { RunWorker } from '../../src/run/run-worker.ts';
import { closeAll, runProcess, startAll, type Service } from '../../src/service.ts';
import { openAppStore } from '../../src/store/app-store.ts';
import { assembleBase, assembleExecution, assembleLimits, type Base } from '../../workers/assemble.ts';
import { machinesOf } from './machines.ts';

process.stdin.on('end', () => process.exit(0)).resume();

const [role = 'worker'] = process.argv.slice(2);

function workerOf(base: Base): { services: Service[]; close(): unknown } {
  const { config, dispatcher, log } = base;
  const limits = assembleLimits(base);
  const queue = base.queues.get('agent');
  if (!queue) throw new Error('no pool agent');
  const worker = new RunWorker({
    ...assembleExecution(base, limits, { recall: () => Promise.reject(new Error('no memory here')), cite: () => Promise.resolve(), searchDocuments: () => Promise.reject(new Error('no documents')) }, `agent-${process.pid}`),
    pool: 'agent', queue, dispatcher, redisUrl: config.REDIS_URL, subscriber: openRedis(config.REDIS_URL, 'blocking', log),
    concurrency: config.CONCURRENCY, leaseMs: config.LEASE_MS, drainMs: config.DRAIN_MS, onEnded: () => Promise.resolve(),
  });
  return { services: [worker], close: () => limits.close() };
}

function maintenanceOf(base: Base): { services: Service[]; close(): unknown } {
  const { engine, queues, metrics, log, config } = base;
  const store = openAppStore({ url: config.DATABASE_APP_URL ?? config.DATABASE_URL, asRole: config.DATABASE_APP_URL === undefined, log, max: 2 });
  const firing = { ...base, defaultModel: config.MODEL, cancel: makeCancelRun({ store, ...base }) };
  const maintenance = new Maintenance({ engine, queues, metrics, log, fire: () => fireSchedules(firing, SCHEDULES_A_SWEEP), remember: () => Promise.resolve(), index: () => Promise.resolve(0) });
  return { services: [maintenance], close: () => store.close() };
}

/** Submits the requests of its second argument, on a word, and says so: a caller that may be killed half way. */
async function submitAll(base: Base): Promise<void> {
  process.stdout.write('ready\n');
  await once(process.stdin, 'data');
  for (const request of JSON.parse(process.argv[3] ?? '[]') as Parameters<Base['submit']>[0][]) {
    const { id } = await base.submit(request);
    process.stdout.write(`accepted ${id}\n`);
  }
}

async function main(): Promise<() => Promise<void>> {
  const base = await assembleBase(readConfig(), role, machinesOf(process.env['FAULT_BUILD'] ?? '1'));
  if (role === 'submit') { await submitAll(base); process.exit(0); }
  const parts = role === 'worker' ? workerOf(base) : maintenanceOf(base);
  const stop = await startAll(parts.services, base.log);
  process.stdout.write('ready\n');
  flushCompileCache(); // most of these processes are killed, and would leave nothing for the next
  return async () => { await stop(); await closeAll([() => parts.close(), () => base.close()]); };
}

runProcess(main, makeLog('info', role));
