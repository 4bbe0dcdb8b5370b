// Room: how many live memories a tenant, an owner and an owner's types may hold. Where one of these caps is reached a new memory
// comes in only in the place of a weaker one of the same owner, so that nobody's memories push out another's. What is pinned and
// what a user has laid down as a constraint is never among those that may go. Pure, like the gate it belongs to.
import type { GatePolicy } from './gate-policy.ts';
import type { MemoryScope, MemoryType } from './status.ts';

export interface Evictable {
  /** uuid */
  readonly id: string;
  readonly scope: MemoryScope;
  readonly type: MemoryType;
  /** Confidence, less what it has lost by lying idle. */
  readonly strength: number;
}

export interface Room {
  /** Live memories of the tenant. */
  readonly tenant: number;
  /** Those that the run's user, its agent and the workspace own, by type. */
  readonly owners: Readonly<Record<MemoryScope, Readonly<Partial<Record<MemoryType, number>>>>>;
  /** The weakest of each owner and type, as many as one run may add. */
  readonly evictable: readonly Evictable[];
}

export interface Place {
  /** The cap that is reached; undefined: there is room. */
  readonly cap: 'tenant' | MemoryScope | 'type' | undefined;
  /** What goes instead; undefined where a cap is reached: nothing that may go is weaker. */
  readonly evicts: Evictable | undefined;
}

/** The room there is while a run is judged: it counts what comes in and what goes. */
export class RoomLeft {
  #tenant: number;
  readonly #counts = new Map<string, number>();
  #evictable: readonly Evictable[];
  readonly #caps: GatePolicy['caps'];

  /** Without `room` no cap is near. */
  constructor(room: Room | undefined, caps: GatePolicy['caps']) {
    this.#caps = room ? caps : { tenant: Infinity, user: Infinity, agent: Infinity, workspace: Infinity, types: {} as GatePolicy['caps']['types'] };
    this.#tenant = room?.tenant ?? 0;
    for (const [scope, types] of Object.entries(room?.owners ?? {})) for (const [type, n] of Object.entries(types)) this.#count(scope as MemoryScope, type as MemoryType, n);
    this.#evictable = [...room?.evictable ?? []].sort((a, b) => a.strength - b.strength || (a.id < b.id ? -1 : 1));
  }

  /** Where a memory of this score would find its place. */
  look(scope: MemoryScope, type: MemoryType, score: number): Place {
    const cap = this.#full(scope, type);
    if (cap === undefined) return { cap, evicts: undefined };
    const weakest = this.#evictable.find((one) => one.scope === scope && (cap !== 'type' || one.type === type));
    return { cap, evicts: weakest !== undefined && weakest.strength < score ? weakest : undefined };
  }

  add(scope: MemoryScope, type: MemoryType, evicts: Evictable | undefined): void {
    this.#tenant++;
    this.#count(scope, type, 1);
    if (!evicts) return;
    this.#tenant--;
    this.#count(evicts.scope, evicts.type, -1);
    this.spare(evicts.id);
  }

  /** What this very run has said again stays. */
  spare(id: string): void { this.#evictable = this.#evictable.filter((one) => one.id !== id); }

  /** The narrowest cap first: what makes room in it makes room in the wider ones. */
  #full(scope: MemoryScope, type: MemoryType): Place['cap'] {
    if (this.#of(scope, type) >= (this.#caps.types[type] ?? Infinity)) return 'type';
    if (this.#of(scope) >= this.#caps[scope]) return scope;
    return this.#tenant >= this.#caps.tenant ? 'tenant' : undefined;
  }

  #of(scope: MemoryScope, type?: MemoryType): number { return this.#counts.get(`${scope} ${type ?? ''}`) ?? 0; }
  #count(scope: MemoryScope, type: MemoryType, change: number): void {
    for (const key of [`${scope} `, `${scope} ${type}`]) this.#counts.set(key, (this.#counts.get(key) ?? 0) + change);
  }
}
