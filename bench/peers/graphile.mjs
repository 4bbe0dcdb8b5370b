// Graphile Worker: a Postgres queue with LISTEN/NOTIFY. Durable steps are written by hand.
import { Logger, makeWorkerUtils, run } from 'graphile-worker';
import pg from 'pg';
import { databaseBytes } from '../servers.ts';
import { createStepTable, durableBy } from './step-table.mjs';

const logger = new Logger(() => (level, message) => { if (level === 'error') console.error(message); });

export const usual = 'tuned';
export const variants = {
  // who stands by takes a dead worker's jobs after four hours; sooner only where a supervisor unlocks them, which nobody may do while it lives
  default: { options: {}, standsBy: false },
  // jobs fetched 100 at a time, completions batched; after a crash the supervisor unlocks the dead worker's jobs
  tuned: { options: { preset: { worker: { localQueue: { size: 100 }, completeJobBatchDelay: 5 } }, pool: 30, unlock: true }, standsBy: false },
};

export async function prepare(servers) {
  const databaseUrl = await servers.freshDatabase();
  await createStepTable(databaseUrl);
  const utils = await makeWorkerUtils({ connectionString: databaseUrl, logger });
  await utils.migrate();
  await utils.release();
  return { databaseUrl, serverPids: [servers.postgresPid] };
}

export async function startWorker(place, tasks) {
  const { preset, pool: max = 10, unlock } = place.options;
  const pool = new pg.Pool({ connectionString: place.databaseUrl, max });
  if (unlock && place.recovering) {
    const utils = await makeWorkerUtils({ pgPool: pool, logger });
    const { rows } = await pool.query('SELECT DISTINCT locked_by FROM graphile_worker._private_jobs WHERE locked_by IS NOT NULL');
    await utils.forceUnlockWorkers(rows.map((row) => row.locked_by));
    await utils.release();
  }
  const durable = durableBy(pool);
  const runner = await run({
    pgPool: pool, concurrency: place.concurrency, noHandleSignals: true, logger,
    ...(preset && ['W1', 'W2'].includes(place.workload) && { preset }), // a local queue larger than the work at hand only helps short jobs
    taskList: { job: async (job) => tasks.run(job, job.kind === 'steps' ? await durable(job.id) : {}) },
  });
  return { stop: async () => { await runner.stop(); await pool.end(); } };
}

export async function startProducer(place) {
  const pool = new pg.Pool({ connectionString: place.databaseUrl, max: place.options.pool ?? 10 });
  const utils = await makeWorkerUtils({ pgPool: pool, logger });
  const spec = (job) => (job.kind === 'sleep' ? { runAt: new Date(Date.now() + job.ms) } : {});
  return {
    submit: (job) => utils.addJob('job', job, spec(job)),
    submitMany: (jobs) => utils.addJobs(jobs.map((job) => ({ identifier: 'job', payload: job, ...spec(job) }))),
    close: async () => { await utils.release(); await pool.end(); },
  };
}

export const serverBytes = async (place) => ({ database: await databaseBytes(place.databaseUrl) });
