// Carries out a plan of faults: each when its time has come and its lane is free, one fault at a time in a store, one in each
// process. What landed is counted. A kind that has not landed when the plan is over is tried again, with dice of its own.
import { monoMs, pause } from '../../src/clock.ts';
import { messageOf } from '../../src/domain/errors.ts';
import { seeded } from '../faults/seed.ts';
import { FAULTS, type FaultKind, type Lane } from './faults.ts';
import type { Planned } from './plan.ts';
import type { Stand } from './stand.ts';

/** A fault that takes longer than this hangs: the run is void. */
const LONGEST_MS = 90_000;
const TRIES = 3;

export class Storm {
  readonly landed: Record<string, number>;
  /** Injections that threw: a fault of the harness, or a server that did not come back. */
  readonly troubles: string[] = [];
  readonly #stand: Stand;
  readonly #plan: readonly Planned<FaultKind>[];
  /** Told after each fault that landed. */
  readonly #onLanded: (kind: FaultKind) => unknown;
  readonly #lanes = new Map<Lane, Promise<unknown>>();

  constructor(stand: Stand, plan: readonly Planned<FaultKind>[], onLanded: (kind: FaultKind) => unknown = () => undefined) {
    this.#stand = stand;
    this.#plan = plan;
    this.#onLanded = onLanded;
    this.landed = Object.fromEntries(plan.map(({ kind }) => [kind, 0]));
  }

  get total(): number { return Object.values(this.landed).reduce((sum, count) => sum + count, 0); }

  async blow(): Promise<void> {
    const startMs = monoMs();
    const all: Promise<void>[] = [];
    for (const one of this.#plan) {
      await pause(Math.max(0, startMs + one.atMs - monoMs()));
      all.push(this.#inLane(one));
    }
    await Promise.all(all);
    for (let again = 1; again < TRIES; again++) {
      const missing = this.#plan.filter((one, at) => this.landed[one.kind] === 0 && this.#plan.findIndex(({ kind }) => kind === one.kind) === at);
      await Promise.all(missing.map((one) => this.#inLane({ ...one, dice: one.dice + again })));
    }
  }

  #inLane(one: Planned<FaultKind>): Promise<void> {
    const { lane } = FAULTS[one.kind];
    if (lane === 'process') return this.#inject(one); // each slot is a lane of its own
    const after = (this.#lanes.get(lane) ?? Promise.resolve()).then(() => this.#inject(one));
    this.#lanes.set(lane, after);
    return after;
  }

  async #inject({ kind, dice }: Planned<FaultKind>): Promise<void> {
    const late = new AbortController();
    try {
      const landed = await Promise.race([FAULTS[kind].inject(this.#stand, seeded(dice)), pause(LONGEST_MS, late.signal).then(() => { throw new Error(`still at it after ${LONGEST_MS} ms`); })]);
      if (!landed) return;
      this.landed[kind] = (this.landed[kind] ?? 0) + 1;
      await this.#onLanded(kind);
    } catch (error) {
      this.troubles.push(`${kind}: ${messageOf(error)}`);
    } finally {
      late.abort();
    }
  }
}
