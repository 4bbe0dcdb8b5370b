// The ready queue: holds ready runs per tenant in Redis and hands a worker the fairest one when it asks. Start-time fair
// queueing by tenant: each take charges the usual cost of the tenant's runs over its weight, each settle corrects the charge
// to the slot time really used. A tenant that was idle or full hoards nothing; one at its cap is parked, not skipped over;
// a run whose agent or key is at its limit is set aside when its turn comes, and brought back by whoever frees a slot.
// Everything here may be lost or be behind: a take decides nothing, the claim in Postgres does, and maintenance offers
// again whatever is queued there and not held here. Scripts and their keys: lua/head.lua.
import { randomUUID } from 'node:crypto';
import type { Redis } from 'ioredis';
import type { QueuePlace } from '../domain/explain.ts';
import { ASIDE_MAX, FIRST_COST_MS, GROUP_LANES, LEASE_MS, MAX_PRIORITY, READY_GROUP_MAX, READY_OFFER_MAX, WAKE_UP_WINDOW } from '../domain/tunables.ts';
import type { RedisKeys } from '../redis.ts';
import { Grouped } from '../grouped.ts';
import { loadScript, runScript, type Script } from './script.ts';
import type { WakeUps } from './wake-ups.ts';

export interface Offer {
  readonly tenant: string;
  readonly run: string;
  /** Lower goes first among the runs of the tenant; see `orderOf`. */
  readonly order: number;
  /** Share of the tenant against others, > 0; 1 unless told. Weight and cap are the tenant's: those of the last group of offers hold, in a group its first's. */
  readonly weight?: number;
  /** Runs of the tenant at the same time at most. */
  readonly cap?: number | undefined;
  /** Limits it shares with other runs of its tenant, `<most> <name>` a line; empty = none. */
  readonly limits?: string;
}

export interface Taken {
  readonly tenant: string;
  readonly run: string;
  /** What the take charged, in ms of slot time. */
  readonly chargedMs: number;
  /** As they were offered: a settle gives back the slots of all of them. */
  readonly limits: string;
}

/** A run that is running, as Postgres knows it. */
export interface HeldSlot {
  readonly run: string;
  /** Until the holder's lease ends. */
  readonly leftMs: number;
  readonly limits: string;
}

export interface Settle extends Taken {
  /** Slot time really used in ms; 0 = the run did not run (its claim was refused). `chargedMs`: with what renewals added. */
  readonly realMs: number;
  /** The run is running elsewhere: its slots are not ours to free. */
  readonly keepSlot?: boolean;
}

/** One priority class in order units: 2^42 ms reaches the year 2109. */
const CLASS_MS = 2 ** 42;

/**
 * Priority and time of submission as one number for `Offer.order`: lower goes first. A higher `priority` is sooner, whatever
 * the time; 0 is normal, beyond ±1,000 it is cut; within a priority the earlier goes first. Whole milliseconds stay exact:
 * the largest value is below 2^53. Two runs of the same millisecond go by their ids, which are time-sortable.
 */
export function orderOf(priority: number, createdMs: number): number {
  const level = Math.max(-MAX_PRIORITY, Math.min(MAX_PRIORITY, Math.trunc(priority) || 0));
  return Math.trunc(createdMs) - level * CLASS_MS;
}

const SCRIPTS = ['offer', 'take', 'renew', 'hold', 'remove', 'ring', 'known', 'place'] as const;
type ScriptName = (typeof SCRIPTS)[number];
const loadScripts = (): Record<ScriptName, Script> => Object.fromEntries(SCRIPTS.map((name) => [name, loadScript(name)])) as Record<ScriptName, Script>;

type Want = { readonly take: boolean; readonly settle: Settle | undefined };

export class ReadyQueue {
  readonly #redis: Redis;
  readonly #wakeUps: WakeUps;
  readonly #prefix: string;
  readonly #keys: readonly string[];
  readonly #generationKey: string;
  readonly #scripts = loadScripts();
  readonly #offers = new Grouped<Offer, void>((runs) => this.#offerNow(runs).then(() => []), { lanes: GROUP_LANES, max: READY_GROUP_MAX });
  readonly #takes = new Grouped<Want, Taken | undefined>((wants) => this.#takeNow(wants), { lanes: GROUP_LANES, max: READY_GROUP_MAX });

  /** redis: a `fast` client; wakeUps: of the same pool. Makes no call. */
  constructor(options: { redis: Redis; wakeUps: WakeUps; keys: RedisKeys; pool: string }) {
    this.#redis = options.redis;
    this.#wakeUps = options.wakeUps;
    this.#prefix = options.keys.ready(options.pool);
    this.#keys = ['ready', 'parked', 'pool'].map((name) => `${this.#prefix}${name}`).concat(options.wakeUps.waitKey, options.wakeUps.markerKey, this.#prefix);
    this.#generationKey = `${this.#prefix}generation`;
  }

  /** Holds a ready run until a worker takes it. A run already held keeps its place. Rejects when Redis does not answer. */
  offer(run: Offer): Promise<void> {
    return this.#offers.add(run);
  }

  /** Offers many; resolves to how many were not held before, once their wake-ups are added. */
  async offerMany(runs: readonly Offer[]): Promise<number> {
    let sum = 0;
    for (let i = 0; i < runs.length; i += READY_OFFER_MAX) {
      const { added, rung } = await this.#offerNow(runs.slice(i, i + READY_OFFER_MAX));
      sum += added;
      await rung;
    }
    return sum;
  }

  /**
   * Settles the run this place has just ended, then takes the fairest ready run; undefined = none. When it rejects, nothing
   * is known: a run taken without our hearing of it is offered again by maintenance.
   */
  take(settle?: Settle): Promise<Taken | undefined> {
    return this.#takes.add({ take: true, settle });
  }

  /** Takes up to so many in this very turn of the event loop, in a call of its own: for a worker that has nothing else to ask. */
  takeAtOnce(most: number): Promise<(Taken | undefined)[]> {
    return this.#takeNow(Array.from({ length: most }, () => ({ take: true, settle: undefined })));
  }

  /** Settles without taking: the place is given up. */
  async settle(settle: Settle): Promise<void> {
    await this.#takes.add({ take: false, settle });
  }

  /** Renews the slots of running runs and charges what they used beyond the last charge. Call it each LEASE_RENEW_MS. */
  async renew(running: readonly { tenant: string; run: string; moreMs: number; limits: string }[]): Promise<void> {
    if (running.length > 0) await this.#script('renew', [LEASE_MS, ...running.flatMap(({ tenant, run, moreMs, limits }) => [tenant, run, ms(moreMs), limits])]);
  }

  /** Tells which runs of a tenant are running. */
  async holdSlots(tenant: string, running: readonly HeldSlot[]): Promise<void> {
    if (running.length > 0) await this.#script('hold', [tenant, ...running.flatMap(({ run, leftMs, limits }) => [run, Math.ceil(leftMs), limits])]);
  }

  /** Gives back the slots of runs that are running no more. */
  async freeSlots(runs: readonly { tenant: string; run: string; limits: string }[]): Promise<void> {
    await Promise.all(runs.map((run) => this.settle({ ...run, chargedMs: 0, realMs: 0 })));
  }

  /** Drops a held run (cancelled). True = it was held. */
  async remove(tenant: string, run: string): Promise<boolean> {
    return (await this.#script('remove', [tenant, run])) === 1;
  }

  /** Offers again what is held, which goes by its present limits then; answers the runs that are not, and are not added. */
  async offerHeld(runs: readonly Offer[]): Promise<Set<string>> {
    const missed: string[] = [];
    for (let i = 0; i < runs.length; i += READY_OFFER_MAX) {
      const some = await this.#offerNow(runs.slice(i, i + READY_OFFER_MAX), true);
      missed.push(...some.missed);
      await some.rung;
    }
    return new Set(missed);
  }

  /** Where a run stands; changes nothing. Rejects when Redis does not answer. */
  async placeOf(tenant: string, run: string): Promise<QueuePlace> {
    const [held, runsAhead, runs, tenantsAhead, tenants, weight] = (await this.#script('place', [tenant, run])) as [QueuePlace['held'], number, number, number, number, string];
    return { held, runsAhead, runs, tenantsAhead, tenants, weight: Number(weight) };
  }

  /** Runs held, and tenants that hold any. */
  async depth(): Promise<{ held: number; tenants: number }> {
    const [ready, parked, pool] = this.#keys as [string, string, string];
    const [held, readyTenants, parkedTenants] = await Promise.all([this.#redis.hget(pool, 'held'), this.#redis.zcard(ready), this.#redis.zcard(parked)]);
    return { held: Math.max(0, Number(held ?? 0)), tenants: readyTenants + parkedTenants };
  }

  /** The sweep's call: makes parked tenants ready whose slots ran out, and replaces wake-ups that got lost. */
  async ring(): Promise<void> {
    await this.#wakeUps.ring(Number(await this.#script('ring', [WAKE_UP_WINDOW])));
  }

  /** False after a Redis wipe (and before the first rebuild): what is held is then not all there is. */
  async isKnown(): Promise<boolean> {
    return (await this.#redis.get(this.#generationKey)) === 'known';
  }

  /**
   * Runs `fill` (running runs into `holdSlots`, then every ready run into `offerMany`) and marks the ready queue as known.
   * False = Redis was wiped meanwhile or another rebuild began: `isKnown` stays false and the next sweep rebuilds again.
   */
  async rebuild(fill: () => Promise<void>): Promise<boolean> {
    const token = `rebuilding:${randomUUID()}`;
    await this.#redis.set(this.#generationKey, token);
    await fill();
    return (await runScript(this.#redis, this.#scripts.known, [...this.#keys, this.#generationKey], [token])) === 1;
  }

  /** Drops all keys of this pool's ready queue; wake-ups stay and do no harm. */
  async wipe(): Promise<void> {
    let cursor = '0';
    do {
      const [next, found] = await this.#redis.scan(cursor, 'MATCH', `${this.#prefix}*`, 'COUNT', 1_000);
      if (found.length > 0) await this.#redis.unlink(...found);
      cursor = next;
    } while (cursor !== '0');
  }

  /** `rung`: its wake-ups are there. A submit need not wait for them: an idle worker looks already. */
  async #offerNow(runs: readonly Offer[], onlyHeld = false): Promise<{ added: number; missed: readonly string[]; rung: Promise<void> }> {
    const args = runs.flatMap(({ tenant, weight, cap, run, order, limits }) => [tenant, weight !== undefined && weight > 0 ? weight : 1, cap ?? '', run, order, limits ?? '']);
    const [wakeUps, added, missed] = (await this.#script('offer', [WAKE_UP_WINDOW, onlyHeld ? '1' : '', ...args])) as [number, number, string[]];
    return { added, missed, rung: this.#wakeUps.ring(wakeUps) };
  }

  async #takeNow(wants: readonly Want[]): Promise<(Taken | undefined)[]> {
    const settles = wants.flatMap(({ settle: s }) => (s ? [s.tenant, s.run, ms(s.chargedMs), ms(s.realMs), s.keepSlot ? '1' : '', s.limits] : []));
    const takes = wants.filter(({ take }) => take).length;
    const [wakeUps, ...flat] = (await this.#script('take', [WAKE_UP_WINDOW, takes, LEASE_MS, FIRST_COST_MS, ASIDE_MAX, ...settles])) as [number, ...string[]];
    void this.#wakeUps.ring(wakeUps); // not awaited: the runs in hand need not wait for others to be woken
    let next = 0;
    return wants.map(({ take }) => {
      const [run, tenant, chargedMs, limits = ''] = take ? flat.slice(next, next + 4) : [];
      if (run === undefined || tenant === undefined) return undefined;
      next += 4;
      return { tenant, run, chargedMs: Number(chargedMs), limits };
    });
  }

  #script(name: ScriptName, args: readonly (string | number)[]): Promise<unknown> {
    return runScript(this.#redis, this.#scripts[name], this.#keys, args);
  }
}

/** Milliseconds as the scripts write them; never negative, never in exponents. */
const ms = (value: number): string => Math.max(0, value).toFixed(3);
