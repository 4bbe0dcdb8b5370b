// The user's code, the same for every peer, and the record of when it ran. Times are of the machine's monotonic clock, which all
// processes share. With a log file every event is also written there at once, so that it outlives a kill -9 (W3).
import { openSync, writeSync } from 'node:fs';
import { pause } from '../src/clock.ts';
import type { Durable, Job } from './peer.ts';

/** Milliseconds, comparable between processes. */
export const nowMs = (): number => Number(process.hrtime.bigint()) / 1e6;

export const percentile = (values: readonly number[], share: number): number => {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN;
};
export const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? (sorted[middle] ?? NaN) : ((sorted[middle - 1] ?? NaN) + (sorted[middle] ?? NaN)) / 2;
};

export const STEPS = 10;

/** A step's result: about 1 KB of JSON that does not compress to nothing. */
export function stepResult(run: string, step: number): { run: string; step: number; text: string } {
  let text = '';
  for (let i = 0; text.length < 960; i++) text += `${run}/${step}/${(i * 2_654_435_761) >>> 0};`;
  return { run, step, text: text.slice(0, 960) };
}

export interface TaskOptions { readonly logFile?: string; readonly stepMs?: number; /** The body of this step does not return. */ readonly holdStep?: number }

type What = 'begins' | 'ends';
interface Waiting { readonly what: What; readonly prefix: string; left: number; readonly done: () => void }

export class Tasks {
  readonly begins = new Map<string, number>();
  readonly ends = new Map<string, number>();
  readonly #options: TaskOptions;
  readonly #log: number | undefined;
  #waiting: Waiting[] = [];

  constructor(options: TaskOptions = {}) {
    this.#options = options;
    this.#log = options.logFile === undefined ? undefined : openSync(options.logFile, 'a');
  }

  /** A whole run, for peers whose handler is one function. */
  async run(job: Job, durable: Durable): Promise<void> {
    await this.begin(job);
    if (job.kind === 'steps') for (let k = 1; k <= STEPS; k++) await durable.step(k, () => this.stepBody(job.id, k));
    if (job.kind === 'sleep') await durable.sleep(job.ms ?? 0);
    this.end(job.id);
  }

  async begin({ id, kind, ms }: Job): Promise<void> {
    this.#note('begin', id, 0);
    this.#count('begins', id);
    if (kind === 'work') await pause(ms ?? 20);
  }

  end(id: string): void {
    this.#note('end', id, 0);
    this.#count('ends', id);
  }

  async stepBody(id: string, step: number): Promise<ReturnType<typeof stepResult>> {
    const { holdStep, stepMs = 0 } = this.#options;
    this.#note('step-start', id, step);
    if (step === holdStep) await pause(600_000);
    if (stepMs > 0) await pause(stepMs);
    const result = stepResult(id, step);
    this.#note('step-end', id, step);
    return result;
  }

  /** True once `count` jobs of this prefix have begun or ended; false after `limitMs`. */
  reached(what: What, prefix: string, count: number, limitMs: number): Promise<boolean> {
    const left = count - this.records(what, prefix).length;
    if (left <= 0) return Promise.resolve(true);
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(false), limitMs);
      this.#waiting.push({ what, prefix, left, done: () => { clearTimeout(timer); resolve(true); } });
    });
  }

  records(what: What, prefix: string): [id: string, atMs: number][] { return [...this[what]].filter(([id]) => id.startsWith(prefix)); }

  /** Counts instead of looking through all: what the bench costs must not show in what it measures. */
  #count(what: What, id: string): void {
    if (this[what].has(id)) return;
    this[what].set(id, nowMs());
    for (const one of this.#waiting) {
      if (one.what !== what || !id.startsWith(one.prefix) || --one.left > 0) continue;
      this.#waiting = this.#waiting.filter((other) => other !== one);
      one.done();
    }
  }

  #note(event: string, id: string, step: number): void { if (this.#log !== undefined) writeSync(this.#log, `${nowMs()} ${process.pid} ${event} ${id} ${step}\n`); }
}
