// Calls a second of the ready queue on one process and one Redis, with 1,000 tenants or as many as told: offers as they come, a rebuild of
// 200,000 runs, and settle+take by 1, 10 and 50 places. Prints one line of JSON each.
// Run: node bench/ready-queue.ts redis://127.0.0.1:6379 [tenants]   (writes and drops keys of the prefix `bench` only)
import { monoMs } from '../src/clock.ts';
import { makeLog } from '../src/log.ts';
import { ReadyQueue, type Settle } from '../src/queue/ready-queue.ts';
import { WakeUps } from '../src/queue/wake-ups.ts';
import { openRedis, redisKeys, redisReady } from '../src/redis.ts';

const url = process.argv[2];
if (!url) throw new Error('usage: node bench/ready-queue.ts redis://host:port [tenants]');
const log = makeLog('warn', 'bench');
const redis = openRedis(url, 'fast', log);
await redisReady(redis);
const keys = redisKeys('bench');
const wakeUps = new WakeUps({ redis, keys, pool: 'bench', log });
const ready = new ReadyQueue({ redis, wakeUps, keys, pool: 'bench' });
const tenants = Number(process.argv[3] ?? 1_000);
let order = 0;
const run = () => ({ tenant: `tenant-${order % tenants}`, run: `run-${String(order).padStart(9, '0')}`, order: order++ });
const say = (what: string, count: number, ms: number): void => console.log(JSON.stringify({ what, count, ms: Math.round(ms), perSecond: Math.round((count / ms) * 1_000) }));

const rebuildMs = await timed(async () => { for (let i = 0; i < 40; i++) await ready.offerMany(Array.from({ length: 5_000 }, run)); });
say('rebuild', 200_000, rebuildMs);

for (const places of [1, 10, 50]) {
  const each = places === 1 ? 5_000 : Math.round(50_000 / places);
  const ms = await timed(() => Promise.all(Array.from({ length: places }, () => serve(each))));
  say(`settle+take, ${places} places`, each * places, ms);
}

const offers = 50_000;
say('offer, 50 at once', offers, await timed(() => Promise.all(Array.from({ length: 50 }, async () => { for (let i = 0; i < offers / 50; i++) await ready.offer(run()); }))));
await ready.wipe();
const leftover = await redis.keys(`${keys.bull}:wake-bench:*`);
if (leftover.length > 0) await redis.unlink(...leftover);
await wakeUps.close();
redis.disconnect();

async function timed(work: () => Promise<unknown>): Promise<number> {
  const beganMs = monoMs();
  await work();
  return monoMs() - beganMs;
}

/** One place: takes and settles `count` runs, each of a made-up length. */
async function serve(count: number): Promise<void> {
  let last: Settle | undefined;
  for (let i = 0; i < count; i++) {
    const taken = await ready.take(last);
    if (!taken) throw new Error('the ready queue ran dry');
    last = { ...taken, realMs: 5 + (i % 30) };
  }
  if (last) await ready.settle(last);
}
