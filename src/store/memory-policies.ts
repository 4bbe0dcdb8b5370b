// A tenant's settings of memory, by version (a version is never changed: verdicts name it), and which memories are pinned.
import { canonicalJson } from '../domain/json.ts';
import { changedSettings, NOTHING_SET, type MemoryPolicy, type MemorySettings } from '../domain/memory-settings.ts';
import type { Thresholds } from '../domain/gate-policy.ts';
import type { TenantTx } from './app-store.ts';

/** The newest, or the one of this version. */
export async function memoryPolicy(tx: TenantTx, version?: number): Promise<MemoryPolicy> {
  const [row] = await tx.db.$queryRawUnsafe<(Omit<MemoryPolicy, 'measured' | 'version'> & { version: number | null; measured: (Omit<Thresholds, 'embedder'> & { embedder: string })[] | null })[]>(
    `SELECT p.*, e.measured FROM (
       SELECT json_agg(json_build_object('embedder', embedder, 'high', high, 'low', low, 'pairs', pairs, 'calibratedAt', to_char(calibrated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')) ORDER BY embedder) AS measured FROM embedder_thresholds) e
     LEFT JOIN LATERAL (SELECT version, settings, created_by AS "setBy", created_at AS "setAt" FROM memory_policies WHERE tenant_id = $1 AND ($2::int IS NULL OR version = $2::int) ORDER BY version DESC LIMIT 1) p ON true`, tx.scope.tenant, version ?? null);
  const measured = (row?.measured ?? []).map((one) => ({ ...one, embedder: `^${one.embedder.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}$` }));
  return row?.version ? { version: row.version, settings: row.settings, setBy: row.setBy, setAt: row.setAt, measured } : { ...NOTHING_SET, measured };
}

/** Makes a version of the present settings with this change; none where nothing changes. Throws `bad_request` for what contradicts itself. */
export async function setMemoryPolicy(tx: TenantTx, change: MemorySettings, by: string): Promise<{ readonly changed: boolean; readonly policy: MemoryPolicy }> {
  await tx.db.$executeRawUnsafe(`SELECT pg_advisory_xact_lock(hashtextextended('memory_policy:' || $1, 0))`, tx.scope.tenant);
  const present = await memoryPolicy(tx);
  const settings = changedSettings(present.settings, change);
  if (canonicalJson(settings) === canonicalJson(present.settings)) return { changed: false, policy: present };
  await tx.db.$executeRawUnsafe(`INSERT INTO memory_policies (tenant_id, version, settings, created_by) VALUES ($1, $2::int, $3::json, $4)`, tx.scope.tenant, present.version + 1, JSON.stringify(settings), by);
  return { changed: true, policy: await memoryPolicy(tx) };
}

/** The memory's row is the caller's to have seen. */
export async function pinMemory(tx: TenantTx, id: string, pinned: boolean): Promise<void> {
  await tx.db.$executeRawUnsafe(`UPDATE memories SET pinned = $3::boolean WHERE tenant_id = $1 AND id = $2::uuid`, tx.scope.tenant, id, pinned);
}
