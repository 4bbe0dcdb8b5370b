// The BullMQ Worker of a pool, kept thin: a wake-up comes in, one callback is called, and that is all BullMQ decides. Whatever
// a job of this queue holds, it is one more wake-up; retried, promoted, stalled or added by hand, it does no harm. A delayed
// job names a run as well: it is offered first, and one that came early is delayed again by the difference.
// A wake-up that failed holds its place for a second, so that a store that is down is not asked without end.
import { DelayedError, type Job } from 'bullmq';
import { pause, wallMs } from '../clock.ts';
import { SHOW_RUN_MS, WAKE_UP_BACKOFF_MS } from '../domain/tunables.ts';
import type { Service } from '../service.ts';
import { wakeUpKeeps, wakeUpQueueName } from './bull-queue.ts';
import { makeBullWorker, type BullWorkerOptions, type InHand } from './bull-worker.ts';
import { OFFER_JOB } from './wake-ups.ts';

export interface WakeUp {
  /**
   * What the Bull Board shows of this wake-up: run, tenant, agent, status, progress. Written only when the same run (`data.run`)
   * is still at it after 250 ms, then at most once each 250 ms. Costs nothing for short runs; never throws.
   */
  show(data: Record<string, unknown>): void;
  /** Aborts when the worker stops: take no further run. */
  readonly signal: AbortSignal;
}

export interface WakeUpWorkerOptions extends Omit<BullWorkerOptions, 'queue'> {
  readonly pool: string;
  /** Has somebody look for runs; resolves when there are none, or WAKE_UP_MS are over. */
  onWakeUp(wakeUp: WakeUp): Promise<void>;
  /** A run named by a delayed job: `offer` = the callback has offered it, or there is nothing to offer any more. */
  onDelayed(tenant: string, run: string): Promise<'offer' | { againInMs: number }>;
}

export function makeWakeUpWorker(options: WakeUpWorkerOptions): Service {
  return makeBullWorker({ ...options, queue: wakeUpQueueName(options.pool) }, wakeUpKeeps, (inHand) => answer(options, inHand));
}

async function answer(options: WakeUpWorkerOptions, { job, token, signal, warn }: InHand): Promise<void> {
  const shown = new ShownState(job, warn);
  try {
    const named = runNamedBy(job);
    const verdict = named ? await options.onDelayed(named.tenant, named.run) : 'offer';
    if (verdict !== 'offer') {
      await job.moveToDelayed(wallMs() + Math.max(1, Math.ceil(verdict.againInMs)), token);
      throw new DelayedError();
    }
    // A delayed job goes on as a wake-up: it was counted as one while it lay in the wait list.
    await options.onWakeUp({ show: (data) => shown.show(data), signal });
  } catch (error) {
    if (!(error instanceof DelayedError)) await pause(WAKE_UP_BACKOFF_MS, signal);
    throw error;
  } finally {
    shown.end();
  }
}

/** The run a delayed job names. Anyone may add a job with any data: what is not two strings names nothing. */
function runNamedBy(job: Job): { tenant: string; run: string } | undefined {
  const data: unknown = job.data;
  if (job.name !== OFFER_JOB || typeof data !== 'object' || data === null) return undefined;
  const { tenant, run } = data as Record<string, unknown>;
  return typeof tenant === 'string' && typeof run === 'string' ? { tenant, run } : undefined;
}

/** Writes the latest shown state into a job, late and seldom. Writes are not awaited: nobody waits for a picture. */
class ShownState {
  readonly #job: Job;
  readonly #warn: (error: unknown) => void;
  #latest: Record<string, unknown> | undefined;
  #timer: NodeJS.Timeout | undefined;
  #written = false;
  #ended = false;

  constructor(job: Job, warn: (error: unknown) => void) {
    this.#job = job;
    this.#warn = warn;
  }

  show(data: Record<string, unknown>): void {
    if (this.#ended) return;
    const another = this.#latest?.['run'] !== data['run'];
    this.#latest = data;
    if (another) clearTimeout(this.#timer);
    if (another || this.#timer === undefined) this.#timer = setTimeout(() => { this.#timer = undefined; this.#write(); }, SHOW_RUN_MS).unref();
  }

  /** The last state is written only over one that was seen: a chain of short runs leaves no trace. */
  end(): void {
    this.#ended = true;
    const pending = this.#timer !== undefined;
    clearTimeout(this.#timer);
    if (pending && this.#written) this.#write();
  }

  #write(): void {
    this.#written = true;
    // The job may be gone (removed by a person, Redis wiped): there is nothing to show it in.
    if (this.#latest) this.#job.updateData(this.#latest).catch(this.#warn);
  }
}
