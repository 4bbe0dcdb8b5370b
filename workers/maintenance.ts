// The maintenance worker: one leader at a time sweeps what other processes left (offers, memory, index, dead workers) and
// fires schedules, another sends and follows batches of model calls; every instance hears submissions by SQL and announces the machines SQL may pin runs to.
// A second instance is a stand-by.
import { makeHealthServer } from '../src/api/health-server.ts';
import { readConfig } from '../src/config.ts';
import { makeLog } from '../src/log.ts';
import { makeCancelRun } from '../src/run/cancel-run.ts';
import { fireSchedules } from '../src/run/fire-schedules.ts';
import { hearSubmissions } from '../src/run/hear-submissions.ts';
import { Maintenance } from '../src/run/maintain.ts';
import { runProcess, startAll } from '../src/service.ts';
import { openAppStore } from '../src/store/app-store.ts';
import { announceMachines } from '../src/store/engine/submit-sql.ts';
import { SCHEDULES_A_SWEEP } from '../src/domain/tunables.ts';
import { assembleBatchLane, assembleOn, loadMachines, openGround } from './assemble.ts';
import { assembleMemory, remember } from './assemble-memory.ts';

async function main(): Promise<() => Promise<void>> {
  const config = readConfig();
  const ground = await openGround(config, 'maintenance');
  const memory = await assembleMemory(ground);
  const base = assembleOn(ground, [...(await loadMachines(config)), ...memory.machines]);
  const store = openAppStore({ url: config.DATABASE_APP_URL ?? config.DATABASE_URL, asRole: config.DATABASE_APP_URL === undefined, log: base.log, max: 2 });
  const firing = { ...base, defaultModel: config.MODEL, cancel: makeCancelRun({ store, ...base }) };
  await announceMachines(base.pool, base.registry.all(), config.MODEL);
  const maintenance = new Maintenance({
    engine: base.engine, queues: base.queues, metrics: base.metrics, log: base.log, fire: () => fireSchedules(firing, SCHEDULES_A_SWEEP),
    remember: (run) => remember(base, run), index: () => memory.indexPending(200, false, ['memories', 'run_summaries']),
  });
  const health = makeHealthServer({
    host: config.HOST, port: config.HEALTH_PORT, metrics: base.metrics,
    ready: () => base.engine.pool.query('SELECT 1').then(() => true, () => false),
  });
  const stop = await startAll([maintenance, assembleBatchLane(base), memory.eraser(base), memory.documents(base), memory.watch, hearSubmissions(base), health], base.log);
  return async () => { await stop(); await Promise.allSettled([memory.close(), store.close()]); await base.close(); };
}

runProcess(main, makeLog('info', 'maintenance'));
