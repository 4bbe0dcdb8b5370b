// A fleet inside the test's process: the production parts, wired as the roots wire them, for machines of the test's own.
// The model is the stub behind its HTTP wire. `startFleet` leaves memory out; `startMemoryFleet` has all of it.
import pg from 'pg';
import { readConfig, type Config } from '../../src/config.ts';
import type { Machine } from '../../src/domain/machine.ts';
import { startModelStub, type ModelStub, type ModelStubOptions } from '../../src/dev/model-stub/server.ts';
import type { StubScript } from '../../src/dev/model-stub/wire.ts';
import { openRedis } from '../../src/redis.ts';
import type { Recaller } from '../../src/run/recaller.ts';
import { RunWorker, type WorkerDeps } from '../../src/run/run-worker.ts';
import { assembleBase, assembleExecution, assembleLimits, assembleOn, openGround, type Base, type Limits } from '../../workers/assemble.ts';
import { assembleMemory, remember, type MemoryParts } from '../../workers/assemble-memory.ts';
import { atFileEnd, type TestStack } from './stack.ts';
import { pause, monoMs } from '../../src/clock.ts';

export interface TestRun { status: string; output: unknown; error_code: string | null; error_message: string | null; step_seq: number; crashes: number; attempt: number; wait_reason: string | null; fence: string; started_at: Date | null; finished_at: Date | null; cost_micro_usd: string; memory_state: string }

export class Fleet {
  readonly base: Base;
  readonly limits: Limits;
  readonly stub: ModelStub;
  readonly #recaller: Recaller;
  readonly workers: RunWorker[] = [];
  readonly #owner: pg.Pool;

  constructor(base: Base, limits: Limits, stub: ModelStub, recaller: Recaller) {
    this.base = base;
    this.limits = limits;
    this.stub = stub;
    this.#recaller = recaller;
    this.#owner = new pg.Pool({ connectionString: base.config.DATABASE_URL, max: 2 });
  }

  async worker(change: Partial<WorkerDeps> = {}): Promise<RunWorker> {
    const { base } = this;
    const pool = change.pool ?? 'agent';
    const worker = new RunWorker({
      ...assembleExecution(base, this.limits, this.#recaller, `w${this.workers.length + 1}`), pool, queue: base.queues.get(pool)!, dispatcher: base.dispatcher, redisUrl: base.config.REDIS_URL,
      subscriber: openRedis(base.config.REDIS_URL, 'blocking', base.log), concurrency: 10, leaseMs: base.config.LEASE_MS, drainMs: 2_000, onEnded: () => Promise.resolve(), ...change,
    });
    this.workers.push(worker);
    await worker.start();
    return worker;
  }

  /** Looks at any table, as the owner of the schema: what the product's own logins may not see too. */
  async rows<Row extends object>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
    return (await this.#owner.query<Row>(text, [...values])).rows;
  }

  /** Tables of the product that hold these words anywhere in a row, as text. */
  async tablesWith(words: string): Promise<string[]> {
    const tables = await this.rows<{ name: string }>(`SELECT table_name AS name FROM information_schema.tables WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' AND table_name NOT LIKE '\\_%' ORDER BY 1`);
    const found: string[] = [];
    for (const { name } of tables) if ((await this.rows(`SELECT FROM "${name}" t WHERE to_jsonb(t)::text ILIKE '%' || $1 || '%' LIMIT 1`, [words])).length > 0) found.push(name);
    return found;
  }

  async run(tenant: string, id: string): Promise<TestRun> {
    const { rows } = await this.base.engine.pool.query<TestRun>(`SELECT status::text, output, error_code, error_message, step_seq, crashes, attempt, wait_reason::text, fence::text, started_at, finished_at, cost_micro_usd::text, memory_state::text FROM agent_runs WHERE tenant_id = $1 AND id = $2`, [tenant, id]);
    if (!rows[0]) throw new Error(`no run ${id}`);
    return rows[0];
  }

  /** Waits until the run's row satisfies `holds`; fails after 30 s, naming what it last saw. */
  async until(tenant: string, id: string, holds: (run: TestRun) => boolean): Promise<TestRun> {
    for (const endMs = monoMs() + 30_000; ;) {
      const run = await this.run(tenant, id);
      if (holds(run)) return run;
      if (monoMs() > endMs) throw new Error(`still not so after 30 s: ${JSON.stringify(run)}`);
      await pause(15);
    }
  }

  ended(tenant: string, id: string): Promise<TestRun> { return this.until(tenant, id, (run) => run.finished_at !== null); }

  async close(): Promise<void> {
    await Promise.all(this.workers.map((worker) => worker.stop()));
    this.limits.close();
    await this.#owner.end();
    await this.base.close();
    await this.stub.stop();
  }
}

const noMemory: Recaller = { recall: () => Promise.reject(new Error('this test has no memory')), cite: () => Promise.resolve(), searchDocuments: () => Promise.reject(new Error('this test has no documents')) };

const configOf = (stack: TestStack, stub: ModelStub, change: Partial<Record<keyof Config, string>>): Config =>
  readConfig({ ...stack.env, ANTHROPIC_BASE_URL: stub.url, ANTHROPIC_API_KEY: 'stub', LOG_LEVEL: 'silent', LEASE_MS: '10000', ...change });

export async function startFleet(stack: TestStack, machines: readonly Machine[], change: Partial<Record<keyof Config, string>> = {}, recaller: Recaller = noMemory, model: ModelStubOptions = {}): Promise<Fleet> {
  const stub = await startModelStub(model);
  const base = await assembleBase(configOf(stack, stub, change), 'test', machines);
  const fleet = new Fleet(base, assembleLimits(base), stub, recaller);
  atFileEnd(() => fleet.close());
  return fleet;
}

/** A fleet that recalls and remembers, with a worker of each pool and a maintenance sweep on request. */
export class MemoryFleet extends Fleet {
  readonly memory: MemoryParts;

  constructor(base: Base, limits: Limits, stub: ModelStub, memory: MemoryParts) {
    super(base, limits, stub, memory.recaller);
    this.memory = memory;
  }

  /** Submits for a user, waits for the end and for the verdicts; answers the run's row. */
  async talk(agent: string, message: string, who: { tenant: string; user: string; session: string }): Promise<TestRun & { id: string }> {
    const { id } = await this.base.submit({ door: 'test', agent, input: { message }, ...who });
    const run = await this.ended(who.tenant, id);
    if (run.status === 'completed') await this.until(who.tenant, id, (row) => row.memory_state !== 'due');
    return { ...run, id };
  }

  /** Waits until the index owes nothing of this tenant. */
  async indexed(tenant: string): Promise<void> {
    for (const endMs = monoMs() + 15_000; ;) {
      const [owed] = await this.rows<{ n: number }>(`SELECT count(*)::int AS n FROM (SELECT tenant_id, indexed_generation FROM memories UNION ALL SELECT tenant_id, indexed_generation FROM run_summaries) r WHERE tenant_id = $1 AND indexed_generation IS NULL`, [tenant]);
      if (owed?.n === 0) return;
      if (monoMs() > endMs) throw new Error(`${owed?.n} memories and summaries are still not indexed`);
      await pause(15);
    }
  }
}

export async function startMemoryFleet(stack: TestStack, machines: readonly Machine[], { change = {}, scripts = [] }: { change?: Partial<Record<keyof Config, string>>; scripts?: readonly StubScript[] } = {}): Promise<MemoryFleet> {
  const stub = await startModelStub({ scripts });
  const ground = await openGround(configOf(stack, stub, change), 'test');
  const memory = await assembleMemory(ground);
  const base = assembleOn(ground, [...machines, ...memory.machines]);
  const fleet = new MemoryFleet(base, assembleLimits(base), stub, memory);
  atFileEnd(async () => { await fleet.close(); await memory.close(); });
  await fleet.worker({ onEnded: async (run, status) => { if (status === 'completed' && base.registry.get(run.agent, run.version)?.remembers) await remember(base, run); } });
  await fleet.worker({ pool: 'memory' });
  return fleet;
}
