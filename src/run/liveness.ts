// Whether this worker lives, and whether its neighbour does. It holds a session lock from before its first claim, renews its
// lease, and fences itself when either is lost: all its runs are aborted and given back, and it registers anew under another
// incarnation. In a ring by worker id each looks at the lock of the next: a free one ends that worker's lease at once.
// A lost connection fences unless the server is known to be in another life (restart, failover, recovery): nobody can have
// been declared dead then, the lock is retaken, and the lease alone decides meanwhile.
import { randomUUID } from 'node:crypto';
import { monoMs, pause } from '../clock.ts';
import { messageOf } from '../domain/errors.ts';
import { LOCK_WATCH_MS, RING_MS } from '../domain/tunables.ts';
import type { Log } from '../log.ts';
import type { EnginePool } from '../store/engine/pool.ts';
import type { Ready } from '../store/engine/sweeps.ts';
import { isServerAway, openWorkerSession, type WorkerSession } from '../store/engine/worker-lock.ts';
import { handBackAll, orphanedRuns, registerWorker, relockIfHeld, renewLeaseIfHeld, retireDeadWorkers, retireWorker } from '../store/engine/workers.ts';
import { Lease } from './lease.ts';

export interface LivenessDeps {
  readonly engine: EnginePool;
  readonly pool: string;
  readonly worker: string;
  /** `name@version` of what it can run. */
  readonly machines: readonly string[];
  readonly leaseMs: number;
  readonly log: Log;
  /** Runs of this worker that somebody wants cancelled. */
  readonly onCancelled: (runs: readonly string[]) => void;
  /** The worker may claim again: wake-ups that came meanwhile are spent. */
  readonly onAble: () => void;
  /** Called after each renewal. */
  readonly onRenewed: () => Promise<void>;
  /** Runs that dead workers held, again until somebody has claimed them. */
  readonly onOrphans: (runs: readonly Ready[]) => Promise<void>;
  /** Runs this worker has given back. */
  readonly onHandedBack: (runs: readonly { tenant: string; id: string }[]) => Promise<void>;
}

/** Orphans offered in one go; the rest is found within the next second. */
const ORPHANS_MAX = 1_000;
/** A store that is away is asked again after this. */
const RETRY_MS = 250;

export class Liveness {
  readonly #deps: LivenessDeps;
  readonly #stopping = new AbortController();
  #lease: Lease | undefined;
  #session: WorkerSession | undefined;
  #loops: Promise<void>[] = [];

  constructor(deps: LivenessDeps) { this.#deps = deps; }

  /** The lease under which this worker may claim: it lives, and its lock is held. */
  get lease(): Lease | undefined { return this.#session && this.#lease?.alive ? this.#lease : undefined; }

  async start(): Promise<void> {
    await this.#register();
    this.#loops = [this.#renewing(), this.#watching(), this.#sweeping()];
  }

  /** Gives back what is still held, then retires. Not bounded in time: the caller is. */
  async stop(): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    this.#stopping.abort();
    const [lease, session] = [this.#lease, this.#session];
    if (lease) await this.#resign(lease);
    await session?.close();
    await Promise.all(this.#loops);
  }

  /** What a claim has brought after its lease was lost, or what is left at the end: back to the queue, and no crash of anybody. */
  async #resign(lease: Lease): Promise<void> {
    await this.handBack(lease);
    await retireWorker(this.#deps.engine, lease.incarnation);
  }

  async handBack(lease: Lease): Promise<void> {
    const runs = await handBackAll(this.#deps.engine, lease.incarnation);
    if (runs.length > 0) await this.#deps.onHandedBack(runs);
  }

  async #register(): Promise<void> {
    const { engine, pool, worker, machines, leaseMs, log } = this.#deps;
    const session = await openWorkerSession(engine);
    try {
      const id = await session.newId();
      const incarnation = randomUUID();
      const sentMs = monoMs();
      await registerWorker(engine, { incarnation, name: worker, pool, machines, leaseMs, lock: { id, life: session.life } });
      this.#hold(new Lease(id, incarnation, leaseMs, sentMs), session);
      log.info({ pool, incarnation, machines }, 'worker registered');
    } catch (error) {
      await session.close();
      throw error;
    }
  }

  #hold(lease: Lease, session: WorkerSession): void {
    this.#lease = lease;
    this.#session = session;
    void session.lost.then(() => this.#afterLoss(lease, session));
    this.#deps.onAble();
  }

  #fence(lease: Lease, why: string): void {
    if (lease.signal.aborted) return;
    const session = this.#session;
    [this.#lease, this.#session] = [undefined, undefined];
    this.#deps.log.warn({ incarnation: lease.incarnation, why }, 'fenced: this worker writes nothing more under its old incarnation');
    lease.end(why);
    void session?.close();
    void this.#resign(lease).catch((error: unknown) => this.#deps.log.warn({ error: messageOf(error) }, 'not given back: the lease runs out'));
  }

  async #renewing(): Promise<void> {
    const { engine, leaseMs, log } = this.#deps;
    let waitMs = leaseMs / 3;
    while (!this.#stopping.signal.aborted) {
      const lease = this.#lease;
      if (!lease) {
        await this.#register().catch((error: unknown) => { log.warn({ error: messageOf(error) }, 'worker not registered again yet'); return pause(RETRY_MS, this.#stopping.signal); });
        continue;
      }
      await pause(Math.min(waitMs, lease.leftMs), AbortSignal.any([this.#stopping.signal, lease.signal]));
      if (this.#stopping.signal.aborted || lease.signal.aborted) continue;
      const answer = lease.leftMs > 0 ? await this.#renew(engine, lease) : 'over';
      if (answer === 'over') this.#fence(lease, 'the lease is over');
      waitMs = answer === 'failed' ? Math.min(RETRY_MS, leaseMs / 10) : leaseMs / 3;
    }
  }

  async #renew(engine: EnginePool, lease: Lease): Promise<'renewed' | 'failed' | 'over'> {
    const { leaseMs, log, onCancelled, onRenewed } = this.#deps;
    const sentMs = monoMs();
    const late = new AbortController();
    const answer = await Promise.race([
      renewLeaseIfHeld(this.#session?.db ?? engine, lease.incarnation, leaseMs).catch((error: unknown) => { log.warn({ error: messageOf(error) }, 'lease not renewed'); return 'failed' as const; }),
      pause(lease.leftMs, late.signal).then(() => 'failed' as const),
    ]);
    late.abort();
    if (answer === 'failed') return 'failed';
    if (!answer) return 'over';
    lease.renewed(sentMs);
    onCancelled(answer.cancelled);
    await onRenewed();
    return 'renewed';
  }

  /** The connection is gone: who has the lock now? Until that is known nothing is claimed; while the server is away, the lease decides. */
  async #afterLoss(lease: Lease, session: WorkerSession): Promise<void> {
    if (this.#session !== session) return;
    this.#session = undefined;
    while (!this.#stopping.signal.aborted && lease.alive) {
      const answer = await this.#regain(lease, session.life);
      if (answer === 'lost') return this.#fence(lease, 'the connection that held its lock is gone');
      if (answer === 'held') return this.#deps.log.warn({ incarnation: lease.incarnation }, 'the server was restarted: lock taken again');
      await pause(RETRY_MS, this.#stopping.signal);
    }
  }

  async #regain(lease: Lease, life: string): Promise<'held' | 'lost' | 'away'> {
    let next: WorkerSession | undefined;
    try {
      next = await openWorkerSession(this.#deps.engine);
      if (next.life !== life) {
        await next.hold(lease.id);
        if (await relockIfHeld(this.#deps.engine, lease.incarnation, next.life)) {
          if (lease.signal.aborted) throw new Error('fenced meanwhile');
          this.#hold(lease, next);
          return 'held';
        }
      }
      await next.close();
      return 'lost';
    } catch (error) {
      await next?.close();
      return isServerAway(error) ? 'away' : 'lost';
    }
  }

  /** Looks at the next worker's lock. Who finds it free ends that lease and offers its runs; the row is retired by the sweep. */
  async #watching(): Promise<void> {
    let [next, askedMs] = [undefined as bigint | undefined, -Infinity];
    while (!this.#stopping.signal.aborted) {
      const dead = await this.#look(async (lease, session) => {
        if (monoMs() - askedMs > RING_MS) [next, askedMs] = [await session.neighbour(this.#deps.pool, lease.id), monoMs()];
        return next === undefined ? undefined : session.endLeaseIfDead(next);
      });
      if (dead !== undefined) {
        this.#deps.log.warn({ dead }, 'a worker is dead: its lease is ended and its runs are offered');
        askedMs = -Infinity;
        await this.#sweep();
      } else await pause(LOCK_WATCH_MS, this.#stopping.signal);
    }
  }

  async #look(work: (lease: Lease, session: WorkerSession) => Promise<string | undefined>): Promise<string | undefined> {
    const [lease, session] = [this.lease, this.#session];
    if (!lease || !session) return undefined;
    return work(lease, session).catch(() => undefined); // the connection is gone: `afterLoss` says so
  }

  /** Everybody, every second: who ended a lease may be dead as well by now. */
  async #sweeping(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      await pause(RING_MS * (0.8 + Math.random() * 0.4), this.#stopping.signal);
      if (this.lease) await this.#sweep();
    }
  }

  async #sweep(): Promise<void> {
    try {
      const runs = await orphanedRuns(this.#deps.engine, this.#deps.pool, ORPHANS_MAX);
      if (runs.length > 0) await this.#deps.onOrphans(runs);
      await retireDeadWorkers(this.#deps.engine);
    } catch (error) {
      this.#deps.log.debug({ error: messageOf(error) }, 'orphans not looked for');
    }
  }
}
