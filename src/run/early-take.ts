// The take of a wake-up that is still on its way: it goes out before BullMQ is asked for the wake-up, and its run is claimed
// first, so that a run on an idle fleet does not wait for BullMQ's part. The next wake-up goes on with it, as
// it would with a run it took itself, so that no worker moves more runs than it has places.
import type { ReadyQueue, Settle, Taken } from '../queue/ready-queue.ts';

export type Show = (data: Record<string, unknown>) => void;

/** A run on its way through a place. `moved`: how to settle it once its last commit is answered; undefined = settled already. `left`: it needs its place no more. */
export interface Moving { readonly moved: Promise<Settle | undefined>; readonly left: Promise<undefined> }

interface Early extends Moving { show: Show | undefined; shown: Record<string, unknown> | undefined; isAlone: boolean }

export class EarlyTake {
  readonly #ready: ReadyQueue;
  readonly #move: (taken: Taken, show: Show) => Moving;
  #early: Early | undefined;

  constructor(ready: ReadyQueue, move: (taken: Taken, show: Show) => Moving) {
    this.#ready = ready;
    this.#move = move;
  }

  /** One at a time: nothing when another is under way. Resolves once the run's claim is on its way, or there is no run; what it answers is to be called when the fetch brought no wake-up. */
  async begin(): Promise<(() => void) | undefined> {
    if (this.#early) return undefined;
    const taken = this.#ready.takeAtOnce().catch(() => undefined); // the wake-up takes again, and hears why
    const moving = taken.then((one) => one && this.#move(one, (data) => { early.shown = data; early.show?.(data); }));
    const early: Early = { moved: moving.then((one) => one?.moved), left: moving.then((one) => one?.left), show: undefined, shown: undefined, isAlone: false };
    this.#early = early;
    void early.moved.then((settle) => {
      if (this.#early !== early) return undefined;
      this.#early = undefined;
      return settle && this.#ready.settle(settle);
    }).catch(() => { if (this.#early === early) this.#early = undefined; }); // found by the sweep
    if (await taken) await new Promise((resolve) => { setImmediate(resolve); }); // the claim is in its group by now and goes out first
    return () => { early.isAlone = true; };
  }

  /** For a wake-up, which goes on with the run under way: `show` is told where it is from now on. */
  adopt(show: Show): Moving | undefined {
    const early = this.#early;
    this.#early = undefined;
    if (!early) return undefined;
    early.show = show;
    if (early.shown) show(early.shown);
    if (early.isAlone) void this.#ready.ring().catch(() => undefined); // this wake-up may have been another run's; maintenance rings as well
    return early;
  }
}
