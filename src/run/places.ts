// The places of a worker. Each moves one run after another as long as the ready queue has any, and needs no wake-up for it: a wake-up
// has an idle worker look, and shows people what one place does. BullMQ hands wake-ups out one by one and begins with none before it
// has all it may hold, so that free places are filled before it is asked, and for a while after the last one was.
import { monoMs, pause } from '../clock.ts';
import { EARLY_TAKES, WAKE_UP_BACKOFF_MS, WAKE_UP_MS } from '../domain/tunables.ts';
import type { ReadyQueue, Settle, Taken } from '../queue/ready-queue.ts';
import type { WakeUp } from '../queue/wake-up-worker.ts';

export type Show = (data: Record<string, unknown>) => void;

/** A run on its way through a place. `moved`: how to settle it once its last commit is answered; undefined = settled already. `left`: it needs its place no more. */
export interface Moving { readonly moved: Promise<Settle | undefined>; readonly left: Promise<undefined> }

export interface PlacesDeps {
  readonly ready: Pick<ReadyQueue, 'take' | 'takeAtOnce' | 'settle'>;
  readonly count: number;
  readonly move: (taken: Taken, show: Show) => Moving;
  /** Whether a run may be taken now. */
  readonly isOpen: () => boolean;
  /** Waits until one may be taken, for a bounded time, and answers whether it may. */
  readonly opens: () => Promise<boolean>;
  readonly stopping: AbortSignal;
}

/** A wake-up that shows what a place does, until a run of it ends after `endMs`. */
interface Joined { readonly wakeUp: WakeUp; readonly endMs: number; readonly done: PromiseWithResolvers<void> }

interface Place {
  /** When its run began. */
  runMs: number;
  shown: Record<string, unknown> | undefined;
  joined: Joined | undefined;
  /** A wake-up has joined since it last asked for a run: there may be one. */
  isCalled: boolean;
  /** Something failed, and it does nothing for a while. */
  rests: boolean;
}

export class Places {
  readonly #deps: PlacesDeps;
  readonly #places = new Set<Place>();
  readonly #works = new Set<Promise<void>>();
  #filling: Promise<void> | undefined;
  /** When the last free place was filled. */
  #fullMs = 0;
  #freed = (): void => undefined;
  /** When a run was last taken. */
  takenMs = 0;

  constructor(deps: PlacesDeps) {
    this.#deps = deps;
    deps.stopping.addEventListener('abort', () => this.#freed(), { once: true });
  }

  /** Before BullMQ is asked for a wake-up, which waits for it: the claims of the runs it takes go out first. Never rejects. */
  async beforeFetch(): Promise<void> {
    const leftMs = this.#fullMs + WAKE_UP_MS - monoMs();
    if (this.#places.size >= this.#deps.count && leftMs > 0 && !this.#deps.stopping.aborted) {
      const freed = new AbortController();
      this.#freed = () => freed.abort();
      await pause(leftMs, freed.signal);
    }
    await this.fill();
  }

  /** Takes runs for free places, some at once. Never rejects. */
  fill(): Promise<void> {
    const free = Math.min(EARLY_TAKES, this.#deps.count - this.#places.size);
    if (this.#filling || free <= 0 || !this.#deps.isOpen()) return this.#filling ?? Promise.resolve();
    this.#filling = this.#fill(free).finally(() => { this.#filling = undefined; });
    return this.#filling;
  }

  async #fill(free: number): Promise<void> {
    const taken = await this.#deps.ready.takeAtOnce(free).catch(() => []); // a wake-up takes again, and hears why
    for (const one of taken) if (one) this.#begin(one);
    if (taken[0]) await new Promise((resolve) => { setImmediate(resolve); }); // the claims are in their group by now
  }

  /** Joins a place, or begins one; resolves when that has nothing more to do, or once a run of it has ended after WAKE_UP_MS. Rejects with what failed there. */
  async serve(wakeUp: WakeUp): Promise<void> {
    await this.#filling; // its places have no wake-up yet
    const place = this.#unjoined().sort((a, b) => a.runMs - b.runMs)[0] ?? this.#begin(undefined);
    const done = Promise.withResolvers<void>();
    place.joined = { wakeUp, endMs: monoMs() + WAKE_UP_MS, done };
    place.isCalled = true;
    if (place.shown) wakeUp.show(place.shown);
    await done.promise;
  }

  /** Resolves when what was moved here has been settled. */
  async ended(): Promise<void> { await Promise.all(this.#works); }

  #unjoined(): Place[] { return [...this.#places].filter(({ joined, rests }) => joined === undefined && !rests); }

  #begin(taken: Taken | undefined): Place {
    const place: Place = { runMs: monoMs(), shown: undefined, joined: undefined, isCalled: false, rests: false };
    this.#places.add(place);
    if (this.#places.size === this.#deps.count) this.#fullMs = monoMs();
    const work = this.#work(place, taken).then(() => place.joined?.done.resolve(), async (error: unknown) => {
      place.joined?.done.reject(error);
      place.rests = true;
      await pause(WAKE_UP_BACKOFF_MS, this.#deps.stopping); // a store that is down is not asked without end
      this.#leave(place);
    }).finally(() => this.#works.delete(work));
    this.#works.add(work);
    return place;
  }

  #leave(place: Place): void {
    this.#places.delete(place);
    this.#freed();
  }

  async #work(place: Place, first: Taken | undefined): Promise<void> {
    const { ready, move, opens } = this.#deps;
    let taken = first;
    let settle: Settle | undefined;
    let beside: Promise<void> | undefined; // the last commit of the run before
    for (;;) {
      if (taken) {
        this.takenMs = place.runMs = monoMs();
        place.shown = undefined;
        const { moved, left } = move(taken, (data) => { place.shown = data; place.joined?.wakeUp.show(data); });
        settle = await Promise.race([moved, left]);
        this.#letGo(place);
        if (!settle) {
          await beside;
          beside = moved.then((one) => one && ready.settle(one)).catch(() => undefined); // its slot runs out
        }
      }
      if (!(await opens())) break;
      place.isCalled = false;
      taken = await ready.take(settle);
      settle = undefined;
      if (taken || place.isCalled) continue;
      if (!beside) break;
      await beside; // what there is may have waited for the slot of the run before
      beside = undefined;
    }
    this.#leave(place); // from here on no wake-up joins it
    if (settle) await ready.settle(settle);
    await beside;
  }

  /** A wake-up is answered after a while, so that a stop ends it soon. */
  #letGo(place: Place): void {
    if (!place.joined || (monoMs() < place.joined.endMs && !place.joined.wakeUp.signal.aborted)) return;
    place.joined.done.resolve();
    place.joined = undefined;
  }
}
