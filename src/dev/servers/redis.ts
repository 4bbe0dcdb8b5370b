// A Redis of our own on loopback, with a password and (unless it is throw-away) an append-only file. A server left over
// from a killed start is adopted when it answers with our password and our folder. It is never flushed, and no other
// Redis of the machine is touched.
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, existsSync, mkdirSync, openSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { monoMs, pause } from '../../clock.ts';
import { freePort, freePortNear } from './ports.ts';
import { endProcess, isSame, markOf, readJson, tailOf, writeJson, type ProcessMark } from './processes.ts';

export interface LocalServer {
  readonly url: string;
  readonly mark: ProcessMark;
  readonly adopted: boolean;
  stop(): Promise<void>;
}

interface Kept { port: number; password: string; mark?: ProcessMark }

/** Starts or adopts the Redis of `dir`. `ephemeral`: nothing is written to disk. */
export async function startRedis(dir: string, ephemeral: boolean): Promise<LocalServer> {
  mkdirSync(dir, { recursive: true });
  const file = join(dir, 'server.json');
  const kept = readJson(file) as Kept | undefined;
  const password = kept?.password ?? randomBytes(18).toString('hex');
  if (kept?.mark && isSame(kept.mark)) {
    if (await answersAsOurs(kept.port, password, dir)) return serverOf(kept.port, password, kept.mark, true);
    await endProcess(kept.mark, 'SIGTERM', 10_000); // ours by pid and start time, but it does not answer
  }
  let port = await freePortNear(kept?.port);
  for (let tries = 1; ; tries++) {
    const mark = launch(dir, port, password, ephemeral);
    writeJson(file, { port, password, mark } satisfies Kept);
    const trouble = await ready(dir, port, password, mark);
    if (trouble === undefined) return serverOf(port, password, mark, false);
    await endProcess(mark, 'SIGTERM', 5_000);
    if (tries === 3 || !/in use/i.test(trouble)) throw new Error(`redis-server did not start in ${dir}: ${trouble}`);
    port = await freePort(); // someone took the port between the look and the start
  }
}

function launch(dir: string, port: number, password: string, ephemeral: boolean): ProcessMark {
  const log = openSync(join(dir, 'redis.log'), 'w');
  // a process group of its own: Ctrl-C in a terminal must reach us first, so that the workers can drain
  const child = spawn('redis-server', ['-'], { cwd: dir, stdio: ['pipe', log, log], detached: true });
  closeSync(log);
  child.on('error', () => undefined); // a missing command shows as a process without a pid
  child.stdin?.on('error', () => undefined);
  // by stdin, not by arguments: every user of the machine can read those
  child.stdin?.end([
    `port ${port}`, 'bind 127.0.0.1', `dir "${dir}"`, `requirepass ${password}`, 'save ""', 'maxmemory-policy noeviction',
    `appendonly ${ephemeral ? 'no' : 'yes'}`, 'appendfsync everysec', 'daemonize no', '',
  ].join('\n'));
  child.unref();
  if (child.pid === undefined) throw new Error(missingRedis);
  return markOf(child.pid);
}

const missingRedis = 'redis-server is not installed. Debian and Ubuntu: sudo apt-get install redis-server; macOS: brew install redis; or set REDIS_URL.';

/** Waits until the server takes commands (a large append-only file is read first); the reason when it ended instead. */
async function ready(dir: string, port: number, password: string, mark: ProcessMark): Promise<string | undefined> {
  for (const endMs = monoMs() + 60_000; monoMs() < endMs; await pause(15)) {
    if (await answersAsOurs(port, password, dir)) return undefined;
    if (!isSame(mark)) break;
  }
  return tailOf(join(dir, 'redis.log')) || 'it wrote nothing';
}

/** True when the server on `port` takes our password and works in our folder. */
async function answersAsOurs(port: number, password: string, dir: string): Promise<boolean> {
  const redis = new Redis({ host: '127.0.0.1', port, password, lazyConnect: true, retryStrategy: null, maxRetriesPerRequest: 0, connectTimeout: 1_000, commandTimeout: 1_000, enableReadyCheck: false });
  redis.on('error', () => undefined);
  try {
    await redis.connect();
    if ((await redis.ping()) !== 'PONG') return false;
    const reply: unknown = await redis.config('GET', 'dir');
    return existsSync(dir) && JSON.stringify(reply).includes(JSON.stringify(realpathSync(dir)));
  } catch {
    return false; // refused, still loading, or not ours: all mean "not yet"
  } finally {
    redis.disconnect();
  }
}

const serverOf = (port: number, password: string, mark: ProcessMark, adopted: boolean): LocalServer => ({
  url: `redis://:${password}@127.0.0.1:${port}`,
  mark,
  adopted,
  stop: () => endProcess(mark, 'SIGTERM', 20_000),
});
