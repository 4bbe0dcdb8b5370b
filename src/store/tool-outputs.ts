// Large answers of a finished run's tools, kept as documents: which there are, and each stored once, whatever is done twice.
import { documentHash, textHash, type Chunk } from '../domain/document.ts';
import type { TenantTx } from './app-store.ts';
import { addChunks } from './documents.ts';

export interface LargeOutput { readonly stepSeq: number; readonly path: string; readonly tool: string; /** Reference to the object store. */ readonly blob: string }

/** In order, the same answer once. What was asked for under a scope or a dataset is not there: it would outlive the permission. */
export async function largeOutputs(tx: TenantTx, run: string, limit: number): Promise<LargeOutput[]> {
  return tx.db.$queryRawUnsafe<LargeOutput[]>(`
    SELECT step_seq AS "stepSeq", path, tool, response_blob AS blob FROM (
      SELECT DISTINCT ON (response_blob) step_seq, path, tool, response_blob FROM tool_calls
      WHERE tenant_id = $1 AND run_id = $2::uuid AND status = 'succeeded' AND response_blob IS NOT NULL AND response_meta ->> 'searchable' = 'true' ORDER BY response_blob, step_seq, path COLLATE "C"
    ) k ORDER BY step_seq, path COLLATE "C" LIMIT $3::int`, tx.scope.tenant, run, limit);
}

export interface NewOutput extends LargeOutput {
  /** uuid; those of its chunks, one each, in order */
  readonly id: string;
  readonly chunkIds: readonly string[];
  readonly run: string;
  readonly user: string;
  readonly agent: string;
  readonly text: string;
  readonly chunks: readonly Chunk[];
}

/** False: this call's answer is there, or the same answer of the same tool to this user and agent from another run. Nothing is kept of a run that was
 *  erased meanwhile. */
export async function addToolOutput(tx: TenantTx, one: NewOutput): Promise<boolean> {
  const hash = documentHash({ user: one.user, agent: one.agent, source: undefined }, `tool:${one.tool}`, one.text).toString('hex');
  const added = await tx.db.$executeRawUnsafe(`
    INSERT INTO documents (tenant_id, id, user_id, agent, kind, title, hash, bytes, chunks, run_id, step_seq, path, tool, added_by)
    SELECT tenant_id, $3::uuid, user_id, agent, 'tool_output', $4, decode($5, 'hex'), $6::int, $7::int, id, $8::int, $9, $4, 'run:' || id FROM agent_runs WHERE tenant_id = $1 AND id = $2::uuid AND erased_at IS NULL FOR SHARE
    ON CONFLICT DO NOTHING`, tx.scope.tenant, one.run, one.id, one.tool, hash, Buffer.byteLength(one.text), one.chunks.length, one.stepSeq, one.path);
  if (added === 1) await addChunks(tx, one);
  return added === 1;
}

/** What makes two answers the same: writers of one tenant take them in this order. */
export const outputOrder = ({ tool, text }: Pick<NewOutput, 'tool' | 'text'>): string => `${textHash(text).toString('hex')} ${tool}`;
