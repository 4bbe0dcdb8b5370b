// Group commit without a timer: what arrives while writes are under way goes into the next one. An idle group is sent at
// the end of the current turn of the event loop, so that everything that became ready in this turn shares one round trip.
import { GROUP_LANES, GROUP_MAX } from './domain/tunables.ts';

interface Waiting<I, O> { readonly item: I; readonly resolve: (result: O) => void; readonly reject: (error: unknown) => void }

export class Grouped<I, O> {
  readonly #write: (items: readonly I[]) => Promise<readonly O[]>;
  readonly #max: number;
  readonly #lanes: number;
  #waiting: Waiting<I, O>[] = [];
  #inFlight = 0;
  #armed = false;

  /** write: one result per item, in order. Items of a rejected write are each rejected with its error. */
  constructor(write: (items: readonly I[]) => Promise<readonly O[]>, options: { max?: number; lanes?: number } = {}) {
    this.#write = write;
    this.#max = options.max ?? GROUP_MAX;
    this.#lanes = options.lanes ?? GROUP_LANES;
  }

  add(item: I): Promise<O> {
    return new Promise<O>((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      this.#arm();
    });
  }

  #arm(): void {
    if (this.#armed || this.#inFlight >= this.#lanes || this.#waiting.length === 0) return;
    this.#armed = true;
    setImmediate(() => { this.#armed = false; void this.#send(); });
  }

  async #send(): Promise<void> {
    const group = this.#waiting.splice(0, this.#max);
    if (group.length === 0) return;
    this.#inFlight++;
    this.#arm();
    try {
      const results = await this.#write(group.map((one) => one.item));
      group.forEach((one, at) => one.resolve(results[at] as O));
    } catch (error) {
      for (const one of group) one.reject(error);
    }
    this.#inFlight--;
    this.#arm();
  }
}
