// pg-boss: a Postgres queue. Durable steps are written by hand.
import { PgBoss } from 'pg-boss';
import pg from 'pg';
import { databaseBytes } from '../servers.ts';
import { createStepTable, durableBy } from './step-table.mjs';

const tuned = {
  boss: { useListenNotify: true, max: 30, superviseIntervalSeconds: 1, monitorIntervalSeconds: 1 },
  queue: { notify: true, heartbeatSeconds: 10, retryLimit: 10 },
  work: { pollingIntervalSeconds: 0.5, notifyPollingIntervalSeconds: 0.5, burstWhenBatchFull: true },
  batch: 10,
};

export const usual = 'tuned';
export const variants = {
  // polls every 2 s, one job a fetch, as many pollers as the concurrency asks for
  default: { options: {}, sizes: { W1jobs: 250, W2runs: 200 } },
  // LISTEN/NOTIFY, batches, burst fetching, heartbeat every 10 s (the least it allows)
  tuned: { options: tuned },
  // no LISTEN/NOTIFY: fewer fetches under load, half a second of pickup latency
  burst: { options: { work: { pollingIntervalSeconds: 0.5, burstWhenBatchFull: true }, boss: { max: 30 }, batch: 10 } },
  // W6: at most half of the pollers for one tenant
  groups: { options: { ...tuned, groups: true } },
};

export async function prepare(servers) {
  const databaseUrl = await servers.freshDatabase();
  await createStepTable(databaseUrl);
  return { databaseUrl, serverPids: [servers.postgresPid] };
}

async function open(place) {
  const boss = new PgBoss({ connectionString: place.databaseUrl, ...place.options.boss });
  boss.on('error', (error) => console.error(error));
  await boss.start();
  await boss.createQueue('bench', place.options.queue);
  return boss;
}

export async function startWorker(place, tasks) {
  const boss = await open(place);
  const pool = new pg.Pool({ connectionString: place.databaseUrl, max: 20 });
  const durable = durableBy(pool);
  const one = async (job) => tasks.run(job.data, job.data.kind === 'steps' ? await durable(job.data.id) : {});
  // a poller is busy until the slowest job of its batch is done: in W3, whose jobs are held, it takes one
  const batch = place.workload === 'W3' ? 1 : Math.min(place.options.batch ?? 1, place.concurrency / 2);
  await boss.work('bench', {
    ...place.options.work, batchSize: batch, localConcurrency: place.concurrency / batch,
    ...(place.options.groups && { localGroupConcurrency: place.concurrency / batch / 2 }),
  }, (jobs) => Promise.all(jobs.map(one)));
  return { stop: async () => { await boss.stop({ graceful: false }); await pool.end(); } };
}

export async function startProducer(place) {
  const boss = await open(place);
  const options = (job) => ({ ...(job.kind === 'sleep' && { startAfter: job.ms / 1_000 }), ...(place.options.groups && { group: { id: job.tenant ?? 'none' } }) });
  return {
    submit: (job) => boss.send('bench', job, options(job)),
    submitMany: (jobs) => boss.insert('bench', jobs.map((job) => ({ data: job, ...options(job) }))),
    close: () => boss.stop({ graceful: false }),
  };
}

export const serverBytes = async (place) => ({ database: await databaseBytes(place.databaseUrl) });
