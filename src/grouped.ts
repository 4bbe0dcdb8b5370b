// Groups the calls of a process: whatever comes while calls are under way goes into the next one. No timer, so that a call
// on an idle process leaves in the same turn of the event loop; at most `lanes` calls are in flight, so that a slow Redis
// meets large groups and not many calls. A group that fails rejects each of its items with the same error.

interface Waiting<Item, Result> {
  readonly item: Item;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

export class Grouped<Item, Result> {
  readonly #call: (items: Item[]) => Promise<Result[]>;
  readonly #lanes: number;
  readonly #max: number;
  #waiting: Waiting<Item, Result>[] = [];
  #inFlight = 0;
  #scheduled = false;

  /** `call` answers with one result per item, in the order of the items. */
  constructor(call: (items: Item[]) => Promise<Result[]>, limits: { lanes: number; max: number }) {
    this.#call = call;
    this.#lanes = limits.lanes;
    this.#max = limits.max;
  }

  add(item: Item): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ item, resolve, reject });
      if (this.#scheduled) return;
      this.#scheduled = true;
      setImmediate(() => { this.#scheduled = false; this.#fillLanes(); });
    });
  }

  #fillLanes(): void {
    while (this.#inFlight < this.#lanes && this.#waiting.length > 0) {
      this.#inFlight++;
      void this.#send(this.#waiting.splice(0, this.#max));
    }
  }

  async #send(group: Waiting<Item, Result>[]): Promise<void> {
    let settle: () => void;
    try {
      const results = await this.#call(group.map(({ item }) => item));
      settle = () => group.forEach(({ resolve }, index) => resolve(results[index] as Result));
    } catch (error) {
      settle = () => { for (const { reject } of group) reject(error); };
    }
    this.#inFlight--;
    if (this.#waiting.length > 0) {
      this.#fillLanes();
      await new Promise((resolve) => { setImmediate(resolve); }); // what waits is sent before the answered go on, which can keep the process busy for as long as the call takes
    }
    settle();
  }
}
