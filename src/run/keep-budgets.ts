// Settles model calls and passes on what that did to budgets: a word when most of one is spent, and a call to runs that wait for
// room. Both are afterthoughts that never fail a call; waits that missed theirs are found by maintenance.
import { pause } from '../clock.ts';
import { messageOf } from '../domain/errors.ts';
import type { Log } from '../log.ts';
import { wakeForBudget, warnOfBudget, setBudget, type BudgetChange } from '../store/engine/budgets.ts';
import type { Engine } from '../store/engine/engine.ts';
import type { BudgetNews, ModelSettlement } from '../store/engine/model-ledger.ts';
import { isConnectionError } from '../store/engine/pool.ts';
import type { Dispatcher } from './offer-run.ts';

export class BudgetKeeper {
  readonly #engine: Engine;
  readonly #dispatcher: Dispatcher;
  readonly #log: Log;

  constructor({ engine, dispatcher, log }: { readonly engine: Engine; readonly dispatcher: Dispatcher; readonly log: Log }) {
    this.#engine = engine;
    this.#dispatcher = dispatcher;
    this.#log = log;
  }

  /** Resolves once the settlement is durable. A store that is away is asked again while the run is held: what is not settled then
   *  is booked by the claim that takes the run over. */
  async settle(settlement: ModelSettlement, alive: () => boolean): Promise<void> {
    const { tenant, run } = settlement.place;
    this.passOn(await this.#send(settlement, alive), new Map([[tenant, run]]));
  }

  /** `runs`: one of each tenant, whose event a warning becomes. */
  passOn(news: readonly BudgetNews[], runs: ReadonlyMap<string, string>): void {
    for (const { tenant, key, crossed, wanted } of news) {
      const run = runs.get(tenant);
      if (crossed && run !== undefined) void this.#quietly(async () => { await warnOfBudget(this.#engine.pool, { tenant, id: run }, key); });
      if (wanted > 0) void this.#quietly(() => this.wake(tenant, key, wanted));
    }
  }

  async #send(settlement: ModelSettlement, alive: () => boolean): Promise<readonly BudgetNews[]> {
    for (let tries = 0; ; tries++) {
      try {
        return await this.#engine.settleModelCall(settlement);
      } catch (error) {
        if (!isConnectionError(error) || !alive()) throw error;
        await pause(Math.min(2_000, 100 * 2 ** tries));
      }
    }
  }

  /** Changes a limit; who waits for room in it looks again at once. */
  async set(change: BudgetChange): Promise<void> {
    await setBudget(this.#engine.pool, change);
    await this.#quietly(() => this.wake(change.tenant, `${change.subject}/${change.window}`, 0));
  }

  /** Wakes those of a budget's waits that fit into its room. */
  async wake(tenant: string, key: string, wanted: number): Promise<void> {
    await this.#dispatcher.offerMany(await wakeForBudget(this.#engine.pool, tenant, key, wanted));
  }

  async #quietly(work: () => Promise<void>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#log.warn({ error: messageOf(error) }, 'news of a budget was not passed on: maintenance wakes who waits');
    }
  }
}
