// May this run's user make this call? Deny by default: scopes and dataset are asked of Postgres at this moment, before any
// cache; every access to a dataset leaves its line, allowed or not.
import { MainstayError } from '../domain/errors.ts';
import type { Tool } from '../domain/tool.ts';
import { auditAccess, permissionsOf, type Permissions } from '../store/engine/context.ts';
import type { Place } from '../store/engine/ledger.ts';
import type { EnginePool } from '../store/engine/pool.ts';

/** `args`: as the tool's schema reads them. Undefined = it may. */
export async function refusal(pool: EnginePool, tool: Tool, args: unknown, user: string | undefined, place: Place): Promise<MainstayError | undefined> {
  const dataset = tool.dataset?.(args as never);
  if (tool.scopes.length === 0 && dataset === undefined) return undefined;
  const permitted: Pick<Permissions, 'scopes' | 'datasets'> = user === undefined ? { scopes: [], datasets: [] } : await permissionsOf(pool, place.tenant, user);
  const missing = tool.scopes.find((scope) => !permitted.scopes.includes(scope));
  const allowed = missing === undefined && (dataset === undefined || permitted.datasets.includes(dataset));
  if (dataset !== undefined || !allowed) {
    await auditAccess(pool, { tenant: place.tenant, actor: `run:${place.run}`, user, action: `tool.${tool.name}`, objectType: dataset === undefined ? 'scope' : 'dataset', objectId: dataset ?? missing ?? '', allowed });
  }
  if (allowed) return undefined;
  return new MainstayError('tool_denied', dataset !== undefined && missing === undefined ? `The user may not read the dataset "${dataset}".` : `The user does not hold the scope "${missing}".`);
}
