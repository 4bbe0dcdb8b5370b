// Permits: the numbers a running row holds under the limits of its tenant, its agent and its key. Here stand the limits of a
// run as SQL, the choice of free numbers for the runs of one claim, and what is asked when a claim was refused as full. Three
// unique indexes decide; nothing is counted beside the rows, so nothing can be lost with a worker.
import { PERMIT_SPARE } from '../../domain/tunables.ts';
import type { EnginePool } from './pool.ts';
import { HAS_WORKER, IS_HEAD, READY, type Ready } from './sweeps.ts';

/** The tenant's limit of `r`. The product's own runs (remembering) are nobody's to limit. */
export const TENANT_LIMIT = `CASE WHEN r.visible THEN (SELECT t.max_running FROM tenants t WHERE t.id = r.tenant_id) END`;
/** The limit of its agent within the tenant. */
export const AGENT_LIMIT = `(SELECT l.max_running FROM agent_limits l WHERE l.tenant_id = r.tenant_id AND l.agent = r.agent)`;
/** For the claim of runs without limits: two look-ups by key, as subselects, which no planner turns into a join. */
export const UNLIMITED = `(r.concurrency_key IS NULL AND ${AGENT_LIMIT} IS NULL AND ${TENANT_LIMIT} IS NULL)`;

/** Rows of `agent_runs o` that hold a permit of a limit. */
export const HOLDS = {
  tenant: (tenant: string) => `o.tenant_id = ${tenant} AND o.status = 'running' AND o.tenant_permit IS NOT NULL`,
  agent: (tenant: string, agent: string) => `o.tenant_id = ${tenant} AND o.agent = ${agent} AND o.status = 'running' AND o.agent_permit IS NOT NULL`,
  key: (tenant: string, key: string) => `o.tenant_id = ${tenant} AND o.concurrency_key = ${key} AND o.status = 'running' AND o.key_permit IS NOT NULL`,
};

/** What the choice of permits must know of the runs picked. */
export const LIMITED = `r.status, r.agent, r.concurrency_key AS key, ${TENANT_LIMIT} AS tenant_most, ${AGENT_LIMIT} AS agent_most, r.concurrency_limit AS key_most`;

// Permits for the runs of `c`, each a number of its own. As many numbers are offered as the limit leaves beside all who hold one,
// those above a limit that was lowered included: so two claims at once choose from the same few numbers, and the unique index
// lets one of them pass. Chosen at random, because the lowest would be everybody's choice; handed out in rising order, as every
// statement does, so that two of them wait for one another in one direction. A running row keeps what it has: it never asks.
export const PERMITS = `
want AS MATERIALIZED (
  SELECT c.t, c.i, v.kind, v.name, v.most, row_number() OVER (PARTITION BY c.t, v.kind, v.name, v.most ORDER BY c.i) AS place
  FROM c, LATERAL (VALUES (1, '', c.tenant_most), (2, c.agent, c.agent_most), (3, c.key, c.key_most)) AS v(kind, name, most) WHERE v.most IS NOT NULL AND c.status <> 'running'
), held AS MATERIALIZED (
  SELECT s.*, (SELECT coalesce(array_agg(n), '{}') FROM (
    SELECT o.tenant_permit AS n FROM agent_runs o WHERE s.kind = 1 AND ${HOLDS.tenant('s.t')}
    UNION ALL SELECT o.agent_permit FROM agent_runs o WHERE s.kind = 2 AND ${HOLDS.agent('s.t', 's.name')}
    UNION ALL SELECT o.key_permit FROM agent_runs o WHERE s.kind = 3 AND ${HOLDS.key('s.t', 's.name')}) n) AS numbers
  FROM (SELECT t, kind, name, most, count(*) AS wanted FROM want GROUP BY 1, 2, 3, 4) s
), free AS MATERIALIZED (
  SELECT h.t, h.kind, h.name, h.most, f.n, row_number() OVER (PARTITION BY h.t, h.kind, h.name, h.most ORDER BY f.n) AS place
  FROM held h, LATERAL (SELECT n FROM (
    SELECT n::bigint FROM generate_series(1, least(h.most, cardinality(h.numbers) + h.wanted + ${PERMIT_SPARE})) n EXCEPT SELECT unnest(h.numbers) ORDER BY 1 LIMIT greatest(0, h.most - cardinality(h.numbers))
  ) n ORDER BY random() LIMIT h.wanted) f
), permit AS MATERIALIZED (
  SELECT w.t, w.i, max(f.n) FILTER (WHERE w.kind = 1) AS tenant_n, max(f.n) FILTER (WHERE w.kind = 2) AS agent_n, max(f.n) FILTER (WHERE w.kind = 3) AS key_n, bool_and(f.n IS NOT NULL) AS is_whole
  FROM want w LEFT JOIN free f ON f.t = w.t AND f.kind = w.kind AND f.name = w.name AND f.most = w.most AND f.place = w.place GROUP BY 1, 2
)`;

// Limits that are full, once a statement: the due runs of such a limit are passed over, whatever their number, so that they
// stand in nobody's way where the ready queue is not there to hold them apart.
export const FULL = `
full_tenant AS MATERIALIZED (SELECT o.tenant_id AS t FROM agent_runs o JOIN tenants t ON t.id = o.tenant_id WHERE o.status = 'running' AND o.tenant_permit IS NOT NULL GROUP BY 1, t.max_running HAVING count(*) >= t.max_running),
full_agent AS MATERIALIZED (SELECT o.tenant_id AS t, o.agent FROM agent_runs o JOIN agent_limits l ON l.tenant_id = o.tenant_id AND l.agent = o.agent WHERE o.status = 'running' AND o.agent_permit IS NOT NULL GROUP BY 1, 2, l.max_running HAVING count(*) >= l.max_running),
held_key AS MATERIALIZED (SELECT o.tenant_id AS t, o.concurrency_key AS key, count(*) AS n FROM agent_runs o WHERE o.status = 'running' AND o.key_permit IS NOT NULL GROUP BY 1, 2)`;
export const NOT_FULL = `(NOT r.visible OR r.tenant_id NOT IN (SELECT t FROM full_tenant)) AND (r.tenant_id, r.agent) NOT IN (SELECT t, agent FROM full_agent)
  AND (r.concurrency_key IS NULL OR coalesce((SELECT k.n FROM held_key k WHERE k.t = r.tenant_id AND k.key = r.concurrency_key), 0) < r.concurrency_limit)`;

export interface PermitHolder extends Ready {
  /** Until its worker's lease ends; 0 = the worker is dead. */
  readonly leftMs: number;
}

export interface RefusedRun extends Ready {
  /** It is running: its slots are its holder's. */
  readonly isRunning: boolean;
  /** These machines could run it now, but for its limits. */
  readonly isRunnable: boolean;
  /** It could run now, on a living worker of another build: these machines lack its version. */
  readonly isForeign: boolean;
}

/** What is known of a run whose claim was refused. Undefined = there is none any more. */
export async function refusedRun(pool: EnginePool, tenant: string, id: string, machines: readonly string[]): Promise<RefusedRun | undefined> {
  const { rows } = await pool.query<RefusedRun>({ name: 'refused', text: `
    SELECT ${READY}, r.status = 'running' AS "isRunning", due.is AND ours.is AS "isRunnable", due.is AND NOT ours.is AND ${HAS_WORKER} AS "isForeign"
    FROM agent_runs r LEFT JOIN tenants t ON t.id = r.tenant_id, LATERAL (SELECT r.agent || '@' || r.version = ANY ($3) AS is) ours,
      LATERAL (SELECT r.status IN ('queued', 'waiting') AND coalesce(r.wake_at <= now(), false) AND (r.expires_at IS NULL OR r.started_at IS NOT NULL OR r.expires_at > now()) AND ${IS_HEAD} AS is) due
    WHERE r.tenant_id = $1 AND r.id = $2 AND r.finished_at IS NULL`, values: [tenant, id, machines] });
  return rows[0];
}

/** The running runs that hold permits of the limits this run is under. Without a name, so planned each time: it is rare, and a
 *  plan kept from a young table would read all of the tenant. */
export async function permitHolders(pool: EnginePool, tenant: string, id: string): Promise<PermitHolder[]> {
  const { rows } = await pool.query<PermitHolder>(`
    WITH q AS (SELECT r.tenant_id, r.agent, r.concurrency_key, ${TENANT_LIMIT} AS tenant_most, ${AGENT_LIMIT} AS agent_most FROM agent_runs r WHERE r.tenant_id = $1 AND r.id = $2),
    h AS (SELECT o.id FROM q, agent_runs o WHERE q.tenant_most IS NOT NULL AND ${HOLDS.tenant('$1')} UNION SELECT o.id FROM q, agent_runs o WHERE q.agent_most IS NOT NULL AND ${HOLDS.agent('$1', 'q.agent')}
      UNION SELECT o.id FROM q, agent_runs o WHERE ${HOLDS.key('$1', 'q.concurrency_key')})
    SELECT ${READY}, coalesce(greatest(0, (SELECT extract(epoch FROM w.lease_until - now()) * 1000 FROM workers w WHERE w.incarnation = r.claimed_by AND w.ended_at IS NULL)), 0)::float8 AS "leftMs"
    FROM h JOIN agent_runs r ON r.tenant_id = $1 AND r.id = h.id LEFT JOIN tenants t ON t.id = r.tenant_id WHERE r.status = 'running'`, [tenant, id]);
  return rows;
}

/** Which of these runs are running now. */
export async function stillRunning(pool: EnginePool, tenant: string, ids: readonly string[]): Promise<Set<string>> {
  const { rows } = await pool.query<{ id: string }>({ name: 'still-running', text: `SELECT r.id FROM unnest($2::uuid[]) AS c(i) JOIN agent_runs r ON r.tenant_id = $1 AND r.id = c.i WHERE r.status = 'running'`, values: [tenant, ids] });
  return new Set(rows.map(({ id }) => id));
}

// A run without limits pays nothing, so one that was claimed before its limit was set holds no permit. It gets a number no limit
// reaches, from the sequence of the fences: it counts from now on, is nobody else's, and goes with the run.
const SEAT = `
WITH s AS MATERIALIZED (
  SELECT r.tenant_id, r.id, r.tenant_permit IS NULL AND ${TENANT_LIMIT} IS NOT NULL AS by_tenant, r.agent_permit IS NULL AND ${AGENT_LIMIT} IS NOT NULL AS by_agent FROM agent_runs r
  WHERE r.status = 'running' AND (r.tenant_permit IS NULL AND ${TENANT_LIMIT} IS NOT NULL OR r.agent_permit IS NULL AND ${AGENT_LIMIT} IS NOT NULL) ORDER BY 1, 2 FOR UPDATE OF r
)
UPDATE agent_runs r SET tenant_permit = CASE WHEN s.by_tenant THEN (1::bigint << 40) + nextval('fence_seq') ELSE r.tenant_permit END, agent_permit = CASE WHEN s.by_agent THEN (1::bigint << 40) + nextval('fence_seq') ELSE r.agent_permit END
FROM s WHERE r.tenant_id = s.tenant_id AND r.id = s.id AND r.status = 'running'`;

/** Gives running runs of limits that are new a permit; answers how many there were. */
export async function seatRunning(pool: EnginePool): Promise<number> {
  return (await pool.query({ name: 'seat', text: SEAT })).rowCount ?? 0;
}
