// BullMQ: a queue. Durable steps are written by hand: the checkpoint is in the job's data, or in a hash beside it.
import { DelayedError, Queue, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import { redisBytes } from '../servers.ts';

const fastCrashDetection = { lockDuration: 1_000, stalledInterval: 500, maxStalledCount: 10 };

export const usual = 'default';
export const variants = {
  // the library as it comes; checkpoint = job.updateData with the whole state so far, as its guide shows
  default: { options: {} },
  // one HSET of the new result, finished jobs dropped
  tuned: { options: { hash: true, drop: true, worker: fastCrashDetection } },
};

export async function prepare(servers) {
  await servers.freshRedis();
  return { serverPids: [servers.redisPid] };
}

/** BullMQ makes its own clients from these. */
const connection = (place) => {
  const url = new URL(place.redisUrl);
  return { host: url.hostname, port: Number(url.port), password: url.password, maxRetriesPerRequest: null };
};

export async function startWorker(place, tasks) {
  const redis = place.options.hash ? new Redis(place.redisUrl) : undefined;
  const handler = async (job, token) => {
    const saved = redis ? await redis.hgetall(`run:${job.id}`) : (job.data.steps ?? {});
    await tasks.run(job.data, {
      async step(k, body) {
        if (saved[k] !== undefined) return;
        const result = await body();
        if (redis) return redis.hset(`run:${job.id}`, k, JSON.stringify(result));
        saved[k] = result;
        await job.updateData({ ...job.data, steps: saved });
      },
      async sleep(ms) {
        await job.moveToDelayed(Date.now() + ms, token);
        throw new DelayedError();
      },
    });
  };
  const worker = new Worker('bench', handler, { connection: connection(place), concurrency: place.concurrency, ...place.options.worker });
  worker.on('error', (error) => console.error(error));
  worker.on('failed', (job, error) => console.error(job?.id, error));
  await worker.waitUntilReady();
  return { stop: () => worker.close(true) };
}

export async function startProducer(place) {
  const queue = new Queue('bench', { connection: connection(place) });
  await queue.waitUntilReady();
  const opts = (job) => ({ jobId: job.id, ...(place.options.drop && { removeOnComplete: true }) });
  return {
    submit: (job) => queue.add('job', job, opts(job)),
    submitMany: (jobs) => queue.addBulk(jobs.map((job) => ({ name: 'job', data: job, opts: opts(job) }))),
    close: () => queue.close(),
  };
}

export const serverBytes = async (place) => ({ redis: await redisBytes(place.redisUrl) });
