// The index as Postgres says it should be. `auditIndex` compares and, if asked, repairs: vectors of rows that no longer hold go, rows
// whose vector is missing or old are owed again and brought, rows that are as they should be are marked. `reindex` fills fresh
// collections from every live row (vectors kept in Postgres, so that a model is needed only for what was never embedded or for another
// embedder), lets everybody's calls go over to them at once, and audits what was written meanwhile. Reads and writes go on throughout.
import type { VectorCollection, VectorRow } from '../domain/vector-index.ts';
import { liveRows, liveVersions, markIndexed, oweAgain, tenantsOf, type IndexedTable, type OwedRow } from '../store/engine/index-rows.ts';
import { COLLECTION, indexRows, TABLES, vectorRows, type IndexDeps } from './index-rows.ts';

/** Rows of one collection: `missing` from the index or there in an older version; `ghosts` in the index that no longer hold. */
export interface Drift { readonly collection: VectorCollection; readonly rows: number; readonly missing: number; readonly ghosts: number }

/** Rows read, embedded and written at a time. */
const PAGE = 1_000;
const FIRST = { tenant: '', id: '00000000-0000-0000-0000-000000000000' };

/** Throws index_unavailable or embedder_failed; what was repaired stays. Rows that are owed anyway are no drift. */
export async function auditIndex(deps: IndexDeps, repair: boolean): Promise<Drift[]> {
  const found: Drift[] = [];
  for (const table of TABLES) {
    const sum = { rows: 0, missing: 0, ghosts: 0 };
    for (const tenant of await tenantsOf(deps.pool, table)) {
      const { rows, missing, ghosts } = await auditTenant(deps, table, tenant, repair);
      sum.rows += rows; sum.missing += missing; sum.ghosts += ghosts;
    }
    found.push({ collection: COLLECTION[table], ...sum });
  }
  return found;
}

async function auditTenant(deps: IndexDeps, table: IndexedTable, tenant: string, repair: boolean): Promise<Omit<Drift, 'collection'>> {
  const { pool, index } = deps;
  // The index first: what it held then was in Postgres before, and a row that has ended never holds again.
  const held = new Map((await index.ids(COLLECTION[table], tenant)).map(({ id, version }) => [id, version]));
  const live = await liveVersions(pool, table, index.generation, tenant);
  const wanted = new Set(live.map(({ id }) => id));
  const ghosts = [...held.keys()].filter((id) => !wanted.has(id));
  const missing = live.filter(({ id, version, indexed }) => indexed && held.get(id) !== version);
  if (repair) {
    await index.deleteEverywhere(COLLECTION[table], tenant, ghosts); // also in what a reindex under way is filling or has just replaced
    const right = live.filter(({ id, version, indexed }) => !indexed && held.get(id) === version).map(({ id, version }) => ({ tenant, id, version }));
    await inPages(right, (page) => markIndexed(pool, table, index.generation, page));
    await inPages(missing.map(({ id, version }) => ({ tenant, id, version })), (page) => oweAgain(pool, table, page));
    await inPages(live.filter(({ id, version }) => held.get(id) !== version), (page) => indexRows(deps, table, tenant, page.map(({ id }) => id)));
  }
  return { rows: live.length, missing: missing.length, ghosts: ghosts.length };
}

async function inPages<T>(items: readonly T[], work: (page: readonly T[]) => Promise<unknown>): Promise<void> {
  for (let at = 0; at < items.length; at += PAGE) await work(items.slice(at, at + PAGE));
}

export interface Reindexed { /** Written into the fresh collections. */ readonly rows: number; /** Found different afterwards, and put right. */ readonly drift: readonly Drift[] }

/** Throws index_unavailable or embedder_failed; before the change-over what was begun is dropped and nothing has changed. */
export async function reindex(deps: IndexDeps, say: (rows: number) => void): Promise<Reindexed> {
  const fresh = await deps.index.rebuild();
  let rows = 0;
  let writing = Promise.resolve();
  try {
    for (const table of TABLES) {
      for await (const page of pagesOf(deps, table)) {
        const before = writing; // two at a time: while the index takes one, the other is made ready for it
        writing = fresh.insert(COLLECTION[table], page).then(() => say(rows += page.length));
        writing.catch(() => undefined); // met at the next turn, or below
        await before;
      }
    }
    await writing;
    await fresh.flush();
  } catch (error) {
    await writing.catch(() => undefined);
    await fresh.abandon().catch(() => undefined); // named by its build: the next reindex takes another number and drops it
    throw error;
  }
  await fresh.cutOver();
  return { rows, drift: await auditIndex(deps, true) };
}

/** Every live row with its vector, a page at a time; the next one is read while the last is written. */
async function* pagesOf(deps: IndexDeps, table: IndexedTable): AsyncGenerator<VectorRow[]> {
  const read = async (after: { tenant: string; id: string }): Promise<{ page: VectorRow[]; last: OwedRow | undefined }> => {
    const rows = await liveRows(deps.pool, table, { embedder: deps.embedder.fingerprint }, after, PAGE);
    return { page: await vectorRows(deps, table, rows), last: rows.at(-1) };
  };
  for (let next = read(FIRST); ;) {
    const { page, last } = await next;
    if (!last) return;
    next = read(last);
    next.catch(() => undefined); // met at the next turn, if there is one
    yield page;
  }
}
