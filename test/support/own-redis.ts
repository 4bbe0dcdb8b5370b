// A Redis server of a test file's own, on a free port, with its data in a temporary folder. For tests that wipe, pause or
// kill Redis, or count its keys, and must not meet other files there. Ended by its process id.
import { spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';

export interface OwnRedis {
  readonly url: string;
  /** A plain client of the test's own. */
  readonly client: Redis;
  /** Stops and continues the server process: half-open sockets, no answers. */
  freeze(): void;
  thaw(): void;
  stop(): Promise<void>;
}

/** settings: further words of the server's command line. */
export async function startOwnRedis(settings: readonly string[] = []): Promise<OwnRedis> {
  const port = await freePort();
  const folder = mkdtempSync(join(tmpdir(), 'mainstay-redis-'));
  const server = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', folder, ...settings], { stdio: 'ignore' });
  const client = new Redis(port, '127.0.0.1', { maxRetriesPerRequest: null, retryStrategy: () => 50 });
  client.on('error', () => undefined); // until the server listens
  await client.ping();
  return {
    url: `redis://127.0.0.1:${port}`,
    client,
    freeze: () => { server.kill('SIGSTOP'); },
    thaw: () => { server.kill('SIGCONT'); },
    stop: async () => {
      client.disconnect();
      await ended(server);
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

const ended = (server: ChildProcess): Promise<void> => new Promise((resolve) => {
  server.once('exit', () => resolve());
  server.kill('SIGKILL');
});

const freePort = (): Promise<number> => new Promise((resolve, reject) => {
  const probe = createServer();
  probe.once('error', reject);
  probe.listen(0, '127.0.0.1', () => {
    const { port } = probe.address() as AddressInfo;
    probe.close(() => resolve(port));
  });
});
