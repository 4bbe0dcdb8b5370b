// Runs that wait because the fleet does not call a model for now.
import type { EnginePool } from './pool.ts';

/** Makes those runs due that wait for a model whose breaker was open, whatever time they were told; answers how many. The workers
 *  find them within a second. */
export async function wakeRefused(pool: EnginePool, model: string): Promise<number> {
  const { rowCount } = await pool.query(`
    WITH h AS (SELECT r.tenant_id, r.id FROM agent_runs r WHERE r.status IN ('queued', 'waiting') AND r.wake_at > now() AND r.wait_reason = 'rate' AND EXISTS (
      SELECT FROM model_calls k WHERE k.tenant_id = r.tenant_id AND k.run_id = r.id AND k.step_seq = r.step_seq + 1 AND k.model = $1 AND k.error_code IN ('breaker_open', 'spend_limit')) ORDER BY 1, 2 FOR UPDATE)
    UPDATE agent_runs r SET status = 'queued', wait_reason = NULL, wake_at = now() FROM h WHERE r.tenant_id = h.tenant_id AND r.id = h.id AND r.wait_reason = 'rate'`, [model]);
  return rowCount ?? 0;
}
