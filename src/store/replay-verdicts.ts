// Stored verdicts with what they were decided on, for judging them again. Reads only.
import type { KeptInputs } from '../domain/gate-basis.ts';
import type { LiveMemory } from '../domain/gate-input.ts';
import type { VerdictDecision } from '../domain/status.ts';
import type { TenantTx } from './app-store.ts';
import type { StoredCandidate } from './remember-run.ts';

export interface StoredVerdict { readonly index: number; readonly decision: VerdictDecision; readonly stage: string; readonly reason: string; readonly candidate: unknown; readonly policy: string; readonly inputsHash: string; readonly target: string | null }
export interface StoredRun { readonly run: string; readonly gateVersion: number; readonly inputs: KeptInputs; readonly verdicts: readonly StoredVerdict[] }

/** Runs whose verdicts keep their inputs, newest first; `before`: a run's id, to go on behind it. */
export async function judgedRuns(tx: TenantTx, before: string | undefined, limit: number): Promise<StoredRun[]> {
  return tx.db.$queryRawUnsafe<StoredRun[]>(`
    SELECT run_id::text AS run, gate_version AS "gateVersion", (array_agg(inputs) FILTER (WHERE inputs IS NOT NULL))[1] AS inputs,
      json_agg(json_build_object('index', index, 'decision', decision, 'stage', stage, 'reason', reason, 'candidate', candidate, 'policy', policy, 'inputsHash', inputs_hash, 'target', target_id) ORDER BY index) AS verdicts
    FROM memory_candidates WHERE tenant_id = $1 AND ($2::uuid IS NULL OR run_id < $2::uuid) AND inputs_hash IS NOT NULL
    GROUP BY run_id, gate_version HAVING count(inputs) > 0 ORDER BY run_id DESC LIMIT $3::int`, tx.scope.tenant, before ?? null, limit);
}

/** These candidates, promoted since or not, in the order asked for; erased ones are missing. */
export async function candidatesOf(tx: TenantTx, keys: KeptInputs['waiting']): Promise<StoredCandidate[]> {
  return tx.db.$queryRawUnsafe<StoredCandidate[]>(`
    SELECT c.run_id::text AS run, c.index, c.scores ->> 'source_found' AS source, r.user_id AS "user", r.agent, c.candidate
    FROM ROWS FROM (json_to_recordset($2::json) AS (run uuid, index int)) WITH ORDINALITY AS k(run, index, place) JOIN memory_candidates c ON c.tenant_id = $1 AND c.run_id = k.run AND c.index = k.index
    JOIN agent_runs r ON r.tenant_id = c.tenant_id AND r.id = c.run_id ORDER BY k.place`, tx.scope.tenant, JSON.stringify(keys));
}

/** These memories as they stand now, live or not; erased ones are missing. */
export async function memoriesOf(tx: TenantTx, ids: readonly string[]): Promise<LiveMemory[]> {
  return tx.db.$queryRawUnsafe<LiveMemory[]>(`
    SELECT id::text AS id, scope::text AS scope, user_id AS "user", agent, type::text AS type, subject, attribute, value, statement, encode(hash, 'hex') AS hash,
      source_role::text AS source, confidence, (extract(epoch FROM valid_from) * 1000)::float8 AS "validFromMs"
    FROM memories WHERE tenant_id = $1 AND id = ANY ($2::uuid[]) AND erased_at IS NULL ORDER BY id`, tx.scope.tenant, [...ids]);
}
