// The take of a wake-up that is still being fetched from BullMQ: it goes out beside the fetch, so that a run on an idle fleet
// waits for one round trip less. Whoever asks first gets its run.
import type { ReadyQueue, Taken } from '../queue/ready-queue.ts';

export class EarlyTake {
  readonly #ready: ReadyQueue;
  #taken: Promise<Taken | undefined> | undefined;

  constructor(ready: ReadyQueue) { this.#ready = ready; }

  /** One at a time: undefined when another is under way. What it answers hands the run to `alone`: for a fetch that brought no wake-up. */
  begin(alone: (taken: Taken | undefined) => void): (() => void) | undefined {
    if (this.#taken) return undefined;
    this.#taken = this.#ready.take().catch(() => undefined); // the wake-up takes again, and hears why
    return () => { void this.taken().then(alone); };
  }

  async taken(): Promise<Taken | undefined> {
    const taken = this.#taken;
    this.#taken = undefined;
    return taken;
  }
}
