// What a row stands on: its own Redis, a database of its own (in a PostgreSQL of its own where it kills that), the sink, proxies
// where it wants them, and a fleet of real worker processes with a maintenance process. The row speaks to the fleet as a
// caller does: it submits with a key, tries again with the same key where it got no answer, and keeps a log of what was accepted.
import { mkdtempSync, chmodSync, rmSync } from 'node:fs';
import { execFileSync, spawnSync } from 'node:child_process';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { monoMs, pause } from '../../src/clock.ts';
import { readConfig } from '../../src/config.ts';
import { messageOf } from '../../src/domain/errors.ts';
import type { SubmitRequest } from '../../src/run/submit-run.ts';
import { assembleBase, type Base } from '../../workers/assemble.ts';
import { FleetProcess, type ProcessOptions } from './fleet-process.ts';
import { machinesOf, type Plan } from './machines.ts';
import { Proxy } from './proxy.ts';
import type { Needs, Row } from './row.ts';
import { seeded } from './seed.ts';
import { FaultPostgres, FaultRedis } from './servers.ts';
import { Sink } from './sink.ts';
import { Watch } from './watch.ts';

export interface Accepted { readonly tenant: string; readonly key: string; readonly id: string; readonly atMs: number }
export interface RunRow { id: string; tenant: string; status: string; wait_reason: string | null; error_code: string | null; attempt: number; crashes: number; step_seq: number; fence: string; version: number; step_claims: number; started_ms: number | null; finished_ms: number | null; created_ms: number; output: { mark?: string; did?: string[] } | null }

export interface WorkerOptions {
  readonly concurrency?: number;
  readonly leaseMs?: number;
  readonly env?: Readonly<Record<string, string>>;
  readonly nodeArgs?: readonly string[];
}

const TENANTS = ['acme', 'globex', 'initech'] as const;
/** What the full form and production use; the short form asks for less. */
const PRODUCT_LEASE_MS = 15_000;
const SHORT_LEASE_MS = 2_000;

export class Ground {
  readonly form: 'short' | 'full';
  readonly dir: string;
  readonly random: () => number;
  readonly sink: Sink;
  readonly redis: FaultRedis;
  readonly postgres: FaultPostgres;
  readonly databaseUrl: string;
  readonly redisProxy: Proxy | undefined;
  readonly postgresProxy: Proxy | undefined;
  readonly env: Readonly<Record<string, string>>;
  readonly watch: Watch;
  readonly accepts: Accepted[] = [];
  /** Submissions that never got an answer: whether they count nobody was told. */
  readonly lost: { tenant: string; key: string }[] = [];
  readonly processes: FleetProcess[] = [];
  readonly #owner: pg.Pool;
  readonly #closers: (() => Promise<void> | void)[];
  #base: Promise<Base> | undefined;
  #submitted = 0;

  constructor(parts: { form: 'short' | 'full'; dir: string; random: () => number; sink: Sink; redis: FaultRedis; postgres: FaultPostgres; databaseUrl: string; redisProxy: Proxy | undefined; postgresProxy: Proxy | undefined; env: Record<string, string>; closers: (() => Promise<void> | void)[] }) {
    this.form = parts.form;
    this.dir = parts.dir;
    this.random = parts.random;
    this.sink = parts.sink;
    this.redis = parts.redis;
    this.postgres = parts.postgres;
    this.databaseUrl = parts.databaseUrl;
    this.redisProxy = parts.redisProxy;
    this.postgresProxy = parts.postgresProxy;
    this.#closers = parts.closers;
    this.env = {
      LOG_LEVEL: 'info', LEASE_MS: String(this.leaseMs), DRAIN_MS: '5000', MILVUS_ADDRESS: '127.0.0.1:1', EMBEDDER: 'lexical', ARTIFACTS_DIR: join(parts.dir, 'artifacts'), NODE_COMPILE_CACHE: join(parts.dir, '..', 'compiled'), REDIS_PREFIX: 'faults',
      DATABASE_URL: parts.postgresProxy?.inFrontOf(parts.databaseUrl) ?? parts.databaseUrl, REDIS_URL: parts.redisProxy?.inFrontOf(parts.redis.url) ?? parts.redis.url, ...parts.env,
    };
    this.#owner = new pg.Pool({ connectionString: parts.databaseUrl, max: 3, connectionTimeoutMillis: 5_000, query_timeout: 20_000 });
    this.#owner.on('error', () => undefined); // the row's own doing
    this.watch = new Watch(this.rows, this.form === 'short' ? 300 : 2_000);
    this.watch.start();
  }

  get leaseMs(): number { return this.form === 'short' ? SHORT_LEASE_MS : PRODUCT_LEASE_MS; }
  /** Longest a row waits for something that must come; reached only by a fault. */
  get patienceMs(): number { return this.form === 'short' ? 45_000 : 180_000; }

  /** The product's parts in the harness's own process: the door runs are submitted by. */
  base(): Promise<Base> { return (this.#base ??= assembleBase(readConfig({ ...this.env, LOG_LEVEL: 'silent' }), 'harness', machinesOf('both'))); }

  /** As the owner of the schema, past every proxy. */
  readonly rows = async <Row extends object>(text: string, values: readonly unknown[] = []): Promise<Row[]> => (await this.#owner.query<Row>(text, [...values])).rows;

  /** A connection of the row's own, to hold locks with. */
  async client(): Promise<pg.Client> {
    const client = new pg.Client({ connectionString: this.databaseUrl });
    client.on('error', () => undefined);
    await client.connect();
    this.#closers.unshift(() => client.end().catch(() => undefined));
    return client;
  }

  async process(options: Omit<ProcessOptions, 'env'> & { env?: Readonly<Record<string, string>> }): Promise<FleetProcess> {
    const started = this.launch(options);
    return started.ready();
  }

  launch(options: Omit<ProcessOptions, 'env'> & { env?: Readonly<Record<string, string>> }): FleetProcess {
    const started = new FleetProcess({ ...options, env: { ...this.env, ...options.env } });
    this.processes.push(started);
    return started;
  }

  worker({ concurrency = 10, leaseMs = this.leaseMs, env = {}, nodeArgs = [] }: WorkerOptions = {}): Promise<FleetProcess> {
    return this.process({ role: 'worker', nodeArgs, env: { CONCURRENCY: String(concurrency), LEASE_MS: String(leaseMs), ...env } });
  }

  workers(count: number, options: WorkerOptions = {}): Promise<FleetProcess[]> { return Promise.all(Array.from({ length: count }, () => this.worker(options))); }
  maintenance(): Promise<FleetProcess> { return this.process({ role: 'maintenance' }); }

  /** A run of `plan`; asked again with the same key until it is accepted, as a careful caller does. */
  async submit(plan: Plan, change: Partial<SubmitRequest> & { mark?: string } = {}): Promise<Accepted> {
    const n = this.#submitted++;
    const { mark = `m${n}`, ...rest } = change;
    const request: SubmitRequest = { tenant: TENANTS[n % TENANTS.length] ?? 'acme', door: 'test', agent: 'fault', input: { sink: this.sink.url, plan, mark }, idempotencyKey: `key-${n}`, ...rest };
    const base = await this.base();
    const key = request.idempotencyKey ?? '';
    for (const endMs = monoMs() + this.patienceMs; ;) {
      try {
        const { id } = await base.submit(request);
        const accepted = { tenant: request.tenant, key, id, atMs: monoMs() };
        this.accepts.push(accepted);
        return accepted;
      } catch (error) {
        if (monoMs() < endMs) { await pause(200); continue; }
        this.lost.push({ tenant: request.tenant, key });
        throw new Error(`never accepted: ${messageOf(error)}`, { cause: error });
      }
    }
  }

  submitMany(count: number, plan: Plan | ((n: number) => Plan), change: Partial<SubmitRequest> = {}): Promise<Accepted[]> {
    return Promise.all(Array.from({ length: count }, (_, n) => this.submit(typeof plan === 'function' ? plan(n) : plan, change)));
  }

  runs(ids?: readonly Accepted[]): Promise<RunRow[]> {
    return this.rows<RunRow>(`SELECT id, tenant_id AS tenant, status::text AS status, wait_reason::text, error_code, attempt, crashes, step_seq, fence::text, version, step_claims, output,
      (extract(epoch FROM started_at) * 1000)::float8 AS started_ms, (extract(epoch FROM finished_at) * 1000)::float8 AS finished_ms, (extract(epoch FROM created_at) * 1000)::float8 AS created_ms
      FROM agent_runs WHERE $1::uuid[] IS NULL OR id = ANY ($1)`, [ids?.map(({ id }) => id) ?? null]);
  }

  async run({ id }: { id: string }): Promise<RunRow> {
    const [run] = await this.runs([{ id } as Accepted]);
    if (!run) throw new Error(`no run ${id}`);
    return run;
  }

  /** Waits until it is so; the last thing seen is in the error. */
  async until<Seen>(what: string, look: () => Promise<Seen> | Seen, isSo: (seen: Seen) => boolean, withinMs = this.patienceMs): Promise<Seen> {
    let seen: Seen | undefined;
    let trouble = '';
    for (const endMs = monoMs() + withinMs; ; await pause(50)) {
      try { seen = await look(); trouble = ''; if (isSo(seen)) return seen; } catch (error) { trouble = messageOf(error); }
      if (monoMs() > endMs) throw new Error(`${what}: not so after ${withinMs} ms: ${trouble || JSON.stringify(seen)?.slice(0, 800)}`);
    }
  }

  /** Waits until all that was accepted has ended, but for those that are meant to stay. Never throws: the checker names them. */
  async rest(parked: ReadonlySet<string> = new Set(), withinMs = this.patienceMs): Promise<void> {
    const ids = this.accepts.map(({ id }) => id).filter((id) => !parked.has(id));
    const open = (): Promise<number> => this.rows<{ n: number }>(`SELECT count(*)::int AS n FROM agent_runs WHERE finished_at IS NULL AND NOT id = ANY ($1::uuid[])`, [[...parked]]).then(([row]) => row?.n ?? 0);
    if (ids.length > 0) await this.until('all runs at rest', open, (n) => n === 0, withinMs).catch(() => undefined);
  }

  async close(): Promise<void> {
    await this.watch.stop();
    this.sink.release();
    for (const process of this.processes) process.thaw();
    await Promise.all(this.processes.map((process) => process.kill()));
    const base = await this.#base?.catch(() => undefined);
    await base?.close();
    await this.#owner.end().catch(() => undefined);
    for (const close of this.#closers) await close();
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }
}

/** Where the grounds of a whole harness lie: one throw-away PostgreSQL for the rows that leave it alone. */
export class Grounds {
  readonly dir: string;
  readonly form: 'short' | 'full';
  readonly seed: number;
  readonly milvusAddress: (() => Promise<string>) | undefined;
  #shared: Promise<FaultPostgres> | undefined;
  /** What an interrupted harness leaves behind; its servers and processes end by themselves. */
  readonly #sweep = (): void => {
    for (const dir of disks) spawnSync('umount', ['-l', dir]);
    rmSync(this.dir, { recursive: true, force: true });
  };

  constructor(form: 'short' | 'full', seed: number, milvusAddress?: () => Promise<string>) {
    this.form = form;
    this.seed = seed;
    this.milvusAddress = milvusAddress;
    this.dir = mkdtempSync(join(tmpdir(), 'mainstay-faults-'));
    chmodSync(this.dir, 0o755); // PostgreSQL passes through as a user of its own
    process.once('exit', this.#sweep);
  }

  async ground(row: Row, tries = 1): Promise<Ground> {
    const { needs } = row;
    const name = tries === 1 ? row.id.toLowerCase() : `${row.id.toLowerCase()}_${tries}`;
    const dir = join(this.dir, name);
    const random = seeded(this.seed + Number(row.id.slice(1)) + 1_000 * (tries - 1));
    const closers: (() => Promise<void> | void)[] = [];
    const redis = await FaultRedis.start(join(dir, 'redis'), needs.redisSettings ?? []);
    const postgres = await this.#postgres(needs, dir, closers);
    const redisProxy = needs.redisProxy ? await Proxy.open(redis.port, random) : undefined;
    const postgresProxy = needs.postgresProxy ? await Proxy.open(postgres.port, random) : undefined;
    const sink = await Sink.open();
    closers.unshift(() => sink.close(), () => redisProxy?.close(), () => postgresProxy?.close(), () => redis.stop());
    const env = needs.milvus && this.milvusAddress ? { MILVUS_ADDRESS: await this.milvusAddress(), MILVUS_PREFIX: `faults_${process.pid}`, MILVUS_DENSE_INDEX: 'FLAT' } : {};
    return new Ground({ form: this.form, dir, random, sink, redis, postgres, databaseUrl: await postgres.database(`faults_${name}`), redisProxy, postgresProxy, env, closers });
  }

  async close(): Promise<void> {
    await (await this.#shared?.catch(() => undefined))?.stop();
    process.off('exit', this.#sweep);
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }

  async #postgres({ ownPostgres }: Needs, dir: string, closers: (() => Promise<void> | void)[]): Promise<FaultPostgres> {
    if (!ownPostgres) return (this.#shared ??= FaultPostgres.start(join(this.dir, 'postgres'), false));
    const own = join(dir, 'postgres');
    if (typeof ownPostgres === 'object') closers.push(mountDisk(own, ownPostgres.diskMiB));
    const postgres = await FaultPostgres.start(own, true);
    closers.unshift(() => postgres.stop());
    return postgres;
  }
}

/** Disks that are mounted now. */
const disks = new Set<string>();

/** A disk of this size at `dir`, which is made. */
function mountDisk(dir: string, sizeMiB: number): () => void {
  execFileSync('mkdir', ['-p', dir]);
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${sizeMiB}m,mode=0755`, 'tmpfs', dir], { stdio: 'pipe' });
  disks.add(dir);
  return () => { execFileSync('umount', ['-l', dir]); disks.delete(dir); };
}
