// A worker process of one pool: the parts, the machines of that pool, and a small server for its health. Started by
// workers/agent.ts and workers/memory.ts.
import { readConfig } from '../src/config.ts';
import { makeHealthServer } from '../src/api/health-server.ts';
import { openRedis } from '../src/redis.ts';
import { RunWorker } from '../src/run/run-worker.ts';
import { closeAll, startAll } from '../src/service.ts';
import { assembleExecution, assembleLimits, assembleOn, loadMachines, openGround } from './assemble.ts';
import { assembleMemory, remember } from './assemble-memory.ts';

export async function startWorker(pool: 'agent' | 'memory'): Promise<() => Promise<void>> {
  const config = readConfig();
  const ground = await openGround(config, `${pool}-worker`);
  const memory = await assembleMemory(ground);
  const base = assembleOn(ground, [...(await loadMachines(config)), ...memory.machines]);
  const limits = assembleLimits(base);
  const queue = base.queues.get(pool);
  if (!queue) throw new Error(`no pool ${pool}`);
  const worker = new RunWorker({
    ...assembleExecution(base, limits, memory.recaller, `${pool}-${process.pid}`), pool, queue, dispatcher: base.dispatcher, redisUrl: config.REDIS_URL,
    subscriber: openRedis(config.REDIS_URL, 'blocking', base.log), concurrency: config.CONCURRENCY, leaseMs: config.LEASE_MS, drainMs: config.DRAIN_MS,
    onEnded: async (run, status) => {
      if (status === 'completed' && base.registry.get(run.agent, run.version)?.remembers) await remember(base, run);
    },
  });
  const health = makeHealthServer({ host: config.HOST, port: config.HEALTH_PORT, metrics: base.metrics, ready: () => Promise.resolve(worker.ready) });
  const stop = await startAll([worker, health], base.log);
  return async () => { await stop(); await closeAll([() => limits.close(), () => memory.close(), () => base.close()]); };
}
