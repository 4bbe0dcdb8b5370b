// The callers: a steady stream of runs of every kind, chosen by the seed, through every door (HTTP, plain BullMQ jobs, SQL). A
// caller asks again with the same key until it is answered, as a careful one does, and writes down what it was told; a request
// it gives up is written down as lost.
import type { Queue } from 'bullmq';
import { monoMs, pause } from '../../src/clock.ts';
import { Mainstay, MainstayApiError } from '../../src/client/client.ts';
import { SCOPES } from '../../src/domain/status.ts';
import { parseId } from '../../src/ids.ts';
import { createKey, createTenant } from '../../src/store/engine/api-keys.ts';
import { openEnginePool } from '../../src/store/engine/pool.ts';
import { makeLog } from '../../src/log.ts';
import { EFFECTS_SCOPE, type Action, type Plan } from '../faults/machines.ts';
import { pick, seeded } from '../faults/seed.ts';
import { AcceptLog } from './accept-log.ts';
import { AGENT, BATCHED_AGENT, FRUGAL_AGENT, POOR_AGENT, READ_THE_LOG, READER_AGENT } from './machines.ts';
import { INTAKE, openIntake, type Stand } from './stand.ts';

export const TENANTS = ['acme', 'globex', 'initech'] as const;
/** `bob` holds no scope: what he may not do must not happen. */
const USERS = ['ada', 'bob', 'cyd'] as const;
const SESSIONS = ['s1', 's2'] as const;

/** Kinds of runs and how often each is chosen. */
const KINDS = { 'no-op': 14, steps: 22, unkeyed: 10, timer: 8, signal: 7, approval: 6, question: 3, children: 5, session: 10, agent: 10, poor: 1, frugal: 2, batched: 4, steered: 4, scoped: 4, cancelled: 4, retried: 3, intake: 5, sql: 4 } as const;
export type RunKind = keyof typeof KINDS;
export const RUN_KINDS = Object.keys(KINDS) as RunKind[];

/** With so many unfinished the callers hold back: on a slow machine a backlog would say more about it than about faults. */
const OPEN_MAX = 60;
const EMPHASIS = 20;
const GIVE_UP_MS = 60_000;
const AGAIN_MS = 300;

interface Order { readonly kind: RunKind; readonly tenant: string; readonly key: string; readonly agent: string; readonly input: unknown; readonly user?: string; readonly session?: string }

export interface TrafficOptions { readonly seed: number; readonly runsPerSecond: number; /** Asked for several times as often. */ readonly emphasis?: readonly RunKind[] }

export class Traffic {
  readonly log: AcceptLog;
  readonly #stand: Stand;
  readonly #options: TrafficOptions;
  readonly #random: () => number;
  readonly #clients: ReadonlyMap<string, Mainstay>;
  readonly #intake: Queue;
  readonly #open = new Set<Promise<void>>();
  readonly #stopping = new AbortController();
  #schedules: { readonly client: Mainstay; readonly id: string }[] = [];
  #ordered = 0;
  #loop: Promise<void> = Promise.resolve();

  private constructor(stand: Stand, options: TrafficOptions, clients: ReadonlyMap<string, Mainstay>) {
    this.#stand = stand;
    this.#options = options;
    this.#random = seeded(options.seed * 31 + 7);
    this.#clients = clients;
    this.log = new AcceptLog(`${stand.dir}/accepted.jsonl`);
    this.#intake = openIntake(stand);
  }

  /** Tenants, keys, permissions, a login for SQL and schedules; nothing is broken yet. */
  static async open(stand: Stand, options: TrafficOptions): Promise<Traffic> {
    const pool = openEnginePool(stand.databaseUrl, true, 2, makeLog('silent', 'chaos'));
    const clients = new Map<string, Mainstay>();
    for (const tenant of TENANTS) {
      await createTenant(pool, tenant);
      const { key } = await createKey(pool, { tenant, user: undefined, name: 'chaos', scopes: SCOPES, expiresAt: undefined }, 'chaos');
      clients.set(tenant, new Mainstay({ baseUrl: stand.apiUrl, apiKey: key, timeoutMs: 8_000, retries: 0 }));
    }
    await pool.end();
    await stand.rows(`INSERT INTO budgets (tenant_id, subject, limit_micro_usd) SELECT unnest($1::text[]), 'tenant', 1000000000`, [TENANTS]);
    await stand.rows(`INSERT INTO submit_logins (login, tenant) SELECT session_user, unnest($1::text[])`, [TENANTS]);
    const traffic = new Traffic(stand, options, clients);
    await traffic.#prepare();
    return traffic;
  }

  start(): void { this.#loop = this.#ordering(); }

  /** No more orders; those under way are seen through, schedules are paused. */
  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#loop;
    for (const { client, id } of this.#schedules) await this.again(() => client.schedules.pause(id));
    await Promise.all(this.#open);
  }

  async close(): Promise<void> {
    this.log.close();
    await Promise.race([this.#intake.close().catch(() => undefined), pause(1_000)]);
  }

  client(tenant: string): Mainstay {
    const client = this.#clients.get(tenant);
    if (!client) throw new Error(`no tenant ${tenant}`);
    return client;
  }

  /** Until it is answered, by a result or by a refusal that stands; undefined = refused or given up. */
  async again<T>(call: () => Promise<T>): Promise<T | undefined> {
    for (const endMs = monoMs() + GIVE_UP_MS; monoMs() < endMs; await pause(AGAIN_MS)) {
      try {
        return await call();
      } catch (error) {
        if (error instanceof MainstayApiError && error.status >= 400 && error.status < 500 && error.status !== 429 && error.status !== 408) return undefined;
      }
    }
    return undefined;
  }

  /** A run that only shows that it was run, and by whom. */
  probe(n: number): Promise<void> {
    return this.#submit({ kind: 'no-op', tenant: TENANTS[n % TENANTS.length] ?? 'acme', key: `probe-${n}`, agent: 'fault', input: this.#fault(`probe-${n}`, [[{ do: 'note', line: 'probe' }, { do: 'work', ms: 100 }]]) });
  }

  async #prepare(): Promise<void> {
    for (const tenant of TENANTS) {
      const client = this.client(tenant);
      for (const user of USERS) if (user !== 'bob') await this.again(() => client.permissions.put(user, { scopes: [EFFECTS_SCOPE] }));
      const made = await this.again(() => client.schedules.create({ name: 'chaos', agent: 'fault', input: this.#fault('scheduled', [[{ do: 'keyed', line: 'scheduled' }]]), everyMs: 10_000, overlap: 'enqueue', misfire: 'fire_all', graceMs: 60_000 }));
      if (!made) throw new Error('no schedule was made');
      this.#schedules.push({ client, id: made.id });
    }
  }

  async #ordering(): Promise<void> {
    const everyMs = 1_000 / this.#options.runsPerSecond;
    for (let nextMs = monoMs(); !this.#stopping.signal.aborted; nextMs += everyMs) {
      await pause(Math.max(0, nextMs - monoMs()), this.#stopping.signal);
      for (let open = Infinity; open > OPEN_MAX && !this.#stopping.signal.aborted;) {
        open = await this.#unfinished().catch(() => 0); // Postgres is away: a good moment to ask for something
        if (open > OPEN_MAX) await pause(AGAIN_MS, this.#stopping.signal);
      }
      if (this.#stopping.signal.aborted) return;
      nextMs = Math.max(nextMs, monoMs() - everyMs);
      const done = this.#submit(this.#order(this.#ordered++)).finally(() => this.#open.delete(done));
      this.#open.add(done);
    }
  }

  async #unfinished(): Promise<number> {
    const [row] = await this.#stand.rows<{ n: number }>(`SELECT count(*)::int AS n FROM agent_runs WHERE finished_at IS NULL`);
    return (row?.n ?? 0) + this.#open.size;
  }

  #order(n: number): Order {
    const drawn = this.#kind();
    const kind = RUN_KINDS[n] ?? drawn; // each once first: a short storm on a slow machine has all of them as well
    const [tenant, user, session, work] = [pick(TENANTS, this.#random), pick(USERS, this.#random), pick(SESSIONS, this.#random), 100 + Math.floor(this.#random() * 2_000)];
    const key = `order-${n}`;
    const order = (plan: Plan, more: Partial<Order> = {}): Order => ({ kind, tenant, key, agent: 'fault', input: this.#fault(key, plan), ...more });
    switch (kind) {
      case 'agent': return order([], { agent: AGENT, input: { message: `My name is Ada. I prefer to be contacted by e-mail. Export ${n} fails with an error.` }, user, session });
      case 'batched': return order([], { agent: BATCHED_AGENT, input: { message: `Export ${n} fails with an error.` }, user });
      case 'poor': case 'frugal': return order([], { agent: kind === 'poor' ? POOR_AGENT : FRUGAL_AGENT, input: { message: `Export ${n} fails with an error. `.repeat(20) }, user });
      case 'steered': return order([], { agent: READER_AGENT, input: { message: READ_THE_LOG }, user, session: key });
      case 'session': return order(planOf('steps', n, work), { user, session });
      case 'scoped': return order(planOf(kind, n, work), { user: n < RUN_KINDS.length ? 'ada' : user });
      case 'intake': return order(planOf(kind, n, work), { tenant: INTAKE.tenant });
      default: return order(planOf(kind, n, work));
    }
  }

  #kind(): RunKind {
    const weight = (kind: RunKind): number => KINDS[kind] * (this.#options.emphasis?.includes(kind) ? EMPHASIS : 1);
    let at = this.#random() * RUN_KINDS.reduce((sum, kind) => sum + weight(kind), 0);
    return RUN_KINDS.find((kind) => (at -= weight(kind)) < 0) ?? 'no-op';
  }

  #fault(mark: string, plan: Plan): unknown { return { sink: this.#stand.sink.url, plan, mark }; }

  async #submit(order: Order): Promise<void> {
    const id = await this.#accept(order);
    if (id === undefined) return this.log.lose({ tenant: order.tenant, key: doorKey(order) });
    this.log.accept({ tenant: order.tenant, key: doorKey(order), id: parseId('run', id) ?? id, kind: order.kind, atMs: monoMs() });
    const client = this.client(order.tenant);
    if (order.kind === 'cancelled') {
      await pause(200 + this.#random() * 1_500);
      await this.again(() => client.runs.cancel(id));
    }
    if (order.kind === 'retried') await this.#retry(order, client, id);
    if (order.kind === 'steered') await this.#steer(order);
  }

  /** `run_…`, or undefined when it was given up. */
  async #accept(order: Order): Promise<string | undefined> {
    const { tenant, key, agent, input, user, session } = order;
    if (order.kind === 'sql') return this.again(async () => (await this.#stand.rows<{ id: string }>('SELECT mainstay.submit($1, $2, $3::json, $4) AS id', [tenant, agent, JSON.stringify(input), key]))[0]?.id as string);
    if (order.kind === 'intake') return this.#takeIn(key, { agent, input });
    const body = { agent, input, ...(user === undefined ? {} : { user }), ...(session === undefined ? {} : { session }) };
    return this.again(async () => (await this.client(tenant).runs.create(body, { idempotencyKey: key })).id);
  }

  /** A plain job; one that is gone with Redis is added again under its id, which is its key. */
  async #takeIn(jobId: string, data: unknown): Promise<string | undefined> {
    for (const endMs = monoMs() + GIVE_UP_MS; monoMs() < endMs; await pause(AGAIN_MS)) {
      const answer = await Promise.race([this.#lookAt(jobId, data).catch(() => undefined), pause(3_000)]);
      if (typeof answer === 'string') return answer;
    }
    return undefined;
  }

  async #lookAt(jobId: string, data: unknown): Promise<string | undefined> {
    if (this.#stand.redis.client.status !== 'ready') return undefined;
    const job = await this.#intake.getJob(jobId);
    if (!job) await this.#intake.add('run', data, { jobId });
    return (job?.returnvalue as { runId?: string } | null | undefined)?.runId;
  }

  /** Says more while the first is at its tool; what comes late is a run of its own. */
  async #steer(order: Order): Promise<void> {
    await pause(300 + this.#random() * 1_200);
    const key = `${order.key}-more`;
    const { tenant, agent, user, session, kind } = order;
    const said = await this.again(() => this.client(tenant).runs.create({ agent, input: { message: 'And say what it is of.' }, ...(user === undefined ? {} : { user }), ...(session === undefined ? {} : { session }), multitask_strategy: 'steer' }, { idempotencyKey: key }));
    if (said) this.log.accept({ tenant, key, id: parseId('run', said.id) ?? said.id, kind, atMs: monoMs() });
    else this.log.lose({ tenant, key });
  }

  async #retry({ tenant, key, kind }: Order, client: Mainstay, id: string): Promise<void> {
    const ended = await this.again(() => client.runs.wait(id, { timeoutMs: 30_000 }));
    if (ended?.status !== 'failed') return;
    const again = await this.again(() => client.runs.retry(id, { idempotencyKey: `${key}-again` }));
    const tried = { tenant, key: `${key}-again` };
    if (again) this.log.accept({ ...tried, id: parseId('run', again.id) ?? again.id, kind, atMs: monoMs() });
    else this.log.lose(tried);
  }
}

/** The key as the product stores it. */
const doorKey = ({ kind, key }: Order): string => (kind === 'intake' ? `intake:${INTAKE.source}:${key}` : key);

/** Every line is another within its run: the sink can tell what was applied twice. */
function planOf(kind: RunKind, n: number, workMs: number): Plan {
  const keyed = (line: string): Action => ({ do: 'keyed', line });
  switch (kind) {
    case 'unkeyed': return [[{ do: 'unkeyed', line: 'a' }], [{ do: 'work', ms: workMs }, { do: 'unkeyed', line: 'b' }], [{ do: 'unkeyed', line: 'c' }]];
    case 'steps': case 'intake': case 'sql': return [[keyed('a')], [{ do: 'work', ms: workMs }, { do: 'read', line: 'b' }, keyed('c')], [{ do: 'work', ms: workMs / 2 }], [keyed('d')]].slice(0, 2 + (n % 3)) as Plan;
    case 'timer': return [[keyed('a')], [{ do: 'wait', ms: 300 + workMs * 3 }, keyed('b')]];
    case 'signal': return [[keyed('a'), { do: 'signal', name: 'go on' }, keyed('b')], [keyed('c')]];
    case 'approval': return [[{ do: 'asked', line: 'a' }], [keyed('b')]];
    case 'question': return [[{ do: 'question', title: 'May it go on?' }, keyed('a')]];
    case 'children': return [[{ do: 'children', count: 1 + (n % 3), line: 'child' }, keyed('a')]];
    case 'scoped': return [[{ do: 'scoped', line: 'a' }]];
    case 'cancelled': return [[keyed('a')], [{ do: 'work', ms: 1_500 }], [keyed('b')], [{ do: 'work', ms: 1_500 }]];
    case 'retried': return [[keyed('a')], [{ do: 'refuse' }, keyed('b')]];
    default: return [[]];
  }
}
