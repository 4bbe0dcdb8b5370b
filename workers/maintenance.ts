// The maintenance worker: one leader at a time sweeps what other processes left (offers, memory, index, dead workers).
// A second instance is a stand-by.
import { makeHealthServer } from '../src/api/health-server.ts';
import { readConfig } from '../src/config.ts';
import { makeLog } from '../src/log.ts';
import { Maintenance } from '../src/run/maintain.ts';
import { runProcess, startAll } from '../src/service.ts';
import { assembleOn, loadMachines, openGround } from './assemble.ts';
import { assembleMemory, remember } from './assemble-memory.ts';

async function main(): Promise<() => Promise<void>> {
  const config = readConfig();
  const ground = await openGround(config, 'maintenance');
  const memory = await assembleMemory(ground);
  const base = assembleOn(ground, [...(await loadMachines(config)), memory.machine]);
  const maintenance = new Maintenance({
    engine: base.engine, queues: base.queues, metrics: base.metrics, log: base.log,
    remember: (run) => remember(base, run), index: () => memory.indexPending(200),
  });
  const health = makeHealthServer({
    host: config.HOST, port: config.HEALTH_PORT, metrics: base.metrics,
    ready: () => base.engine.pool.query('SELECT 1').then(() => true, () => false),
  });
  const stop = await startAll([maintenance, health], base.log);
  return async () => { await stop(); await memory.close(); await base.close(); };
}

runProcess(main, makeLog('info', 'maintenance'));
