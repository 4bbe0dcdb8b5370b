// The machines a process knows. Roots register them; nothing registers itself at import.
import { MainstayError } from '../domain/errors.ts';
import { machineKey, type Machine } from '../domain/machine.ts';

export class Registry {
  readonly #byKey = new Map<string, Machine>();
  readonly #newest = new Map<string, Machine>();

  constructor(machines: readonly Machine[]) {
    for (const machine of machines) {
      const key = machineKey(machine.name, machine.version);
      if (this.#byKey.has(key)) throw new Error(`machine ${key} is defined twice`);
      this.#byKey.set(key, machine);
      const newest = this.#newest.get(machine.name);
      if (!newest || newest.version < machine.version) this.#newest.set(machine.name, machine);
    }
  }

  /** The version a new run is pinned to. Throws `agent_unknown`. */
  newest(name: string): Machine {
    const machine = this.#newest.get(name);
    if (!machine) throw new MainstayError('agent_unknown', `There is no agent "${name.slice(0, 100)}".`);
    return machine;
  }

  get(name: string, version: number): Machine | undefined { return this.#byKey.get(machineKey(name, version)); }
  ofPool(pool: string): Machine[] { return [...this.#byKey.values()].filter((machine) => machine.pool === pool); }
  visible(): Machine[] { return [...this.#newest.values()].filter((machine) => machine.visible); }
}
