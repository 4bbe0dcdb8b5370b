// The worker: registers itself, renews its lease before anything slow, is woken by BullMQ, takes the fairest run, claims it
// in Postgres and moves it. Without Redis it claims due runs itself, once a second. It fences itself by a monotonic deadline
// counted from before a renewal was sent, and drains on stop: no new takes, runs are handed back at their next checkpoint.
import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import { monoMs, pause } from '../clock.ts';
import { messageOf } from '../domain/errors.ts';
import { isTerminal } from '../domain/status.ts';
import { FALLBACK_EVERY, FALLBACK_POLL_MS, LEASE_MARGIN_MS, WAKE_UP_MS } from '../domain/tunables.ts';
import type { Settle, Taken } from '../queue/ready-queue.ts';
import { makeWakeUpWorker, type WakeUp } from '../queue/wake-up-worker.ts';
import type { Service } from '../service.ts';
import type { ClaimedRun } from '../store/engine/claim.ts';
import type { Claimer } from '../store/engine/engine.ts';
import { readyRun, sessionHead } from '../store/engine/sweeps.ts';
import { registerWorker, renewLeaseIfHeld, retireWorker } from '../store/engine/workers.ts';
import { executeRun, type ExecuteDeps } from './execute-run.ts';
import type { Dispatcher, PoolQueue } from './offer-run.ts';

export interface WorkerDeps extends ExecuteDeps {
  readonly pool: string;
  readonly queue: PoolQueue;
  readonly dispatcher: Dispatcher;
  readonly redisUrl: string;
  /** A blocking client for the cancel channel. */
  readonly subscriber: Redis;
  readonly concurrency: number;
  readonly leaseMs: number;
  readonly drainMs: number;
  /** Called with every run that ended: memory, follow-ups. Never rejects. */
  readonly onEnded: (run: ClaimedRun, status: string) => Promise<void>;
}

interface Active { readonly stop: AbortController; readonly taken: Taken | undefined }

export class RunWorker implements Service {
  readonly name: string;
  readonly #deps: WorkerDeps;
  readonly #machines: string[];
  readonly #stepMs: number;
  readonly #active = new Map<string, Active>();
  readonly #stopping = new AbortController();
  #incarnation = '';
  #claimer: Claimer | undefined;
  #leaseEndsMs = 0;
  #claims = 0;
  #wakeUps: Service | undefined;
  #loops: Promise<void>[] = [];
  #idle: (() => void)[] = [];

  constructor(deps: WorkerDeps) {
    this.name = `${deps.pool}-worker`;
    this.#deps = deps;
    const machines = deps.registry.ofPool(deps.pool);
    this.#machines = deps.registry.claimable(deps.pool);
    this.#stepMs = Math.max(1_000, ...machines.map((machine) => machine.stepTimeoutMs));
  }

  get running(): number { return this.#active.size; }
  /** True while the worker may claim: its lease is alive by its own clock. */
  get ready(): boolean { return !this.#stopping.signal.aborted && monoMs() < this.#leaseEndsMs; }

  async start(): Promise<void> {
    const { pool, concurrency, redisUrl, keys, log } = this.#deps;
    await this.#register();
    this.#loops = [this.#renewing(), this.#polling()];
    await this.#listen().catch((error: unknown) => log.warn({ error: messageOf(error) }, 'cancel channel not heard: leases tell of cancels'));
    this.#wakeUps = makeWakeUpWorker({
      pool, concurrency, url: redisUrl, keys, log, drainMs: this.#deps.drainMs,
      onWakeUp: (wakeUp) => this.#serve(wakeUp),
      onDelayed: async (tenant, run) => {
        const ready = await readyRun(this.#deps.engine.pool, tenant, run);
        if (ready && ready.dueInMs > 0) return { againInMs: ready.dueInMs };
        if (ready) await this.#deps.dispatcher.offer(ready, 0);
        return 'offer';
      },
    });
    // Redis may be away at the start: the worker then lives on its fallback until BullMQ has connected.
    void this.#wakeUps.start().catch((error: unknown) => log.warn({ error: messageOf(error) }, 'wake-ups not served yet'));
  }

  async stop(): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    this.#stopping.abort();
    const wakeUpsStopped = this.#wakeUps?.stop();
    await Promise.race([this.#idled(), pause(this.#deps.drainMs)]);
    for (const active of this.#active.values()) active.stop.abort('drain');
    await Promise.race([this.#idled(), pause(2_000)]);
    await Promise.race([wakeUpsStopped, pause(1_000)]);
    await Promise.all(this.#loops);
    await Promise.race([retireWorker(this.#deps.engine.pool, this.#incarnation).catch(() => undefined), pause(2_000)]); // else the lease runs out
    this.#deps.subscriber.disconnect();
  }

  async #register(): Promise<void> {
    const sentMs = monoMs();
    this.#incarnation = randomUUID();
    const { engine, pool, leaseMs, worker, log } = this.#deps;
    await registerWorker(engine.pool, { incarnation: this.#incarnation, name: worker, pool, machines: this.#machines, leaseMs });
    this.#claimer = engine.claimer(this.#incarnation, this.#machines, pool, this.#stepMs);
    this.#leaseEndsMs = sentMs + leaseMs - Math.min(LEASE_MARGIN_MS, leaseMs / 4);
    log.info({ pool, incarnation: this.#incarnation, machines: this.#machines }, 'worker registered');
  }

  async #renewing(): Promise<void> {
    const { engine, leaseMs, log } = this.#deps;
    while (!this.#stopping.signal.aborted || this.#active.size > 0) {
      await pause(leaseMs / 3, this.#active.size > 0 ? undefined : this.#stopping.signal);
      const sentMs = monoMs();
      const answer = await Promise.race([
        renewLeaseIfHeld(engine.pool, this.#incarnation, leaseMs).catch((error: unknown) => { log.warn({ error: messageOf(error) }, 'lease not renewed'); return 'failed' as const; }),
        pause(Math.max(100, this.#leaseEndsMs - monoMs())).then(() => 'failed' as const),
      ]);
      if (answer !== 'failed' && answer) {
        this.#leaseEndsMs = sentMs + leaseMs - Math.min(LEASE_MARGIN_MS, leaseMs / 4);
        for (const run of answer.cancelled) this.#cancel(run);
        await this.#chargeLongRuns();
      } else if (answer === undefined || monoMs() >= this.#leaseEndsMs) {
        for (const active of this.#active.values()) active.stop.abort('fenced');
        if (!this.#stopping.signal.aborted) await this.#register().catch((error: unknown) => log.warn({ error: messageOf(error) }, 'worker not registered again yet'));
      }
    }
  }

  /** Runs longer than a renewal pay while they run, and keep their slot. */
  async #chargeLongRuns(): Promise<void> {
    const moreMs = this.#deps.leaseMs / 3;
    const running = [...this.#active.values()].flatMap(({ taken }) => (taken ? [{ tenant: taken.tenant, run: taken.run, moreMs }] : []));
    if (running.length > 0) await this.#deps.queue.ready.renew(running).catch(() => undefined); // the settle charges the rest
  }

  /** Without the ready queue: due runs straight from Postgres, once a second while a place is free. */
  async #polling(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      await pause(FALLBACK_POLL_MS * (0.8 + Math.random() * 0.4), this.#stopping.signal);
      const free = this.#deps.concurrency - this.#active.size;
      if (free <= 0 || !this.ready) continue;
      await this.#claimDue(free).catch((error: unknown) => this.#deps.log.warn({ error: messageOf(error) }, 'due runs not claimed'));
    }
  }

  async #claimDue(limit: number): Promise<void> {
    const held = await this.#deps.queue.ready.depth().then((depth) => depth.held, () => 0);
    if (held > 0) return; // the ready queue works: it chooses
    for (const run of (await this.#claimer?.claimDue(limit)) ?? []) void this.#run(run, undefined, () => undefined);
  }

  /** One wake-up: settle the last run, take the next, for at most WAKE_UP_MS. */
  async #serve(wakeUp: WakeUp): Promise<void> {
    const endMs = monoMs() + WAKE_UP_MS;
    let settle: Settle | undefined;
    while (!wakeUp.signal.aborted && !this.#stopping.signal.aborted && this.ready && monoMs() < endMs) {
      const taken = await this.#deps.queue.ready.take(settle);
      settle = undefined;
      if (!taken) return;
      settle = await this.#moveTaken(taken, wakeUp);
    }
    if (settle) await this.#deps.queue.ready.settle(settle);
  }

  async #moveTaken(taken: Taken, wakeUp: WakeUp): Promise<Settle> {
    const startedMs = monoMs();
    const run = await this.#claimer?.claim(taken.tenant, taken.run);
    this.#deps.metrics.claims.inc({ outcome: run ? 'claimed' : 'refused' });
    if (!run) return { ...taken, realMs: 0 };
    await this.#run(run, taken, (data) => wakeUp.show(data));
    if (++this.#claims % FALLBACK_EVERY === 0) await this.#claimDue(1).catch(() => undefined);
    return { ...taken, realMs: monoMs() - startedMs };
  }

  async #run(run: ClaimedRun, taken: Taken | undefined, show: (data: Record<string, unknown>) => void): Promise<void> {
    const stop = new AbortController();
    const { log, metrics } = this.#deps;
    this.#active.set(run.id, { stop, taken });
    if (run.crashes > 0) metrics.reclaims.inc({ reason: 'crash' });
    metrics.queueWaitSeconds.observe({ pool: this.#deps.pool }, Math.max(0, run.queuedMs) / 1_000);
    try {
      const ended = await executeRun(this.#deps, run, { incarnation: this.#incarnation, signal: stop.signal, draining: () => this.#stopping.signal.aborted, show });
      this.#active.delete(run.id);
      await this.#afterwards(run, ended.status, ended.wakeInMs);
    } catch (error) {
      log.error({ run: run.id, error: messageOf(error), stack: error instanceof Error ? error.stack : undefined }, 'run left to its lease');
    } finally {
      this.#active.delete(run.id);
      if (this.#active.size === 0) for (const one of this.#idle.splice(0)) one();
    }
  }

  /** Commit, then look: what this end or wait makes ready is offered; all of it is only a hint. */
  async #afterwards(run: ClaimedRun, status: string, wakeInMs: number | null): Promise<void> {
    try {
      const { engine, dispatcher } = this.#deps;
      if (status === 'queued' || status === 'waiting') {
        const ready = await readyRun(engine.pool, run.tenant, run.id);
        if (ready && wakeInMs !== null && wakeInMs < 60_000) await dispatcher.offer(ready, ready.dueInMs);
      } else if (status !== 'fenced' && isTerminal(status as never)) {
        if (run.session !== null && run.user !== null) {
          const head = await sessionHead(engine.pool, run.tenant, run.user, run.session);
          if (head) await dispatcher.offer(head, head.dueInMs);
        }
        if (run.parent !== null && run.parentPath !== null) {
          const parent = await readyRun(engine.pool, run.tenant, run.parent);
          if (parent) await dispatcher.offer(parent, parent.dueInMs);
        }
        await this.#deps.onEnded(run, status);
      }
    } catch (error) {
      this.#deps.log.warn({ run: run.id, error: messageOf(error) }, 'follow-ups left to maintenance');
    }
  }

  async #listen(): Promise<void> {
    const { subscriber, keys } = this.#deps;
    subscriber.on('message', (_channel, run) => this.#cancel(run));
    await subscriber.subscribe(keys.cancelChannel);
  }

  #cancel(run: string): void { this.#active.get(run)?.stop.abort('cancelled'); }
  #idled(): Promise<void> { return this.#active.size === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve)); }
}
