// A lease as an object: how long this worker may write, by a clock that only goes forward, counted from before the renewal
// was sent. The first reason to end it stands; a lease that has ended never lives again, the worker gets a new one.
import { monoMs } from '../clock.ts';
import { LEASE_MARGIN_MS } from '../domain/tunables.ts';
import { isGuarded } from '../guards.ts';

export class Lease {
  /** Key of the worker's session lock. */
  readonly id: bigint;
  /** What its runs are claimed by. */
  readonly incarnation: string;
  readonly #leaseMs: number;
  readonly #ended = new AbortController();
  #endsMs = 0;

  constructor(id: bigint, incarnation: string, leaseMs: number, sentMs: number) {
    this.id = id;
    this.incarnation = incarnation;
    this.#leaseMs = leaseMs;
    this.renewed(sentMs);
  }

  /** True while the worker may write. Asked right before each commit, tool and model call: no timer fires in a blocked process. */
  get alive(): boolean { return !this.#ended.signal.aborted && (monoMs() < this.#endsMs || !isGuarded('lease-self-fence')); }
  get leftMs(): number { return Math.max(0, this.#endsMs - monoMs()); }
  /** Aborts when the worker is fenced. */
  get signal(): AbortSignal { return this.#ended.signal; }

  /** The renewal that was sent at `sentMs` has been answered. */
  renewed(sentMs: number): void { this.#endsMs = sentMs + this.#leaseMs - Math.min(LEASE_MARGIN_MS, this.#leaseMs / 4); }
  end(why: string): void { this.#ended.abort(why); }
}
