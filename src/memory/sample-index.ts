// A cheap look at how far the vector index and Postgres have come apart: so many rows and so many vectors, at random where there are
// more, each looked for on the other side, and what differs looked at once more, for both go on meanwhile. It changes nothing;
// what is owed is no drift. `auditIndex` counts everything.
import type { IndexLook, VectorCollection } from '../domain/vector-index.ts';
import { countElsewhere, rowsNow, sampleIndexed, type IndexedTable } from '../store/engine/index-rows.ts';
import type { EnginePool } from '../store/engine/pool.ts';
import { COLLECTION, TABLES } from './index-rows.ts';

export interface SampledDrift {
  readonly collection: VectorCollection;
  /** Live rows that were looked for in the index, and those it does not hold in their version. */
  readonly rows: number;
  readonly missing: number;
  /** Vectors that were looked for in Postgres, and those of no live row. */
  readonly vectors: number;
  readonly ghosts: number;
  /** Live rows, of all, that are in the collections of another embedder. */
  readonly elsewhere: number;
}

/** Of each collection that is there. Throws `index_unavailable`, and what Postgres throws. */
export async function sampleDrift(pool: EnginePool, look: IndexLook, limit: number): Promise<SampledDrift[]> {
  const found: SampledDrift[] = [];
  for (const table of TABLES) {
    const generation = await look.generation(COLLECTION[table]);
    if (generation !== undefined) found.push(await sampleTable(pool, look, table, generation, limit));
  }
  return found;
}

async function sampleTable(pool: EnginePool, look: IndexLook, table: IndexedTable, generation: string, limit: number): Promise<SampledDrift> {
  const collection = COLLECTION[table];
  const marked = await sampleIndexed(pool, table, generation, limit);
  const held = new Map((await look.rows(collection, marked.map(({ id }) => id))).map((row) => [row.id, row.version]));
  const lost = await rowsNow(pool, table, marked.filter(({ id, version }) => held.get(id) !== version));
  const missing = lost.filter((row) => row.live && row.generation === generation && marked.some(({ id, version }) => id === row.id && version === row.version));

  const isAll = marked.length < limit;
  const vectors = await look.page(collection, isAll ? '' : marked[Math.floor(Math.random() * marked.length)]?.id ?? '', limit);
  const rows = new Map((await rowsNow(pool, table, vectors)).map((row) => [`${row.tenant} ${row.id}`, row]));
  const odd = vectors.filter(({ tenant, id }) => { const row = rows.get(`${tenant} ${id}`); return row === undefined || (!row.live && row.generation !== null); });
  const ghosts = await look.rows(collection, odd.map(({ id }) => id)); // a vector goes before its row does
  return { collection, rows: marked.length, missing: missing.length, vectors: vectors.length, ghosts: ghosts.length, elsewhere: await countElsewhere(pool, table, generation) };
}
