// Our own row. It goes the whole way a user's run goes: the producer calls the submit use case that every door calls, a worker
// process is put together by the roots' own functions, the maintenance worker sweeps beside it, and settings, history, events,
// live state and log are as they come. A run's end is noted only after its last commit was answered; the others' at their
// handler's last line.
import { readConfig, type Config } from '../src/config.ts';
import { NODE_FLAGS as nodeFlags } from '../src/dev/fleet-processes.ts';
import { withClient } from '../src/dev/servers/migrate.ts';
import { openRedis } from '../src/redis.ts';
import { Maintenance } from '../src/run/maintain.ts';
import { RunWorker } from '../src/run/run-worker.ts';
import { assembleBase, assembleExecution, assembleLimits } from '../workers/assemble.ts';
import { benchMachines } from './machines.ts';
import { WEIGHTS, type Peer, type Place, type Prepared, type Producer, type Servers, type Stoppable, type Variant } from './peer.ts';
import { databaseBytes, redisBytes } from './servers.ts';
import { Tasks } from './tasks.ts';

export { nodeFlags };
export const usual = 'default' satisfies keyof typeof variants;
export const variants: Record<'default', Variant> = { default: { options: {} } };

export async function prepare(servers: Servers): Promise<Prepared> {
  await servers.freshRedis();
  const databaseUrl = await servers.freshDatabase({ migrated: true });
  await withClient(databaseUrl, async (client) => { for (const [tenant, weight] of Object.entries(WEIGHTS)) await client.query('INSERT INTO tenants (id, weight) VALUES ($1, $2)', [tenant, weight]); });
  return { databaseUrl, serverPids: [servers.redisPid, servers.postgresPid], aside: true };
}

export async function startWorker(place: Place, tasks: Tasks): Promise<Stoppable> {
  const base = await assembleBase(configOf(place), 'agent-worker', benchMachines(tasks));
  const queue = base.queues.get('agent');
  if (!queue) throw new Error('no pool agent');
  const worker = new RunWorker({
    ...assembleExecution(base, assembleLimits(base), { recall: () => Promise.reject(new Error('no memory here')), cite: () => Promise.resolve(), searchDocuments: () => Promise.reject(new Error('no documents')) }, `agent-${process.pid}`),
    pool: 'agent', queue, dispatcher: base.dispatcher, redisUrl: base.config.REDIS_URL, subscriber: openRedis(base.config.REDIS_URL, 'blocking', base.log),
    concurrency: base.config.CONCURRENCY, leaseMs: base.config.LEASE_MS, drainMs: 1_000,
    onEnded: (run, status) => {
      if (status === 'completed') tasks.end((run.input as { id: string }).id);
      return Promise.resolve();
    },
  });
  await worker.start();
  return { stop: () => worker.stop() };
}

export async function startProducer(place: Place): Promise<Producer> {
  const base = await assembleBase(configOf(place), 'api', benchMachines(new Tasks()));
  return {
    submit: (job) => base.submit({ tenant: job.tenant ?? 'bench', door: 'http', agent: `bench-${job.kind}`, input: job, user: 'somebody', idempotencyKey: job.id }),
    close: () => base.close(),
  };
}

export async function startAside(place: Place): Promise<Stoppable> {
  const base = await assembleBase(configOf(place), 'maintenance', benchMachines(new Tasks()));
  const maintenance = new Maintenance({ engine: base.engine, queues: base.queues, metrics: base.metrics, log: base.log, fire: () => Promise.resolve(), remember: () => Promise.resolve(), index: () => Promise.resolve(0) });
  await maintenance.start();
  return { stop: () => maintenance.stop() };
}

export const serverBytes = async ({ databaseUrl, redisUrl }: Place): Promise<Record<string, number>> => ({ database: await databaseBytes(databaseUrl), redis: await redisBytes(redisUrl) });

/** Product defaults but for addresses and the concurrency that the workload asks of everybody. Nothing here calls Milvus. */
const configOf = (place: Place): Config =>
  readConfig({ DATABASE_URL: place.databaseUrl, REDIS_URL: place.redisUrl, MILVUS_ADDRESS: '127.0.0.1:1', CONCURRENCY: String(place.concurrency), ARTIFACTS_DIR: place.dir });

({ usual, nodeFlags, variants, prepare, startWorker, startProducer, startAside, serverBytes }) satisfies Peer;
