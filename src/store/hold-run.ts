// The guard of what the application writes for a running run (traces, citations, verdicts): first its row, held against a
// takeover until the transaction ends. A worker that has lost the run gets nothing written.
import { MainstayError } from '../domain/errors.ts';
import type { SqlTx } from './app-store.ts';

/** A run as its worker knows it: the fence is the claim's. */
export interface HeldRun { readonly run: string; readonly fence: bigint }

/** Throws `fenced` unless this claim still holds the run. A fence belongs to one claim only, so it names the worker too. */
export async function holdRun(tx: SqlTx, { run, fence }: HeldRun): Promise<void> {
  const rows = await tx.db.$queryRawUnsafe<unknown[]>(`SELECT 1 FROM agent_runs WHERE tenant_id = $1 AND id = $2::uuid AND fence = $3::bigint AND status = 'running' FOR SHARE`, tx.scope.tenant, run, fence);
  if (rows.length !== 1) throw new MainstayError('fenced', 'Another worker holds the run.');
}
