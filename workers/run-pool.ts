// A worker process of one pool: the parts, the machines of that pool, and a small server for its health. Started by
// workers/agent.ts and workers/memory.ts.
import { readConfig } from '../src/config.ts';
import type { Machine } from '../src/domain/machine.ts';
import { makeHealthServer } from '../src/api/health-server.ts';
import { openRedis } from '../src/redis.ts';
import { RunWorker } from '../src/run/run-worker.ts';
import { startAll } from '../src/service.ts';
import { assembleBase, assembleExecution, assembleLimits, loadMachines } from './assemble.ts';
import { assembleMemory } from './assemble-memory.ts';

export async function startWorker(pool: 'agent' | 'memory'): Promise<() => Promise<void>> {
  const config = readConfig();
  const memory = await assembleMemory(config, `${pool}-worker`);
  const machines: readonly Machine[] = [...(await loadMachines(config)), memory.machine];
  const base = await assembleBase(config, `${pool}-worker`, machines);
  const limits = assembleLimits(base);
  const queue = base.queues.get(pool);
  if (!queue) throw new Error(`no pool ${pool}`);
  const worker = new RunWorker({
    ...assembleExecution(base, limits, memory.recaller, `${pool}-${process.pid}`), pool, queue, dispatcher: base.dispatcher, redisUrl: config.REDIS_URL,
    subscriber: openRedis(config.REDIS_URL, 'blocking', base.log), concurrency: config.CONCURRENCY, leaseMs: config.LEASE_MS, drainMs: config.DRAIN_MS,
    onEnded: (run) => memory.remember(base, { tenant: run.tenant, id: run.id, user: run.user, session: run.session, agent: run.agent }),
  });
  const health = makeHealthServer({ host: config.HOST, port: config.HEALTH_PORT, metrics: base.metrics, ready: () => Promise.resolve(worker.ready) });
  const stop = await startAll([worker, health], base.log);
  return async () => { await stop(); limits.close(); await memory.close(); await base.close(); };
}
