// Feedback on memories and runs, under the app's row-level security: once for each who says it; a second word replaces the first.
import { hasFailed, praised, TRIED_USES, type MemoryFeedback, type Rate } from '../domain/feedback.ts';
import type { TenantTx } from './app-store.ts';
import { CLOSED } from './memory-sql.ts';

/** No run in particular. */
const NO_RUN = '00000000-0000-0000-0000-000000000000';

export interface MemoryWord { readonly memory: string; readonly run: string | undefined; readonly actor: string; readonly verdict: MemoryFeedback }

/** False: the same was said before, and nothing changes. The memory's row is the caller's to have seen. */
export async function sayOfMemory(tx: TenantTx, { memory, run = NO_RUN, actor, verdict }: MemoryWord): Promise<boolean> {
  const said = await tx.db.$executeRawUnsafe(`
    INSERT INTO memory_feedback AS f (tenant_id, memory_id, actor, run_id, verdict) VALUES ($1, $2::uuid, $3, $4::uuid, $5)
    ON CONFLICT (tenant_id, memory_id, actor, run_id) DO UPDATE SET verdict = excluded.verdict, created_at = now() WHERE f.verdict <> excluded.verdict`, tx.scope.tenant, memory, actor, run, verdict);
  if (said === 0) return false;
  if (verdict === 'useful') {
    const [row] = await tx.db.$queryRawUnsafe<{ confidence: number }[]>(`SELECT confidence FROM memories WHERE tenant_id = $1 AND id = $2::uuid AND valid_to IS NULL FOR UPDATE`, tx.scope.tenant, memory);
    if (row) await tx.db.$executeRawUnsafe(`UPDATE memories SET confidence = $3::float8, last_seen_at = now() WHERE tenant_id = $1 AND id = $2::uuid`, tx.scope.tenant, memory, praised(row.confidence));
  } else {
    // What never held is closed at its beginning, so that no look into the past finds it either.
    await tx.db.$executeRawUnsafe(`UPDATE memories SET valid_to = CASE WHEN $3 = 'wrong' THEN valid_from ELSE greatest(valid_from, now()) END, version = version + 1, indexed_generation = NULL WHERE tenant_id = $1 AND id = $2::uuid AND valid_to IS NULL`, tx.scope.tenant, memory, verdict);
  }
  return true;
}

export interface MemoryUse { readonly run: string; readonly agent: string; readonly cited: boolean; /** null: the run is not remembered yet, or never is */ readonly supported: boolean | null; readonly at: Date; readonly feedback: MemoryFeedback | null }

/** Runs it was shown to, the newest first. */
export async function usesOf(tx: TenantTx, memory: string, limit: number): Promise<MemoryUse[]> {
  return tx.db.$queryRawUnsafe<MemoryUse[]>(`
    SELECT t.run_id::text AS run, r.agent, bool_or($2::uuid = ANY (t.cited)) AS cited, CASE WHEN r.memory_state IN ('done', 'summary_missing') THEN bool_or($2::uuid = ANY (t.supported)) END AS supported, max(t.created_at) AS at, (SELECT f.verdict FROM memory_feedback f WHERE f.tenant_id = $1 AND f.memory_id = $2::uuid AND f.run_id = t.run_id ORDER BY f.created_at DESC LIMIT 1) AS feedback
    FROM retrieval_traces t JOIN agent_runs r ON r.tenant_id = t.tenant_id AND r.id = t.run_id
    WHERE t.tenant_id = $1 AND t.injected @> ARRAY[$2::uuid] GROUP BY t.run_id, r.agent, r.memory_state ORDER BY at DESC LIMIT $3::int`, tx.scope.tenant, memory, limit);
}

export interface RunWord { readonly run: string; readonly actor: string; readonly satisfied: boolean | undefined; readonly resolved: boolean | undefined; readonly handlingMs: number | undefined }

/** What is left out stays as it was said before. */
export async function sayOfRun(tx: TenantTx, { run, actor, satisfied, resolved, handlingMs }: RunWord): Promise<void> {
  await tx.db.$executeRawUnsafe(`
    INSERT INTO run_feedback AS f (tenant_id, run_id, actor, satisfied, resolved, handling_ms) VALUES ($1, $2::uuid, $3, $4::boolean, $5::boolean, $6::bigint)
    ON CONFLICT (tenant_id, run_id, actor) DO UPDATE SET satisfied = coalesce(excluded.satisfied, f.satisfied), resolved = coalesce(excluded.resolved, f.resolved), handling_ms = coalesce(excluded.handling_ms, f.handling_ms), created_at = now()`,
  tx.scope.tenant, run, actor, satisfied ?? null, resolved ?? null, handlingMs ?? null);
}

export interface Failed { readonly id: string; readonly user: string | null; readonly uses: Rate }

/**
 * Closes the procedures this run has cited that have failed by now; answers them. Within the scope of a user only the user's own: that scope
 * does not see what came of others' runs. What is pinned stays.
 */
export async function closeFailed(tx: TenantTx, run: string): Promise<Failed[]> {
  const { tenant, user } = tx.scope;
  // Held before it is counted: of two words at once the second counts the first.
  const cited = await tx.db.$queryRawUnsafe<{ id: string; user: string | null }[]>(`
    SELECT id::text AS id, user_id AS "user" FROM memories WHERE tenant_id = $1 AND type = 'procedure' AND valid_to IS NULL AND NOT pinned AND ($3::text IS NULL OR scope = 'user')
      AND id IN (SELECT unnest(cited) FROM retrieval_traces WHERE tenant_id = $1 AND run_id = $2::uuid) ORDER BY id FOR UPDATE`, tenant, run, user ?? null);
  const failed: Failed[] = [];
  for (const one of cited) {
    const [uses] = await tx.db.$queryRawUnsafe<Rate[]>(`
      SELECT count(*)::int AS n, coalesce(sum(share), 0)::float8 AS yes FROM (
        SELECT avg(coalesce(f.resolved, f.satisfied)::int) AS share FROM retrieval_traces t JOIN run_feedback f ON f.tenant_id = t.tenant_id AND f.run_id = t.run_id AND coalesce(f.resolved, f.satisfied) IS NOT NULL
        WHERE t.tenant_id = $1 AND t.injected @> ARRAY[$2::uuid] AND $2::uuid = ANY (t.cited) GROUP BY t.run_id ORDER BY max(t.created_at) DESC, t.run_id LIMIT ${TRIED_USES}) u`, tenant, one.id);
    if (!uses || !hasFailed(uses)) continue;
    await tx.db.$executeRawUnsafe(`UPDATE memories SET ${CLOSED} WHERE tenant_id = $1 AND id = $2::uuid`, tenant, one.id);
    failed.push({ ...one, uses });
  }
  return failed;
}
