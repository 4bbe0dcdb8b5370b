// Runs this worker holds by the database and does not know of: the answer to their claim was lost on the way. Nobody else may
// take them while the worker lives, so it looks for them itself after a claim failed, and gives them back untouched: no crash
// is counted. A claim whose answer is only late is left alone: what is given back was seen so twice, a second apart.
import type { EnginePool } from '../store/engine/pool.ts';
import { handBackIfHeld } from '../store/engine/suspects.ts';
import { heldRuns, type HeldRun } from '../store/engine/workers.ts';

export class Strays {
  /** Looks that are still owed: a claim whose statement goes on at the server may take its runs a little later. */
  #looks = 0;
  #seen = new Map<string, bigint>();

  /** A claim failed and may have been carried out nevertheless. */
  suspect(): void { this.#looks = LOOKS; }

  /** Call it about once a second; answers what was given back. */
  async giveBack(pool: EnginePool, incarnation: string, knows: (run: string) => boolean): Promise<HeldRun[]> {
    if (this.#looks <= 0) return [];
    const strays = (await heldRuns(pool, incarnation)).filter(({ id }) => !knows(id));
    this.#looks--;
    const twice = strays.filter(({ id, fence }) => this.#seen.get(id) === fence);
    this.#seen = new Map(strays.map(({ id, fence }) => [id, fence]));
    const given = await Promise.all(twice.map(async (run) => ((await handBackIfHeld(pool, { ...run, claimedBy: incarnation }, 0)) ? [run] : [])));
    return given.flat();
  }
}

/** The engine's statements end after 15 s. */
const LOOKS = 20;
