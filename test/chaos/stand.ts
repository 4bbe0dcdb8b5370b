// What a chaos run stands on: Redis, PostgreSQL, Milvus Lite and the model stub, each behind a proxy of ours, the sink, and a
// fleet of real processes that is always filled up again. The harness itself reaches every store past the proxies. Whatever a
// fault has done, `heal` undoes; whatever is started here ends with the harness.
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Queue } from 'bullmq';
import pg from 'pg';
import { scriptOf } from '../../src/dev/model-stub/conversations.ts';
import { startModelStub, type ModelStub } from '../../src/dev/model-stub/server.ts';
import { freePort } from '../../src/dev/servers/ports.ts';
import { FAULT_POINTS, type FaultPoint } from '../../src/fault-points.ts';
import { Proxy } from '../faults/proxy.ts';
import { seeded } from '../faults/seed.ts';
import { shuffled } from './plan.ts';
import { FaultPostgres, FaultRedis } from '../faults/servers.ts';
import { Sink } from '../faults/sink.ts';
import { READ_THE_LOG } from './machines.ts';
import { POINT_ACTIONS, type PointAction } from './orders.ts';
import { Slot, type Role } from './slot.ts';
import { installWitness } from './witness.ts';

export type Rows = <Row extends object>(text: string, values?: readonly unknown[]) => Promise<Row[]>;

export interface Strikes { readonly points: readonly FaultPoint[]; readonly actions: readonly PointAction[] }
export interface Strike { readonly point: FaultPoint; readonly action: PointAction }

export interface StandOptions {
  readonly seed: number;
  /** host:port of Milvus Lite. */
  readonly milvusAddress: string;
  /** How many processes of each role. */
  readonly fleet: Readonly<Record<Role, number>>;
  readonly leaseMs: number;
  /** A server that others use too, where nothing restarts it; else one of its own, durable. */
  readonly postgres?: FaultPostgres | undefined;
  /** Guards that are switched off in every process. */
  readonly broken?: readonly string[];
  /** Where and how `fault-point` strikes; anywhere and anyhow unless told. */
  readonly strikes?: Strikes | undefined;
}

/** The source whose plain BullMQ jobs the API takes, and their tenant. */
export const INTAKE = { source: 'chaos', tenant: 'acme' } as const;
const PREFIX = 'chaos';

/** As any other service would open it. */
export function openIntake({ redis }: Pick<Stand, 'redis'>): Queue {
  const queue = new Queue(`intake-${INTAKE.source}`, { connection: redis.client, prefix: `{${PREFIX}}`, skipVersionCheck: true, skipWaitingForReady: true });
  queue.on('error', () => undefined); // Redis is away, by our own doing
  return queue;
}

const CONCURRENCY = '8';
const DRAIN_MS = '3000';
const BREAK = './test/support/break-guards.mjs';
const ANYWHERE: Strikes = { points: Object.keys(FAULT_POINTS) as FaultPoint[], actions: POINT_ACTIONS };
const strikesOf = ({ points, actions }: Strikes): Strike[] => points.flatMap((point) => actions.map((action) => ({ point, action })));
let stands = 0;

export class Stand {
  readonly dir: string;
  readonly leaseMs: number;
  readonly redis: FaultRedis;
  readonly postgres: FaultPostgres;
  readonly databaseUrl: string;
  readonly sink: Sink;
  readonly model: ModelStub;
  readonly proxies: { readonly redis: Proxy; readonly milvus: Proxy; readonly model: Proxy };
  readonly slots: Slot[] = [];
  /** Strikes that landed, as `point action`. */
  readonly struck: Record<string, number> = {};
  readonly #strikes: Strike[];
  #struckNext = 0;
  readonly apiUrl: string;
  /** Past the proxy. */
  readonly milvusAddress: string;
  readonly env: Readonly<Record<string, string>>;
  readonly #owner: pg.Pool;
  readonly #closes: (() => unknown)[];

  private constructor(parts: Pick<Stand, 'dir' | 'leaseMs' | 'redis' | 'postgres' | 'databaseUrl' | 'sink' | 'model' | 'proxies' | 'apiUrl' | 'milvusAddress' | 'env'> & { readonly strikes: Strike[] }, closes: (() => unknown)[]) {
    this.dir = parts.dir;
    this.leaseMs = parts.leaseMs;
    this.redis = parts.redis;
    this.postgres = parts.postgres;
    this.databaseUrl = parts.databaseUrl;
    this.sink = parts.sink;
    this.model = parts.model;
    this.proxies = parts.proxies;
    this.apiUrl = parts.apiUrl;
    this.milvusAddress = parts.milvusAddress;
    this.env = parts.env;
    this.#strikes = parts.strikes;
    this.#closes = closes;
    this.#owner = new pg.Pool({ connectionString: parts.databaseUrl, max: 4, connectionTimeoutMillis: 5_000, query_timeout: 30_000, application_name: 'chaos' });
    this.#owner.on('error', () => undefined); // our own doing
  }

  static async start(options: StandOptions): Promise<Stand> {
    const dir = mkdtempSync(join(tmpdir(), 'mainstay-chaos-'));
    chmodSync(dir, 0o755); // PostgreSQL passes through as a user of its own
    mkdirSync(join(dir, 'artifacts'));
    const random = seeded(options.seed);
    const closes: (() => unknown)[] = [];
    const own = options.postgres ?? await FaultPostgres.start(join(dir, 'postgres'), true);
    const redis = await FaultRedis.start(join(dir, 'redis'));
    const [sink, model] = [await Sink.open(), await startModelStub({ keep: Infinity, scripts: [scriptOf({ when: READ_THE_LOG, turns: [{ toolUses: [{ name: 'read_log', input: {} }] }, { text: 'It is of a turbine.' }] })] })];
    const databaseUrl = await own.database(`chaos_${process.pid}_${stands++}`);
    const portOf = (address: string): number => Number(address.split(':').at(-1));
    const proxies = { redis: await Proxy.open(redis.port, random), milvus: await Proxy.open(portOf(options.milvusAddress), random), model: await Proxy.open(portOf(model.url), random) };
    const port = await freePort();
    const env = {
      LOG_LEVEL: 'info', LEASE_MS: String(options.leaseMs), DRAIN_MS, CONCURRENCY, REDIS_PREFIX: PREFIX, EMBEDDER: 'lexical', ARTIFACTS_DIR: join(dir, 'artifacts'), NODE_COMPILE_CACHE: join(tmpdir(), 'mainstay-chaos-compiled'),
      AGENTS_MODULE: 'test/chaos/machines.ts', CHAOS_SINK_URL: sink.url, REDIS_URL: proxies.redis.inFrontOf(redis.url), MILVUS_ADDRESS: `127.0.0.1:${proxies.milvus.port}`, MILVUS_PREFIX: `chaos_${process.pid}_${stands}`, MILVUS_DENSE_INDEX: 'FLAT',
      ANTHROPIC_BASE_URL: proxies.model.inFrontOf(model.url).replace(/\/$/, ''), ANTHROPIC_API_KEY: 'stub', PORT: String(port), RATE_LIMIT: '1000000', SUBMIT_RATE_LIMIT: '1000000', INTAKE: `${INTAKE.source}=${INTAKE.tenant}`,
      ...(options.broken?.length ? { MAINSTAY_BREAK: options.broken.join(',') } : {}),
    };
    closes.push(() => sink.close(), () => model.stop(), ...Object.values(proxies).map((proxy) => () => proxy.close()), () => redis.stop());
    if (!options.postgres) closes.push(() => own.stop());
    const stand = new Stand({ dir, leaseMs: options.leaseMs, redis, postgres: own, databaseUrl, sink, model, proxies, apiUrl: `http://127.0.0.1:${port}`, milvusAddress: options.milvusAddress, env, strikes: shuffled(strikesOf(options.strikes ?? ANYWHERE), seeded(options.seed)) }, closes);
    process.once('exit', stand.#sweep);
    await installWitness(stand.rows);
    await stand.#fill(options, random);
    return stand;
  }

  /** As the owner of the schema, past every proxy. */
  readonly rows: Rows = async <Row extends object>(text: string, values: readonly unknown[] = []): Promise<Row[]> => (await this.#owner.query<Row>(text, [...values])).rows;

  /** Lives that ended by themselves or by a fault, and were followed by another. */
  get restarts(): number { return this.slots.reduce((sum, { starts }) => sum + starts - 1, 0); }
  get fenced(): number { return this.slots.reduce((sum, { fenced }) => sum + fenced, 0); }
  /** Every point with every action, one after the other, in an order of the seed. */
  nextStrike(): Strike { return this.#strikes[this.#struckNext++ % this.#strikes.length] as Strike; }
  of(role: Role): Slot[] { return this.slots.filter((slot) => slot.role === role); }

  /** Nothing is broken any more: every proxy passes, every process may run. Servers are started again by who ended them. */
  heal(): void {
    for (const proxy of [...Object.values(this.proxies), ...this.slots.map(({ postgres }) => postgres)]) { proxy.letGo(); proxy.delay(0); proxy.pass(); }
    this.redis.thaw();
    for (const slot of this.slots) { slot.process.thaw(); slot.tell('disarm'); slot.tell('clock 0'); }
  }

  async close(): Promise<void> {
    await Promise.all(this.slots.map((slot) => slot.stop()));
    await this.#owner.end().catch(() => undefined);
    for (const slot of this.slots) await slot.postgres.close();
    for (const close of this.#closes) await close();
    process.off('exit', this.#sweep);
    this.#sweep();
  }

  readonly #sweep = (): void => rmSync(this.dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });

  async #fill({ fleet, broken }: StandOptions, random: () => number): Promise<void> {
    for (const [role, count] of Object.entries(fleet) as [Role, number][]) {
      for (let n = 1; n <= count; n++) {
        const postgres = await Proxy.open(this.postgres.port, random);
        this.slots.push(new Slot({ name: `${role}-${n}`, role, postgres, nodeArgs: broken?.length ? ['--import', BREAK] : [], env: { ...this.env, DATABASE_URL: postgres.inFrontOf(this.databaseUrl) } }));
      }
    }
    await Promise.all(this.slots.map((slot) => slot.ready()));
  }
}
