// A place in the fleet that is always to be filled: a real root of the product, started again whenever it ends, as an
// orchestrator would, with a Postgres proxy of its own so that one process alone can be cut off. It counts what its processes said.
import { pause } from '../../src/clock.ts';
import { FleetProcess } from '../faults/fleet-process.ts';
import type { Proxy } from '../faults/proxy.ts';
import { LANDED } from './orders.ts';

export const ROLES = ['agent', 'memory', 'maintenance', 'api'] as const;
export type Role = (typeof ROLES)[number];

const READY: Readonly<Record<Role, RegExp>> = { agent: /worker registered/, memory: /worker registered/, maintenance: /"level":/, api: /the API answers/ };
const PRELOAD = './test/chaos/in-process.ts';
const RESTART_MS = 100;

export interface SlotOptions {
  readonly name: string;
  readonly role: Role;
  readonly postgres: Proxy;
  readonly env: Readonly<Record<string, string>>;
  /** For node, after the preload. */
  readonly nodeArgs: readonly string[];
}

export class Slot {
  readonly name: string;
  readonly role: Role;
  readonly postgres: Proxy;
  process: FleetProcess;
  /** A fault is at it: another one takes another slot. */
  busy = false;
  starts = 0;
  #said = 0;
  readonly #options: SlotOptions;
  #stopping = false;
  #keeping: Promise<void>;

  constructor(options: SlotOptions) {
    this.name = options.name;
    this.role = options.role;
    this.postgres = options.postgres;
    this.#options = options;
    this.process = this.#launch();
    this.#keeping = this.#keep();
  }

  get pid(): number { return this.process.pid; }
  /** Lines in which a process of this slot said that it was fenced. */
  get fenced(): number { return this.#said + this.process.said(/fenced/).length; }

  ready(): Promise<FleetProcess> { return this.process.ready(); }
  tell(words: string): void { this.process.tell(words); }

  /** Whether this process says, within the time and before its end, that it landed. */
  async landed(process: FleetProcess, what: string, withinMs: number): Promise<boolean> {
    const words = `${LANDED} ${what}`;
    const late = new AbortController();
    const over = Promise.race([process.exited, pause(withinMs, late.signal)]).then(() => true);
    let isOver = false;
    void over.then(() => { isOver = true; });
    while (!isOver && !process.lines.some(({ text }) => text === words)) await pause(20);
    await pause(20); // its last line may come after its end
    late.abort();
    return process.lines.some(({ text }) => text === words);
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.process.thaw();
    await this.process.kill();
    await this.#keeping;
  }

  #launch(): FleetProcess {
    const { role, env, nodeArgs } = this.#options;
    this.starts++;
    return new FleetProcess({ role, root: { script: `workers/${role}.ts`, ready: READY[role] }, env, nodeArgs: ['--import', PRELOAD, ...nodeArgs] });
  }

  async #keep(): Promise<void> {
    for (;;) {
      await this.process.exited;
      if (this.#stopping) return;
      this.#said += this.process.said(/fenced/).length;
      await pause(RESTART_MS);
      if (this.#stopping) return;
      this.process = this.#launch();
    }
  }
}
