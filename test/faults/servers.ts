// Stores that a row may wipe, freeze, kill and start again, each on a port and a folder that outlive its process. Redis here
// is one server per row; PostgreSQL is shared by the rows that leave it alone, a database each. Servers end with the
// harness, however it ends.
import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, copyFileSync, existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { monoMs, pause } from '../../src/clock.ts';
import { createDatabase, migrate, withClient } from '../../src/dev/servers/migrate.ts';
import { freePort } from '../../src/dev/servers/ports.ts';
import { startPostgres } from '../../src/dev/servers/postgres.ts';
import { endWithMe, isSame, markOf } from '../../src/dev/servers/processes.ts';
import { inDatabase } from '../../src/dev/servers/stack.ts';

export class FaultRedis {
  readonly port: number;
  readonly dir: string;
  /** A plain client of the row's own; it waits while the server is away. */
  readonly client: Redis;
  readonly #settings: readonly string[];
  #server: ChildProcess | undefined;
  #calm: (() => void) | undefined;

  private constructor(port: number, dir: string, settings: readonly string[]) {
    this.port = port;
    this.dir = dir;
    this.#settings = settings;
    this.client = new Redis(port, '127.0.0.1', { maxRetriesPerRequest: null, retryStrategy: () => 50, lazyConnect: true });
    this.client.on('error', () => undefined); // away, by the row's own doing
  }

  /** Settings as on the command line: `['--appendonly', 'yes']`. */
  static async start(dir: string, settings: readonly string[] = [], env: NodeJS.ProcessEnv = {}): Promise<FaultRedis> {
    mkdirSync(dir, { recursive: true });
    const redis = new FaultRedis(await freePort(), dir, settings);
    await redis.launch(env);
    return redis;
  }

  get url(): string { return `redis://127.0.0.1:${this.port}`; }
  get pid(): number { return this.#server?.pid ?? 0; }

  async launch(env: NodeJS.ProcessEnv = {}): Promise<void> {
    this.#server = spawn('redis-server', ['--port', String(this.port), '--bind', '127.0.0.1', '--save', '', '--dir', this.dir, '--repl-diskless-sync-delay', '0', ...this.#settings], { stdio: 'ignore', env: { ...process.env, ...env } });
    if (this.#server.pid !== undefined) this.#calm = endWithMe([markOf(this.#server.pid)]);
    await this.client.ping();
  }

  freeze(): void { this.#server?.kill('SIGSTOP'); }
  thaw(): void { this.#server?.kill('SIGCONT'); }

  async kill(): Promise<void> {
    const server = this.#server;
    if (!server || server.exitCode !== null || server.signalCode !== null) return;
    server.kill('SIGKILL');
    await once(server, 'exit');
    this.#calm?.();
  }

  /** Writes what it holds to disk and keeps a copy aside; `restore` puts it back while the server is down. */
  async saveAside(): Promise<void> {
    await this.client.save();
    copyFileSync(join(this.dir, 'dump.rdb'), join(this.dir, 'aside.rdb'));
  }
  restore(): void { copyFileSync(join(this.dir, 'aside.rdb'), join(this.dir, 'dump.rdb')); }

  async stop(): Promise<void> {
    this.client.disconnect();
    await this.kill();
  }
}

type Running = Awaited<ReturnType<typeof startPostgres>>;

export class FaultPostgres {
  readonly dir: string;
  readonly #durable: boolean;
  #running: Running;
  #calm: () => void;

  private constructor(dir: string, durable: boolean, running: Running) {
    this.dir = dir;
    this.#durable = durable;
    this.#running = running;
    this.#calm = endWithMe([running.mark]);
  }

  /** `durable`: with fsync, for rows that kill it. The template database is migrated and ready to be cloned. */
  static async start(dir: string, durable: boolean): Promise<FaultPostgres> {
    mkdirSync(dir, { recursive: true });
    chmodSync(dir, 0o755);
    const server = new FaultPostgres(dir, durable, await startPostgres(dir, !durable, () => undefined));
    await migrate(inDatabase('template', server.url));
    return server;
  }

  /** As the superuser, database `postgres`. */
  get url(): string { return this.#running.url; }
  get port(): number { return Number(new URL(this.url).port); }
  get pid(): number { return this.#running.mark.pid; }
  get dataDir(): string { return this.#running.dataDir; }

  /** A migrated, empty database. Commits are synchronous also where the server is throw-away: that is what is promised. */
  async database(name: string): Promise<string> {
    const url = inDatabase(name, this.url);
    await createDatabase(url, 'template');
    await withClient(this.url, (client) => client.query(`ALTER DATABASE "${name}" SET synchronous_commit = on`));
    return url;
  }

  /** SIGKILL: no shutdown, backends die when they notice. SIGQUIT: the immediate stop. */
  async kill(signal: 'SIGKILL' | 'SIGQUIT'): Promise<void> {
    process.kill(this.pid, signal);
    for (const endMs = monoMs() + 10_000; isSame(this.#running.mark) && monoMs() < endMs;) await pause(10);
    this.#calm();
  }

  /** On the same port and data. Throws where the port was taken meanwhile: the fleet would look for it in vain. */
  async startAgain(): Promise<void> {
    const { port } = this;
    this.#running = await startPostgres(this.dir, !this.#durable, () => undefined);
    this.#calm = endWithMe([this.#running.mark]);
    if (this.port !== port) throw new Error(`PostgreSQL came back on port ${this.port}, not on ${port}`);
  }

  async stop(): Promise<void> {
    await this.#running.stop();
    this.#calm();
    if (existsSync(this.dataDir) && readdirSync(this.dataDir).length > 0) rmSync(this.dataDir, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }
}

