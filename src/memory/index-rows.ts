// Brings the vector index up to what Postgres says: vectors of live rows in, those of overtaken ones out. Safe to run
// anywhere and twice: the row is marked last and only in the version that was written; a row that changed meanwhile is owed
// again, one that ended or is gone is taken out again, so that neither a stale text nor a closed memory stays behind a mark that says
// otherwise and nothing that was erased comes back.
import type { Embedder } from '../domain/embedder.ts';
import { clipBytes, type VectorIndex, type VectorRow } from '../domain/vector-index.ts';
import { faultPoint } from '../fault-points.ts';
import { keepVectors, markIndexed, owedAmong, owedRows, oweAgain, rowsNow, type IndexedTable, type OwedRow, type Space } from '../store/engine/index-rows.ts';
import type { EnginePool } from '../store/engine/pool.ts';

export interface IndexDeps {
  readonly pool: EnginePool;
  readonly index: VectorIndex;
  readonly embedder: Embedder;
}

export const COLLECTION = { memories: 'memories', run_summaries: 'conversation_summaries', document_chunks: 'run_artifacts' } as const;
export const TABLES = ['memories', 'run_summaries', 'document_chunks'] as const;

/** Rows of this tenant among `ids` that are owed. Throws index_unavailable or embedder_failed; nothing is lost then. */
export async function indexRows(deps: IndexDeps, table: IndexedTable, tenant: string, ids: readonly string[]): Promise<number> {
  return bring(deps, table, await owedAmong(deps.pool, table, spaceOf(deps), tenant, ids));
}

/** What is owed: up to `limit` rows of each table. `all`: those of other generations too (a new embedder). Answers how many. */
export async function indexPending(deps: IndexDeps, limit: number, all = false, tables: readonly IndexedTable[] = TABLES): Promise<number> {
  let done = 0;
  for (const table of tables) done += await bring(deps, table, await owedRows(deps.pool, table, spaceOf(deps), limit, all));
  return done;
}

async function bring(deps: IndexDeps, table: IndexedTable, rows: readonly OwedRow[]): Promise<number> {
  const live = rows.filter((row) => row.live);
  if (live.length > 0) {
    await deps.index.upsert(COLLECTION[table], await vectorRows(deps, table, live));
  }
  await removeClosed(deps, table, rows.filter((row) => !row.live));
  if (rows.length === 0) return 0;
  faultPoint('vectors-written');
  const changed = await markIndexed(deps.pool, table, deps.index.generation, rows);
  if (changed.length > 0) await settleChanged(deps, table, changed);
  return rows.length - changed.length;
}

const spaceOf = ({ index, embedder }: Pick<IndexDeps, 'index' | 'embedder'>): Space => ({ generation: index.generation, embedder: embedder.fingerprint });

/** What the index is to hold of these rows; a row is embedded once, its vector is kept in Postgres. */
export async function vectorRows({ pool, embedder }: Pick<IndexDeps, 'pool' | 'embedder'>, table: IndexedTable, rows: readonly OwedRow[]): Promise<VectorRow[]> {
  const missing = rows.filter((row) => row.vector === undefined);
  const made = missing.length === 0 ? [] : await embedder.embed(missing.map(meaningOf), 'document');
  const fresh = missing.map((row, at) => ({ ...row, vector: made[at] ?? [] }));
  if (fresh.length > 0) await keepVectors(pool, table, embedder.fingerprint, fresh);
  const vectors = new Map(fresh.map((row) => [row.id, row.vector]));
  return rows.map((row) => toVectorRow(row, row.vector ?? vectors.get(row.id) ?? []));
}

async function removeClosed(deps: IndexDeps, table: IndexedTable, rows: readonly Pick<OwedRow, 'tenant' | 'id'>[]): Promise<void> {
  for (const tenant of new Set(rows.map((row) => row.tenant))) await deps.index.delete(COLLECTION[table], tenant, rows.filter((row) => row.tenant === tenant).map((row) => row.id));
}

/** Another writer moved on between our read and our mark: what we wrote is old. Owed again first, so that a crash here loses nothing. A row
 *  that an erasure has deleted owes nothing any more: what we brought of it since goes here, its cached vector too. */
async function settleChanged(deps: IndexDeps, table: IndexedTable, changed: readonly OwedRow[]): Promise<void> {
  await oweAgain(deps.pool, table, changed);
  const live = new Set((await rowsNow(deps.pool, table, changed)).filter((row) => row.live).map(({ tenant, id }) => `${tenant} ${id}`));
  const over = changed.filter(({ tenant, id }) => !live.has(`${tenant} ${id}`));
  await removeClosed(deps, table, over);
  await deps.embedder.forget?.(over.map(meaningOf));
}

/** What the dense vector stands for: the statement alone, so that cosines compare statements. The beginning of a long text says the most. */
const meaningOf = (row: OwedRow): string => embedded(row.text);
/** As it is given to the embedder, and to the cache in front of it. */
export const embedded = (text: string): string => clipBytes(text, 2_000);

const toVectorRow = (row: OwedRow, vector: readonly number[]): VectorRow => ({
  id: row.id, tenant: row.tenant, user: row.user, agent: row.agent, scope: row.scope, type: row.type, version: row.version, vector, text: clipBytes(row.words),
});
