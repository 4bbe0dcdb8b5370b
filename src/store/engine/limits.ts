// What an operator sets of a tenant: its share, how many of its runs may be running at once, and how many of one agent. A change
// counts from the next claim on; runs that are running go on, and count (permits.ts). Every change is audited.
import { MainstayError } from '../../domain/errors.ts';
import { MAX_RUNNING_LIMIT } from '../../domain/tunables.ts';
import { inTransaction, type EnginePool } from './pool.ts';
import { HOLDS, seatRunning } from './permits.ts';

export interface TenantLimits {
  readonly tenant: string;
  readonly weight: number;
  /** null = no limit */
  readonly maxRunning: number | null;
  /** Runs that hold a permit of the tenant. */
  readonly running: number;
  readonly agents: { agent: string; maxRunning: number; running: number }[];
}

/** Undefined = as it is; null = no limit. */
export interface TenantChange { readonly weight?: number | undefined; readonly maxRunning?: number | null | undefined }

const LARGEST_WEIGHT = 1_000;

/** Undefined = there is no such tenant. */
export async function tenantLimits(pool: EnginePool, tenant: string): Promise<TenantLimits | undefined> {
  const { rows } = await pool.query<TenantLimits>(`
    SELECT t.id AS tenant, t.weight, t.max_running AS "maxRunning", (SELECT count(*)::int FROM agent_runs o WHERE ${HOLDS.tenant('t.id')}) AS running,
      (SELECT coalesce(json_agg(json_build_object('agent', l.agent, 'maxRunning', l.max_running, 'running', (SELECT count(*) FROM agent_runs o WHERE ${HOLDS.agent('t.id', 'l.agent')})) ORDER BY l.agent), '[]')
        FROM agent_limits l WHERE l.tenant_id = t.id) AS agents FROM tenants t WHERE t.id = $1`, [tenant]);
  return rows[0];
}

/** Tenants that have a limit, and the permits their runs hold. */
export async function permitsOfTenants(pool: EnginePool): Promise<{ tenant: string; limit: number; held: number }[]> {
  const { rows } = await pool.query<{ tenant: string; limit: number; held: number }>(
    `SELECT t.id AS tenant, t.max_running AS limit, (SELECT count(*)::int FROM agent_runs o WHERE ${HOLDS.tenant('t.id')}) AS held FROM tenants t WHERE t.max_running IS NOT NULL ORDER BY 1`);
  return rows;
}

export const noTenant = (tenant: string): MainstayError => new MainstayError('not_found', `There is no tenant "${tenant}": \`mainstay tenants create ${tenant}\` makes it.`);

/** Throws `not_found` where there is no such tenant. */
export async function setTenant(pool: EnginePool, tenant: string, change: TenantChange, actor: string): Promise<void> {
  const { weight, maxRunning } = change;
  if (weight !== undefined && !(weight > 0 && weight <= LARGEST_WEIGHT)) throw new MainstayError('bad_request', `A weight is above 0 and at most ${LARGEST_WEIGHT}.`, { fields: [{ path: 'weight', message: 'out of range' }] });
  requireLimit(maxRunning);
  await inTransaction(pool, async (client) => {
    const { rowCount } = await client.query(`UPDATE tenants SET weight = coalesce($2, weight), max_running = CASE WHEN $3 THEN $4::int ELSE max_running END WHERE id = $1`, [tenant, weight ?? null, maxRunning !== undefined, maxRunning ?? null]);
    if (rowCount === 0) throw noTenant(tenant);
    await client.query(AUDIT, [tenant, actor, 'tenant', tenant, JSON.stringify(change)]);
  });
  await seatRunning(pool);
}

/** null = no limit of its own any more. */
export async function setAgentLimit(pool: EnginePool, tenant: string, agent: string, maxRunning: number | null, actor: string): Promise<void> {
  requireLimit(maxRunning);
  if (!/^[a-z][a-z0-9._-]{0,62}$/.test(agent)) throw new MainstayError('bad_request', `"${agent.slice(0, 100)}" is no name of an agent.`, { fields: [{ path: 'agent', message: 'not a name' }] });
  await inTransaction(pool, async (client) => {
    if ((await client.query(`SELECT FROM tenants WHERE id = $1`, [tenant])).rowCount === 0) throw noTenant(tenant);
    if (maxRunning === null) await client.query(`DELETE FROM agent_limits WHERE tenant_id = $1 AND agent = $2`, [tenant, agent]);
    else await client.query(`INSERT INTO agent_limits (tenant_id, agent, max_running) VALUES ($1, $2, $3) ON CONFLICT (tenant_id, agent) DO UPDATE SET max_running = excluded.max_running`, [tenant, agent, maxRunning]);
    await client.query(AUDIT, [tenant, actor, 'agent', agent, JSON.stringify({ maxRunning })]);
  });
  await seatRunning(pool);
}

const AUDIT = `INSERT INTO audit_events (tenant_id, actor, action, object_type, object_id, allowed, details) VALUES ($1, $2, 'limits.changed', $3, $4, true, $5::json)`;

function requireLimit(most: number | null | undefined): void {
  if (most === null || most === undefined || (Number.isInteger(most) && most >= 1 && most <= MAX_RUNNING_LIMIT)) return;
  throw new MainstayError('bad_request', `A limit is a whole number from 1 to ${MAX_RUNNING_LIMIT}, or none.`, { fields: [{ path: 'maxRunning', message: 'out of range' }] });
}
