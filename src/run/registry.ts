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

  /** The machine that runs a run of this version: its own, or a newer one that takes it over. */
  forRun(name: string, version: number): Machine | undefined {
    const newest = this.#newest.get(name);
    return this.get(name, version) ?? (newest?.migrates?.from.includes(version) ? newest : undefined);
  }

  /** What a worker of the pool can claim: `name@version`, older versions that a newer machine takes over included. */
  claimable(pool: string): string[] {
    const keys = this.ofPool(pool).flatMap((machine) => [machine.version, ...(machine.migrates?.from ?? [])].map((version) => machineKey(machine.name, version)));
    return [...new Set(keys)];
  }

  get(name: string, version: number): Machine | undefined { return this.#byKey.get(machineKey(name, version)); }
  ofPool(pool: string): Machine[] { return [...this.#byKey.values()].filter((machine) => machine.pool === pool); }
  all(): Machine[] { return [...this.#byKey.values()]; }
  visible(): Machine[] { return [...this.#newest.values()].filter((machine) => machine.visible); }
}
