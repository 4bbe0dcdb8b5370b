// What a correction reads and writes in Postgres: the row, held; what else would say the same; and the row that takes its place, with
// its lineage, so that whoever erases one version erases all of them.
import type { LiveMemory } from '../domain/gate-input.ts';
import type { TenantTx } from './app-store.ts';
import { CLOSED, COPY, RUNS_OF } from './memory-sql.ts';

export interface LockedMemory extends Pick<LiveMemory, 'id' | 'scope' | 'user' | 'agent' | 'type' | 'subject' | 'attribute' | 'value' | 'statement'> {
  readonly version: number;
  readonly live: boolean;
  readonly pinned: boolean;
  readonly rollsUp: boolean;
}

/** Held until the transaction ends. */
export async function lockMemory(tx: TenantTx, id: string): Promise<LockedMemory | undefined> {
  const [row] = await tx.db.$queryRawUnsafe<LockedMemory[]>(`
    SELECT id::text AS id, scope::text AS scope, user_id AS "user", agent, type::text AS type, subject, attribute, value, statement, version, valid_to IS NULL AS live, pinned, rolls_up AS "rollsUp"
    FROM memories WHERE tenant_id = $1 AND id = $2::uuid FOR UPDATE`, tx.scope.tenant, id);
  return row;
}

/** Whether another memory that holds has these words or this place. `hash`: hexadecimal. */
export async function heldLike(tx: TenantTx, id: string, hash: string, slot: string | null): Promise<boolean> {
  const rows = await tx.db.$queryRawUnsafe<unknown[]>(`SELECT 1 FROM memories WHERE tenant_id = $1 AND id <> $2::uuid AND valid_to IS NULL AND (hash = decode($3, 'hex') OR slot = $4) LIMIT 1`, tx.scope.tenant, id, hash, slot);
  return rows.length > 0;
}

export interface Replacement { readonly old: string; readonly id: string; readonly statement: string; readonly value: string; readonly hash: string; readonly slot: string | null; readonly pinned: boolean; readonly by: string }

/** Closes the old row and writes the new one, which a person vouches for. The index is owed both. */
export async function replaceMemory(tx: TenantTx, { old, id, by, hash, ...rest }: Replacement): Promise<void> {
  const { tenant } = tx.scope;
  await tx.db.$executeRawUnsafe(`UPDATE memories SET ${CLOSED}, superseded_by = $3::uuid WHERE tenant_id = $1 AND id = $2::uuid`, tenant, old, id);
  const change = { id, ...rest, hash: `\\x${hash}`, source_role: 'user', confidence: 1, valid_to: null, superseded_by: null, version: 1, indexed_generation: null };
  await tx.db.$executeRawUnsafe(COPY(`'valid_from', greatest(m.valid_from, now()), 'last_seen_at', now(), 'created_at', now(),
    'evidence', m.evidence::jsonb || jsonb_build_array(jsonb_build_object('run_id', m.run_id, 'event_id', 'correction', 'quote', $4::text, 'by', $5::text))`),
  tenant, old, JSON.stringify(change), rest.statement, by);
  await tx.db.$executeRawUnsafe(`
    INSERT INTO memory_lineage (tenant_id, child_id, source_id, user_id, runs, line, said_at)
    SELECT m.tenant_id, $3::uuid, m.id, m.user_id, ${RUNS_OF}, '', now()
    FROM memories m WHERE m.tenant_id = $1 AND m.id = $2::uuid`, tenant, old, id);
}
