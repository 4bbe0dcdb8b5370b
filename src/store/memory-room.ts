// What a judgement begins with: its turn among the writers of its owners, the tenant's policy, and how many memories there are where a
// new one would go, with the weakest of them. From then on the transaction sees no more than the run's user does.
import type { Evictable, Room } from '../domain/gate-room.ts';
import type { GatePolicy } from '../domain/gate-policy.ts';
import { gatePolicyOf, policyNameOf, retentionOf } from '../domain/memory-settings.ts';
import type { RetentionRules } from '../domain/retention.ts';
import { MEMORY_SCOPES, type MemoryScope, type MemoryType } from '../domain/status.ts';
import type { TenantTx } from './app-store.ts';
import { memoryPolicy } from './memory-policies.ts';
import { VISIBLE } from './recall-memories.ts';
import { lockOwners, narrowTo } from './remember-run.ts';

type HalfLives = RetentionRules['halfLifeDays'];

export interface Turn {
  readonly policy: GatePolicy;
  /** As verdicts name it. */
  readonly policyName: string;
  /** Undefined: no cap is near. */
  readonly room: Room | undefined;
}

/** `settings`: their version; unset: the newest. */
export async function takeTurn(tx: TenantTx, user: string | null, agent: string, settings?: number): Promise<Turn> {
  await lockOwners(tx, user, agent);
  const set = await memoryPolicy(tx, settings);
  const policy = gatePolicyOf(set);
  const tenant = await liveInTenant(tx, policy.caps.tenant + 1); // of all its users: before the transaction is narrowed
  await narrowTo(tx, user);
  return { policy, policyName: policyNameOf(policy, set.version), room: await roomFor(tx, policy, { user, agent, tenant, halfLifeDays: retentionOf(set).halfLifeDays }) };
}

/** Counts no further than `enough`. */
async function liveInTenant(tx: TenantTx, enough: number): Promise<number> {
  const [row] = await tx.db.$queryRawUnsafe<{ n: number }[]>(`SELECT count(*)::int AS n FROM (SELECT FROM memories WHERE tenant_id = $1 AND valid_to IS NULL LIMIT $2::int) m`, tx.scope.tenant, enough);
  return row?.n ?? 0;
}

async function roomFor(tx: TenantTx, { caps, maxAdmits }: GatePolicy, { user, agent, tenant, halfLifeDays }: { readonly user: string | null; readonly agent: string; readonly tenant: number; readonly halfLifeDays: HalfLives }): Promise<Room | undefined> {
  const isNear = (n: number, cap: number): boolean => n + maxAdmits > cap;
  const { types, ...wide } = caps;
  if (!isNear(tenant, Math.min(...Object.values(wide), ...Object.values(types)))) return undefined;
  const counted = await tx.db.$queryRawUnsafe<{ scope: MemoryScope; type: MemoryType; n: number }[]>(
    `SELECT scope::text AS scope, type::text AS type, count(*)::int AS n FROM memories WHERE ${VISIBLE} GROUP BY 1, 2 ORDER BY 1, 2`, tx.scope.tenant, user, agent);
  const of = (scope: MemoryScope) => counted.filter((one) => one.scope === scope);
  const near = isNear(tenant, caps.tenant) || counted.some(({ type, n }) => isNear(n, types[type])) || MEMORY_SCOPES.some((scope) => isNear(of(scope).reduce((sum, { n }) => sum + n, 0), caps[scope]));
  if (!near) return undefined;
  const [users, agents, workspace] = (['user', 'agent', 'workspace'] as const).map((scope) => Object.fromEntries(of(scope).map(({ type, n }) => [type, n])));
  return { tenant, owners: { user: users ?? {}, agent: agents ?? {}, workspace: workspace ?? {} }, evictable: await weakest(tx, user, agent, halfLifeDays, maxAdmits) };
}

/** Of each owner and type as many as a run may push out, by their strength (`strengthOf`, without its floor). */
function weakest(tx: TenantTx, user: string | null, agent: string, halfLifeDays: HalfLives, most: number): Promise<Evictable[]> {
  return tx.db.$queryRawUnsafe<Evictable[]>(`
    SELECT id::text AS id, scope::text AS scope, type::text AS type, strength FROM (
      SELECT id, scope, type, strength, row_number() OVER (PARTITION BY scope, type ORDER BY strength, id) AS place FROM (
        SELECT id, scope, type, round((confidence * power(2, -greatest(0, extract(epoch FROM now() - last_seen_at))::float8
          / (86400 * ($4::json ->> type::text)::float8 * (1 + ln(1 + seen_count) + 0.5 * ln(1 + cited_count)))))::numeric, 6)::float8 AS strength
        FROM memories WHERE ${VISIBLE} AND NOT pinned AND NOT (type = 'constraint' AND source_role = 'user')) m) s
    WHERE place <= $5::int ORDER BY strength, id`, tx.scope.tenant, user, agent, JSON.stringify(halfLifeDays), most);
}
