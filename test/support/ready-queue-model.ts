// The ready queue's rules as plain data and a few lines each, without Redis: what lua/*.lua must do, written a second time so
// that the two can be compared after every call (test/ready-queue-model.test.ts). Numbers are rounded where the scripts write
// them. The one thing of time it knows is whether a slot has run out, which the test tells it with `passTime`.
import { FIRST_COST_MS } from '../../src/domain/tunables.ts';
import type { QueuePlace } from '../../src/domain/explain.ts';
import type { Offer, Settle, Taken } from '../../src/queue/ready-queue.ts';

type Slot = 'lasting' | 'brief' | 'over';
interface Tenant {
  readonly held: Map<string, number>;
  readonly slots: Map<string, Slot>;
  /** Finish tag; undefined = unknown, which stands at the virtual time. */
  finish: number | undefined;
  /** Virtual time at which its busy period began. */
  began: number;
  weight: number;
  cap: number | undefined;
  usualMs: number | undefined;
}

const rounded = (value: number): number => Number(value.toFixed(3));
const smallest = (from: ReadonlyMap<string, number>): [string, number][] => [...from].sort(([a, x], [b, y]) => x - y || (a < b ? -1 : 1));

export class ReadyQueueModel {
  #tenants = new Map<string, Tenant>();
  /** Start tags of those who hold a run and have a free slot; `#parked` hold a run and have none. */
  #ready = new Map<string, number>();
  #parked = new Set<string>();
  #virtual = 0;
  #usualMs: number | undefined;

  get virtual(): number { return this.#virtual; }
  get depth(): { held: number; tenants: number } {
    return { held: [...this.#tenants.values()].reduce((sum, { held }) => sum + held.size, 0), tenants: this.#ready.size + this.#parked.size };
  }

  /** What is held, in offers: what a rebuild would find in Postgres. */
  get held(): Offer[] {
    return [...this.#tenants].flatMap(([tenant, { held, weight, cap }]) => [...held].map(([run, order]) => ({ tenant, run, order, weight, cap })));
  }

  /** Broken rules, as sentences. */
  get broken(): string[] {
    return [...this.#tenants].flatMap(([name, tenant]) => {
      const [free, stands] = [this.#hasFreeSlot(tenant), this.#ready.has(name) ? 'ready' : this.#parked.has(name) ? 'parked' : 'none'];
      const should = tenant.held.size === 0 ? 'none' : free ? 'ready' : 'parked';
      const mayLag = stands === 'parked' && should === 'ready' && [...tenant.slots.values()].includes('over'); // until somebody looks
      return stands === should || mayLag ? [] : [`${name} stands ${stands} and should stand ${should}`];
    });
  }

  placeOf(name: string, run: string): QueuePlace {
    const tenant = this.#tenant(name);
    const [runsAhead, turn] = [smallest(tenant.held).findIndex(([id]) => id === run), smallest(this.#ready).findIndex(([id]) => id === name)];
    const held = runsAhead < 0 ? 'none' : turn < 0 ? 'parked' : 'ready';
    return { held, runsAhead: Math.max(0, runsAhead), runs: tenant.held.size, tenantsAhead: Math.max(0, turn), tenants: this.depth.tenants, weight: tenant.weight };
  }

  offer(offers: readonly Offer[]): number {
    let added = 0;
    const seen = new Set<string>();
    for (const { tenant: name, run, order, weight = 1, cap } of offers) {
      const tenant = this.#tenant(name);
      const moved = !seen.has(name) && (tenant.weight !== weight || tenant.cap !== cap);
      if (!seen.has(name)) Object.assign(tenant, { weight, cap }); // of a group, the tenant's first offer tells
      seen.add(name);
      if (moved && tenant.held.size > 0) this.#place(name);
      if (tenant.held.has(run)) continue;
      added++;
      tenant.held.set(run, order);
      if (tenant.held.size === 1) this.#place(name);
    }
    return added;
  }

  take(count: number, settles: readonly Settle[]): Taken[] {
    let usualMs = this.#usualMs;
    for (const { tenant: name, run, chargedMs, realMs, keepSlot } of settles) {
      const tenant = this.#tenant(name);
      if (realMs > 0) {
        tenant.usualMs = rounded((tenant.usualMs ?? realMs) * 0.8 + realMs * 0.2);
        usualMs = (usualMs ?? realMs) * 0.95 + realMs * 0.05;
      }
      this.#charge(name, realMs - chargedMs);
      if (!keepSlot && tenant.slots.delete(run) && this.#parked.has(name)) this.#place(name);
    }
    if (usualMs !== undefined) this.#usualMs = rounded(usualMs);
    this.ring();
    const taken: Taken[] = [];
    while (taken.length < count) {
      const [name, tag] = smallest(this.#ready)[0] ?? [];
      if (name === undefined || tag === undefined) break;
      const tenant = this.#tenant(name);
      const [run = ''] = smallest(tenant.held)[0] ?? [];
      tenant.held.delete(run);
      this.#virtual = Math.max(this.#virtual, tag);
      const costMs = tenant.usualMs ?? usualMs ?? FIRST_COST_MS;
      tenant.finish = rounded(tag + costMs / tenant.weight);
      if (tenant.cap !== undefined) tenant.slots.set(run, 'lasting');
      this.#place(name);
      taken.push({ tenant: name, run, chargedMs: rounded(costMs), limits: '' });
    }
    return taken;
  }

  renew(running: readonly { tenant: string; run: string; moreMs: number }[]): void {
    for (const { tenant: name, run, moreMs } of running) {
      this.#charge(name, moreMs);
      if (this.#tenant(name).slots.has(run)) this.#tenant(name).slots.set(run, 'lasting');
    }
  }

  hold(name: string, runs: readonly string[], slot: 'lasting' | 'brief'): void {
    for (const run of runs) this.#tenant(name).slots.set(run, slot);
    this.#place(name);
  }

  remove(name: string, run: string): boolean {
    if (!this.#tenant(name).held.delete(run)) return false;
    this.#place(name);
    return true;
  }

  /** Parked tenants one of whose slots ran out are looked at again. */
  ring(): void {
    for (const name of [...this.#parked]) if ([...this.#tenant(name).slots.values()].includes('over')) this.#place(name);
  }

  /** Brief slots have run out. */
  passTime(): void {
    for (const { slots } of this.#tenants.values()) for (const [run, slot] of slots) if (slot === 'brief') slots.set(run, 'over');
  }

  wipe(): void {
    this.#tenants = new Map();
    this.#ready = new Map();
    this.#parked = new Set();
    [this.#virtual, this.#usualMs] = [0, undefined];
  }

  #tenant(name: string): Tenant {
    const tenant = this.#tenants.get(name) ?? { held: new Map(), slots: new Map(), finish: undefined, began: 0, weight: 1, cap: undefined, usualMs: undefined };
    this.#tenants.set(name, tenant);
    return tenant;
  }

  #hasFreeSlot({ cap, slots }: Tenant): boolean { return cap === undefined || [...slots.values()].filter((slot) => slot !== 'over').length < cap; }

  /** Where a tenant belongs. One that becomes ready begins at the virtual time, or where its own debt stands. */
  #place(name: string): void {
    const tenant = this.#tenant(name);
    const wasReady = this.#ready.delete(name);
    this.#parked.delete(name);
    if (tenant.held.size === 0) return;
    if (!this.#hasFreeSlot(tenant)) { this.#parked.add(name); return; }
    for (const [run, slot] of tenant.slots) if (slot === 'over') tenant.slots.delete(run);
    if (!wasReady) {
      tenant.finish = Math.max(tenant.finish ?? this.#virtual, this.#virtual);
      tenant.began = this.#virtual;
    }
    this.#ready.set(name, tenant.finish ?? this.#virtual);
  }

  #charge(name: string, deltaMs: number): void {
    const tenant = this.#tenant(name);
    tenant.finish = rounded(Math.max((tenant.finish ?? this.#virtual) + deltaMs / tenant.weight, tenant.began));
    if (this.#ready.has(name)) this.#ready.set(name, tenant.finish);
  }
}
