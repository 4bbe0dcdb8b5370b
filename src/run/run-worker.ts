// The worker: lives by its lease and lock before anything slow (liveness.ts), is woken by BullMQ, takes the fairest run,
// claims it in Postgres and moves it. Without Redis it claims due runs itself, once a second. Suspects of a crash are kept apart
// from other runs (suspects.ts). It drains on stop: no new takes, runs are handed back at their next checkpoint, and it ends
// in bounded time whatever is gone.
import type { Redis } from 'ioredis';
import { follow, monoMs, pause } from '../clock.ts';
import { messageOf } from '../domain/errors.ts';
import { isTerminal } from '../domain/status.ts';
import { CRASH_LIMIT, FALLBACK_EVERY, FALLBACK_POLL_MS, STAND_BACK_MS, WAKE_UP_MS } from '../domain/tunables.ts';
import { faultPoint } from '../fault-points.ts';
import { isGuarded } from '../guards.ts';
import type { Settle, Taken } from '../queue/ready-queue.ts';
import { makeWakeUpWorker } from '../queue/wake-up-worker.ts';
import { within, type Service } from '../service.ts';
import type { ClaimedRun } from '../store/engine/claim.ts';
import type { Claimer } from '../store/engine/engine.ts';
import { handBackIfHeld, setAloneIfHeld } from '../store/engine/suspects.ts';
import { readyRun, type Ready } from '../store/engine/sweeps.ts';
import { tellRuns, type Active } from './active-run.ts';
import { executeRun, type Ended, type ExecuteDeps } from './execute-run.ts';
import { hearCancels, pollCancels } from './hear-cancels.ts';
import type { Lease } from './lease.ts';
import { Liveness } from './liveness.ts';
import { offerFollowUps } from './offer-follow-ups.ts';
import { asOffer, type Dispatcher, type PoolQueue } from './offer-run.ts';
import { Places, type Moving, type Show } from './places.ts';
import { answerRefusal, UNANSWERED } from './refused-claim.ts';
import { Strays } from './strays.ts';
import { Suspects, type Admission } from './suspects.ts';

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

/** After its steps were aborted at the end of a drain the worker waits so long for their last commits. */
const LAST_COMMITS_MS = 2_000;
/** For the acknowledgement of wake-ups, and for giving back and retiring: what hangs is left to the lease. */
const LAST_CALLS_MS = 1_500;
/** A run whose commit failed is tried again after this. */
const GIVE_BACK_MS = 1_000;

const claimKey = ({ id, fence }: ClaimedRun): string => `${id} ${fence}`;

export class RunWorker implements Service {
  readonly name: string;
  readonly stopMs: number;
  readonly #deps: WorkerDeps;
  readonly #machines: string[];
  readonly #stepMs: number;
  readonly #active = new Set<Active>();
  readonly #suspects: Suspects;
  readonly #strays = new Strays();
  readonly #places: Places;
  readonly #liveness: Liveness;
  readonly #stopping = new AbortController();
  readonly #claimers = new WeakMap<Lease, Claimer>();
  #claims = 0;
  /** Until then other builds have their turn. */
  #standBackUntilMs = 0;
  #wakeUps: Service | undefined;
  #loops: Promise<void>[] = [];
  #idle: (() => void)[] = [];

  constructor(deps: WorkerDeps) {
    this.name = `${deps.pool}-worker`;
    this.stopMs = deps.drainMs + LAST_COMMITS_MS + 2 * LAST_CALLS_MS + 500;
    this.#deps = deps;
    const machines = deps.registry.ofPool(deps.pool);
    this.#machines = deps.registry.claimable(deps.pool);
    this.#stepMs = Math.max(1_000, ...machines.map((machine) => machine.stepTimeoutMs));
    const { engine, pool, worker, leaseMs, log } = deps;
    const ring = (): void => { void deps.queue.ready.ring().catch(() => undefined); }; // maintenance rings every second
    this.#suspects = new Suspects(ring);
    this.#places = new Places({
      ready: deps.queue.ready, count: deps.concurrency, stopping: this.#stopping.signal, isOpen: () => this.#isOpen, opens: () => this.#opens(),
      move: (taken, show) => this.#move((leave) => this.#moveOrGiveBack(taken, show, leave)),
    });
    this.#liveness = new Liveness({
      engine: engine.pool, pool, worker, machines: this.#machines, leaseMs, log,
      onCancelled: (runs) => { for (const told of runs) tellRuns(this.#active, told); },
      onAble: ring,
      onRenewed: () => this.#chargeLongRuns(),
      onOrphans: (runs) => this.#offerOrphans(runs),
      onHandedBack: (runs) => this.#offerAgain(runs),
    });
  }

  get running(): number { return this.#active.size; }
  /** True while the worker may claim: lock and lease are held, by its own clock. */
  get ready(): boolean { return !this.#stopping.signal.aborted && this.#liveness.lease !== undefined; }

  async start(): Promise<void> {
    const { engine, pool, concurrency, redisUrl, subscriber, keys, log } = this.#deps;
    await this.#liveness.start();
    this.#loops = [this.#polling(), pollCancels(engine.pool, () => this.#liveness.lease?.incarnation, this.#active, this.#stopping.signal)];
    await within(hearCancels(subscriber, keys, this.#active).catch((error: unknown) => log.warn({ error: messageOf(error) }, 'cancel channel not heard: Postgres is asked for cancels')), LAST_CALLS_MS);
    this.#wakeUps = makeWakeUpWorker({
      pool, concurrency, url: redisUrl, keys, log, drainMs: this.#deps.drainMs,
      beforeFetch: () => this.#places.beforeFetch(),
      onWakeUp: (wakeUp) => this.#places.serve(wakeUp),
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

  /** The lease is renewed until the last run has stopped; each wait here has an end of its own. */
  async stop(): Promise<void> {
    if (this.#stopping.signal.aborted) return;
    this.#stopping.abort();
    const wakeUpsStopped = this.#wakeUps?.stop();
    await within(this.#idled(), this.#deps.drainMs);
    for (const active of this.#active) active.stop.abort('drain');
    await within(this.#idled(), LAST_COMMITS_MS);
    await within(Promise.all([wakeUpsStopped, this.#places.ended(), ...this.#loops]), LAST_CALLS_MS);
    if (!(await within(this.#liveness.stop().catch((error: unknown) => this.#deps.log.warn({ error: messageOf(error) }, 'not retired')), LAST_CALLS_MS))) this.#deps.log.warn('not retired: the lease runs out');
    this.#deps.subscriber.disconnect();
  }

  #claimerOf(lease: Lease): Claimer {
    const claimer = this.#claimers.get(lease) ?? this.#deps.engine.claimer(lease.incarnation, this.#machines, this.#deps.pool, this.#stepMs);
    this.#claimers.set(lease, claimer);
    return claimer;
  }

  /** Runs longer than a renewal pay while they run, what they have not paid yet, and keep their slot. */
  async #chargeLongRuns(): Promise<void> {
    for (const active of this.#active) this.#count(active);
    const running = [...this.#active].flatMap((active) => (active.taken ? [{ active, ...active.taken, moreMs: Math.max(0, monoMs() - active.sinceMs - active.chargedMs) }] : []));
    if (running.length === 0) return;
    for (const { active, moreMs } of running) active.chargedMs += moreMs; // before the call: the run may be settled meanwhile
    await this.#deps.queue.ready.renew(running).catch(() => { for (const { active, moreMs } of running) active.chargedMs -= moreMs; }); // the settle charges it then
  }

  /** Without the ready queue: due runs straight from Postgres, once a second while a place is free. */
  async #polling(): Promise<void> {
    while (!this.#stopping.signal.aborted) {
      await pause(FALLBACK_POLL_MS * (0.8 + Math.random() * 0.4), this.#stopping.signal);
      await this.#claimDue().catch((error: unknown) => this.#deps.log.warn({ error: messageOf(error) }, 'due runs not claimed'));
      await this.#giveBackStrays().catch(() => undefined); // looked for again
    }
  }

  async #claimDue(limit = this.#deps.concurrency - this.#active.size): Promise<void> {
    if (limit <= 0 || !this.ready || !this.#suspects.open) return;
    const held = await this.#deps.queue.ready.depth().then((depth) => depth.held, () => 0);
    const { lease } = this.#liveness;
    if (!lease) return;
    if (held > 0) return monoMs() - this.#places.takenMs < FALLBACK_POLL_MS ? undefined : this.#places.fill(); // the ready queue chooses; BullMQ is silent, or its wake-ups were spent elsewhere
    if (!isGuarded('lost-is-found')) return;
    for (let free = limit; free > 0 && this.ready;) {
      const runs = await this.#unlessLost(this.#claimerOf(lease).claimDue(free));
      if (runs.length === 0) return;
      for (const run of runs) void this.#moveUntaken(lease, run);
      free -= runs.length;
    }
  }

  /** A run that the ready queue did not hand out takes its slots there all the same, or others of its limit would be handed out
   *  for nothing. */
  async #moveUntaken(lease: Lease, run: ClaimedRun): Promise<void> {
    if (run.limits === null) return void await this.#run(lease, run, undefined, () => undefined);
    const startedMs = monoMs();
    const taken = { tenant: run.tenant, run: run.id, chargedMs: 0, limits: run.limits };
    const told = this.#holdSlots(taken).catch(() => undefined); // without Redis nothing is handed out
    const chargedMs = await this.#run(lease, run, taken, () => undefined);
    await told; // or the slot would be taken after it was given back
    await this.#deps.queue.ready.settle({ ...taken, chargedMs, realMs: monoMs() - startedMs }).catch(() => undefined);
  }

  /** A claim that failed may have been carried out, and its runs are then held by nobody who knows. */
  #unlessLost<T>(claim: Promise<T>): Promise<T> { return claim.catch((error: unknown) => { this.#strays.suspect(); throw error; }); }

  async #giveBackStrays(): Promise<void> {
    const { lease } = this.#liveness;
    if (!lease) return; // what an ended incarnation holds is given back as a whole
    const known = new Set([...this.#active].map(({ run }) => run.id));
    const given = await this.#strays.giveBack(this.#deps.engine.pool, lease.incarnation, (run) => known.has(run));
    if (given.length === 0) return;
    this.#deps.log.warn({ runs: given.length }, 'the answer to a claim was lost: its runs are given back');
    await this.#offerAgain(given);
  }

  /** A run in hand. What cannot be moved here any more goes back, and is settled. */
  async #moveOrGiveBack(taken: Taken, show: Show, leave?: () => void): Promise<Settle | undefined> {
    const lease = this.ready ? this.#liveness.lease : undefined;
    if (lease) return this.#moveTaken(lease, taken, show, leave);
    await this.#deps.queue.ready.settle({ ...taken, realMs: 0 });
    await this.#offerAgain([{ tenant: taken.tenant, id: taken.run }]);
    return undefined;
  }

  get #isOpen(): boolean { return this.ready && this.#suspects.open && monoMs() >= this.#standBackUntilMs; }

  /** Waits until a run may be taken, for WAKE_UP_MS and STAND_BACK_MS at most. */
  async #opens(): Promise<boolean> {
    await this.#suspects.whenOpen(WAKE_UP_MS);
    const standsBackMs = this.#standBackUntilMs - monoMs();
    if (standsBackMs > 0) await pause(standsBackMs, this.#stopping.signal);
    return this.#isOpen;
  }

  /** A full worker gives a run's place away when it leaves. */
  #move(move: (leave: () => void) => Moving['moved']): Moving {
    const { promise: left, resolve } = Promise.withResolvers<undefined>();
    return { moved: move(() => { if (this.#active.size >= this.#deps.concurrency) resolve(undefined); }), left };
  }

  /** `leave`: called when all that is left to do is the run's last commit. */
  async #moveTaken(lease: Lease, taken: Taken, show: Show, leave = (): void => undefined): Promise<Settle> {
    const startedMs = monoMs();
    const run = await this.#unlessLost(this.#claimerOf(lease).claim(taken.tenant, taken.run));
    this.#deps.metrics.claims.inc({ outcome: run ? 'claimed' : 'refused' });
    if (!run) return this.#moveInstead(lease, taken, show, leave);
    const chargedMs = await this.#run(lease, run, taken, show, leave);
    if (++this.#claims % FALLBACK_EVERY === 0) await this.#claimDue(1).catch(() => undefined);
    return { ...taken, chargedMs, realMs: monoMs() - startedMs };
  }

  /** The claim was refused. Where a dead worker's run holds the permit it lacks, that one is moved in its place. */
  async #moveInstead(lease: Lease, refused: Taken, show: Show, leave: () => void): Promise<Settle> {
    const { ready } = this.#deps.queue;
    const { keepSlot, instead, standBack } = await answerRefusal(this.#deps.engine.pool, this.#deps.queue, refused, this.#machines).catch(() => UNANSWERED);
    if (standBack) this.#standBackUntilMs = monoMs() + STAND_BACK_MS;
    const settle = { ...refused, realMs: 0, keepSlot };
    for (const taken of instead) {
      const startedMs = monoMs();
      const run = await this.#unlessLost(this.#claimerOf(lease).claim(taken.tenant, taken.run));
      if (!run) continue;
      await Promise.all([ready.settle(settle), this.#holdSlots(taken)]).catch(() => undefined); // the run in hand must be moved, whatever Redis says
      const chargedMs = await this.#run(lease, run, taken, show, leave);
      return { ...taken, chargedMs, realMs: monoMs() - startedMs };
    }
    return settle;
  }

  #holdSlots({ tenant, run, limits }: Taken): Promise<void> { return this.#deps.queue.ready.holdSlots(tenant, [{ run, leftMs: this.#deps.leaseMs, limits }]); }

  /** Answers what the run was charged for, in ms. */
  async #run(lease: Lease, run: ClaimedRun, taken: Taken | undefined, show: Show, leave = (): void => undefined): Promise<number> {
    const { log, metrics } = this.#deps;
    const sinceMs = monoMs();
    const active: Active = { run, lease, stop: new AbortController(), interrupt: new AbortController(), taken, sinceMs, chargedMs: taken?.chargedMs ?? 0, countedMs: sinceMs, leave };
    this.#active.add(active);
    if (run.crashes > 0) metrics.reclaims.inc({ reason: 'crash' });
    metrics.queueWaitSeconds.observe({ pool: this.#deps.pool }, Math.max(0, run.queuedMs) / 1_000);
    try {
      faultPoint('run-claimed');
      const ended = await this.#execute(active, show);
      faultPoint('run-left');
      this.#left(active);
      await this.#afterwards(run, ended.status, ended.wakeInMs);
    } catch (error) {
      log.error({ run: run.id, error: messageOf(error), stack: error instanceof Error ? error.stack : undefined }, 'run given back: its commit failed');
      await this.#giveBack(active);
    } finally {
      this.#left(active);
      if (!lease.alive) void this.#liveness.handBack(lease).catch(() => undefined); // claimed while the lease ended: else nobody knew
      if (this.#active.size === 0) for (const one of this.#idle.splice(0)) one();
    }
    return active.chargedMs;
  }

  /** A commit that failed for good (a store that is away, a fault of ours) must not leave the run to its step's deadline. */
  async #giveBack({ run, lease }: Active): Promise<void> {
    const held = { tenant: run.tenant, id: run.id, fence: run.fence, claimedBy: lease.incarnation };
    while (lease.alive) {
      const done = await handBackIfHeld(this.#deps.engine.pool, held, GIVE_BACK_MS).catch(() => undefined);
      if (done !== undefined) return;
      await pause(GIVE_BACK_MS, lease.signal);
    }
  }

  #left(active: Active): void {
    this.#suspects.leave(claimKey(active.run));
    if (this.#active.delete(active)) this.#count(active);
  }

  #count(active: Active): void {
    const { metrics, pool } = this.#deps;
    const nowMs = monoMs();
    metrics.slotSeconds.inc({ pool, tenant: metrics.bound('tenant', active.run.tenant) }, (nowMs - active.countedMs) / 1_000);
    active.countedMs = nowMs;
  }

  /** Admits the run (a suspect only where it harms no other) and moves it on. */
  async #execute({ lease, run, stop, interrupt, leave }: Active, show: Show): Promise<Ended> {
    const key = claimKey(run);
    const ends = run.cancelRequested || run.crashesAlone >= CRASH_LIMIT; // no step of it will run
    const admission = await this.#suspects.admit({ id: key, crashes: ends ? 0 : run.crashes, stepClaims: run.stepClaims });
    const held = { tenant: run.tenant, id: run.id, fence: run.fence, claimedBy: lease.incarnation };
    const pool = this.#deps.engine.pool;
    if (!admission.admitted) {
      const wakeInMs = this.#stopping.signal.aborted ? 0 : admission.wakeInMs;
      return (await handBackIfHeld(pool, held, wakeInMs)) ? { status: 'queued', wakeInMs } : { status: 'fenced', wakeInMs: null };
    }
    const window = run.crashes > 0 ? new AbortController() : undefined;
    const unfollow = follow(lease.signal, stop);
    try {
      if ((admission.alone || admission.waited) && !(await setAloneIfHeld(pool, held, admission.alone, this.#stepMs))) return { status: 'fenced', wakeInMs: null };
      if (window) void this.#openAfter(run, held, admission, window.signal);
      return await executeRun(this.#deps, run, {
        incarnation: lease.incarnation, signal: stop.signal, interrupt: interrupt.signal, show, leave, alive: () => lease.alive,
        draining: () => this.#stopping.signal.aborted || this.#suspects.makesWay(key),
        checkpoint: () => { if (this.#suspects.clear(key)) window?.abort(); },
      });
    } finally {
      window?.abort();
      unfollow();
    }
  }

  /** A suspect that still runs when its window is over is joined by others: a crash from then on is not its alone. */
  async #openAfter(run: ClaimedRun, held: Parameters<typeof setAloneIfHeld>[1], admission: Admission & { admitted: true }, over: AbortSignal): Promise<void> {
    await pause(admission.windowMs, over);
    if (over.aborted) return;
    if (admission.alone) await setAloneIfHeld(this.#deps.engine.pool, held, false, 0).catch(() => undefined); // it then counts as alone: an error on the safe side
    this.#suspects.clear(claimKey(run));
  }

  /** What dead workers held goes to whoever is free, this worker included; their slots are free from now on. */
  async #offerOrphans(runs: readonly Ready[]): Promise<void> {
    const { ready } = this.#deps.queue;
    faultPoint('orphans-found');
    try {
      await ready.offerMany(runs.map(asOffer));
      await ready.freeSlots(runs.filter((run) => run.cap !== null || run.limits !== '').map(({ tenant, id, limits }) => ({ tenant, run: id, limits })));
    } catch {
      await this.#claimDue(); // without Redis: straight from Postgres
    }
  }

  async #offerAgain(runs: readonly { tenant: string; id: string }[]): Promise<void> {
    for (const { tenant, id } of runs) {
      const ready = await readyRun(this.#deps.engine.pool, tenant, id);
      if (ready) await this.#deps.dispatcher.offer(ready, ready.dueInMs);
    }
  }

  async #afterwards(run: ClaimedRun, status: string, wakeInMs: number | null): Promise<void> {
    try {
      await offerFollowUps(this.#deps, run, status, wakeInMs);
      if (isTerminal(status as never)) await this.#deps.onEnded(run, status);
    } catch (error) {
      this.#deps.log.warn({ run: run.id, error: messageOf(error) }, 'follow-ups left to maintenance');
    }
  }

  #idled(): Promise<void> { return this.#active.size === 0 ? Promise.resolve() : new Promise((resolve) => this.#idle.push(resolve)); }
}
