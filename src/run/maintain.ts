// Maintenance: ends what never started in its time, fires schedules, offers what the ready queue has lost, rebuilds it after a wipe, sends
// finished runs to memory, indexes what is not indexed, retires dead workers, and keeps the gauges. Every part is safe when
// two do it at once; one leader, by an advisory lock, keeps it from being done twice for nothing.
import { monoMs, pause } from '../clock.ts';
import { messageOf } from '../domain/errors.ts';
import { RUN_STATUSES } from '../domain/status.ts';
import { EXPIRE_MAX, GAUGES_MS, HINT_SKEW_MS, PARENTS_MAX, PARENTS_MS, RETENTION_MS, SWEEP_MS } from '../domain/tunables.ts';
import { isGuarded } from '../guards.ts';
import type { Log } from '../log.ts';
import type { Metrics } from '../metrics.ts';
import type { Service } from '../service.ts';
import { wakeForRoom } from '../store/engine/budgets.ts';
import type { Engine } from '../store/engine/engine.ts';
import { asLeader } from '../store/engine/pool.ts';
import { permitsOfTenants } from '../store/engine/limits.ts';
import { seatRunning } from '../store/engine/permits.ts';
import { expireUnstarted, FIRST_DUE, runsOwedToMemory, type OwedRun } from '../store/engine/sweeps.ts';
import { memoryWork, statusCounts, workOf } from '../store/engine/work.ts';
import { wakeAllAnswered } from '../store/engine/waits.ts';
import { retireDeadWorkers } from '../store/engine/workers.ts';
import { noteUnused } from '../store/engine/unused-memories.ts';
import { keepRetention } from './keep-retention.ts';
import type { PoolQueue } from './offer-run.ts';
import { fillQueue, offerSomeDue } from './rebuild-queue.ts';

export interface MaintainDeps {
  readonly engine: Engine;
  readonly queues: ReadonlyMap<string, PoolQueue>;
  readonly metrics: Metrics;
  readonly log: Log;
  /** Fires the schedules that are due. */
  readonly fire: () => Promise<unknown>;
  /** Submits the remembering run of a finished one; safe to call twice. */
  readonly remember: (run: OwedRun) => Promise<void>;
  /** Indexes what is not in the vector index; answers how many rows it moved. */
  readonly index: () => Promise<number>;
}

/** First key of the leader's advisory lock; the second is 1. */
const LOCK_CLASS = 0x6d61;
/** The rest of the tenants; no tenant's id holds an underscore. */
const OTHERS = '_other';

export class Maintenance implements Service {
  readonly name = 'maintenance';
  readonly #deps: MaintainDeps;
  readonly #stopping = new AbortController();
  #loop: Promise<void> = Promise.resolve();
  /** How far the backlog of each pool was offered. */
  readonly #swept = new Map<string, typeof FIRST_DUE>();
  /** When each of the rarer parts is due again, monotonic. */
  readonly #dueMs = new Map<string, number>();

  constructor(deps: MaintainDeps) { this.#deps = deps; }

  start(): Promise<void> {
    this.#loop = this.#sweeping();
    return Promise.resolve();
  }

  async stop(): Promise<void> {
    this.#stopping.abort();
    await this.#loop;
  }

  async #sweeping(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      await asLeader(this.#deps.engine.pool, LOCK_CLASS, () => this.sweep()).catch((error: unknown) => this.#deps.log.warn({ error: messageOf(error) }, 'sweep failed'));
      await pause(SWEEP_MS, this.#stopping.signal);
    }
  }

  /** One round of everything; each part goes on when another fails. */
  async sweep(): Promise<void> {
    const parts: [string, () => Promise<unknown>][] = [
      ['expiry', () => this.#expire()], // before the offers: what stood behind an expired run is offered with the rest
      ['permits', () => seatRunning(this.#deps.engine.pool)], // of runs claimed while their limit was being set
      ['budgets', () => wakeForRoom(this.#deps.engine.pool)], // the offers take them with the rest
      ['schedules', () => this.#deps.fire()],
      ['parents', this.#every('parents', PARENTS_MS, () => wakeAllAnswered(this.#deps.engine.pool, PARENTS_MAX))],
      ...[...this.#deps.queues].map(([pool, queue]): [string, () => Promise<unknown>] => [`offers of ${pool}`, () => this.#offerAll(pool, queue)]),
      ['hints', this.#every('hints', HINT_SKEW_MS, () => this.#dropStrays())],
      ['memory', () => this.#remember()], ['retention', this.#every('retention', RETENTION_MS, () => keepRetention(this.#deps.engine.pool, this.#deps.log))],
      ['unused memories', this.#every('unused memories', RETENTION_MS, () => noteUnused(this.#deps.engine.pool))], ['index', () => this.#index()], ['workers', () => retireDeadWorkers(this.#deps.engine.pool)], ['gauges', this.#every('gauges', GAUGES_MS, () => this.#gauge())],
    ];
    for (const [name, part] of parts) {
      if (this.#stopping.signal.aborted) return;
      await part().catch((error: unknown) => this.#deps.log.warn({ part: name, error: messageOf(error) }, 'a part of the sweep failed'));
    }
  }

  #every(name: string, periodMs: number, part: () => Promise<unknown>): () => Promise<unknown> {
    return async () => {
      if (monoMs() < (this.#dueMs.get(name) ?? 0)) return;
      this.#dueMs.set(name, monoMs() + periodMs);
      await part();
    };
  }

  async #expire(): Promise<void> {
    const expired = await expireUnstarted(this.#deps.engine.pool, EXPIRE_MAX);
    if (expired.length > 0) this.#deps.log.info({ expired: expired.length }, 'runs that never started in their time have ended');
  }

  async #offerAll(pool: string, queue: PoolQueue): Promise<void> {
    const { engine, log } = this.#deps;
    if (!isGuarded('lost-is-found')) return;
    if (!(await queue.ready.isKnown())) {
      const { offered } = await fillQueue(engine.pool, pool, queue, this.#stopping.signal);
      log.info({ pool, offered }, 'ready queue rebuilt from Postgres');
    } else {
      const { found, after } = await offerSomeDue(engine.pool, pool, queue, this.#swept.get(pool) ?? FIRST_DUE);
      this.#swept.set(pool, after);
      if (found > 0) log.debug({ pool, found }, 'offered runs that the ready queue did not hold');
      await queue.ready.ring();
    }
  }

  async #dropStrays(): Promise<void> {
    for (const [pool, { wakeUps }] of this.#deps.queues) {
      const dropped = await wakeUps.dropStrays();
      if (dropped > 0) this.#deps.log.warn({ pool, dropped }, 'delayed jobs were removed that a clock standing ahead had put too far off');
    }
  }

  async #remember(): Promise<void> {
    if (!isGuarded('owed-is-swept')) return;
    for (const run of await runsOwedToMemory(this.#deps.engine.pool, 200)) await this.#deps.remember(run);
  }

  async #index(): Promise<void> { if (isGuarded('owed-is-swept')) await this.#deps.index(); }

  async #gauge(): Promise<void> {
    const { metrics, engine, queues } = this.#deps;
    const counts = new Map((await statusCounts(engine.pool)).map(({ status, count }) => [status, count]));
    for (const status of RUN_STATUSES.slice(0, 3)) metrics.runs.set({ status }, counts.get(status) ?? 0);
    await this.#gaugePermits();
    await this.#gaugeMemory();
    await this.#gaugeWork(); // before what Redis knows, which may be away
    for (const [pool, queue] of queues) {
      const depth = await queue.ready.depth();
      metrics.readyHeld.set({ pool }, depth.held);
      metrics.readyTenants.set({ pool }, depth.tenants);
      for (const [state, count] of Object.entries<number>({ ...(await queue.wakeUps.counts()) })) metrics.wakeUps.set({ pool, state }, count);
    }
  }

  async #gaugePermits(): Promise<void> {
    const { metrics, engine } = this.#deps;
    const limits = await permitsOfTenants(engine.pool);
    metrics.permitsHeld.reset(); // a tenant whose limit is gone is shown no more
    metrics.permitsLimit.reset();
    for (const { tenant, limit, held } of limits) {
      const label = { tenant: metrics.bound('tenant', tenant) };
      metrics.permitsHeld.inc(label, held);
      metrics.permitsLimit.inc(label, limit);
    }
  }

  async #gaugeMemory(): Promise<void> {
    const { metrics, engine } = this.#deps;
    const { owed, quarantined } = await memoryWork(engine.pool);
    metrics.quarantined.set(quarantined);
    for (const { table, rows, oldestMs } of owed) {
      metrics.indexOwed.set({ table }, rows);
      metrics.indexOwedSeconds.set({ table }, oldestMs / 1_000);
    }
  }

  /** A tenant that is no longer among the largest has no series any more. */
  async #gaugeWork(): Promise<void> {
    const { metrics, engine, queues } = this.#deps;
    const works = await Promise.all([...queues.keys()].map(async (pool) => ({ pool, ...(await workOf(engine.pool, pool)) })));
    metrics.tenantDue.reset();
    metrics.tenantOldestSeconds.reset();
    for (const { pool, work, blocked, oldestMs, tenants } of works) {
      metrics.oldestReadySeconds.set({ pool }, oldestMs / 1_000);
      metrics.runnable.set({ pool }, work);
      metrics.blocked.set({ pool }, blocked);
      for (const { tenant, due, oldestMs: tenantMs } of tenants) {
        metrics.tenantDue.set({ pool, tenant: tenant ?? OTHERS }, due);
        metrics.tenantOldestSeconds.set({ pool, tenant: tenant ?? OTHERS }, tenantMs / 1_000);
      }
    }
  }
}
