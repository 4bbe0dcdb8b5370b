// DBOS Transact: workflows and steps in Postgres, started through a DBOS queue.
import { DBOS, DBOSClient } from '@dbos-inc/dbos-sdk';
import { databaseBytes } from '../servers.ts';

const tuned = { poll: 10, pool: 40 };

export const usual = 'tuned';
export const variants = {
  // a dead worker's workflows go on where a worker of its id starts again: one that stands by would take them from the living, or never
  default: { options: {}, standsBy: false, sizes: { W1jobs: 500, W2runs: 200 } },
  // polled every 10 ms instead of every second, a larger pool
  tuned: { options: tuned, standsBy: false },
  // W6: one partition a tenant, each with half of the concurrency
  partitioned: { options: { ...tuned, partitioned: true }, standsBy: false },
};

export async function prepare(servers) {
  return { databaseUrl: await servers.freshDatabase(), serverPids: [servers.postgresPid] };
}

export async function startWorker(place, tasks) {
  const { poll, pool, partitioned } = place.options;
  DBOS.setConfig({ name: 'bench', systemDatabaseUrl: place.databaseUrl, logLevel: 'error', applicationVersion: '1', executorID: 'local', ...(pool && { systemDatabasePoolSize: pool }) });
  const flow = (job) => tasks.run(job, { step: (k, body) => DBOS.runStep(body, { name: `step${k}` }), sleep: (ms) => DBOS.sleep(ms) });
  DBOS.registerWorkflow(flow, { name: 'flow' });
  await DBOS.launch();
  await DBOS.registerQueue('bench', {
    onConflict: 'always_update',
    ...(place.workload !== 'W5' && { workerConcurrency: place.concurrency }), // a sleeper keeps its place
    ...(poll && { minPollingIntervalMs: poll }),
    ...(partitioned && { partitionConcurrency: Math.ceil(place.concurrency / 2) }),
  });
  return { stop: () => DBOS.shutdown() };
}

export async function startProducer(place) {
  const { pool, partitioned } = place.options;
  const client = await DBOSClient.create({ systemDatabaseUrl: place.databaseUrl, applicationName: 'bench', ...(pool && { systemDatabasePoolSize: pool }) });
  return {
    submit: (job) => client.enqueue({ queueName: 'bench', workflowName: 'flow', workflowID: job.id, appVersion: '1', ...(partitioned && { queuePartitionKey: job.tenant ?? 'none' }) }, job),
    close: () => client.destroy(),
  };
}

export const serverBytes = async (place) => ({ database: await databaseBytes(place.databaseUrl) });
