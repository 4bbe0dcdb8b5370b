// Finds out when the index has lost what it is said to hold: collections that were dropped or restored under a running fleet are made again,
// empty, while rows of Postgres still say that they are in them. So many rows are looked for, at random; what is not there is owed again, and
// where it is most of them all are. The change of the rows raises their epochs: nothing of what such an index answered is told again.
import type { Log } from '../log.ts';
import type { Service } from '../service.ts';
import { INDEX_LOOK_MS, INDEX_LOOK_ROWS } from '../domain/tunables.ts';
import { oweAgain, oweAllAgain, rowsNow, sampleIndexed, type IndexedTable } from '../store/engine/index-rows.ts';
import { leaderLoop } from '../store/leader-loop.ts';
import { COLLECTION, TABLES, type IndexDeps } from './index-rows.ts';

type WatchDeps = Pick<IndexDeps, 'pool' | 'index'> & { readonly log: Log };

/** First key of the leader's advisory lock. */
const LOCK_CLASS = 0x6d69;

export function makeIndexWatch(deps: WatchDeps): Service {
  return leaderLoop({
    name: 'index watch', pool: deps.pool, log: deps.log, lockClass: LOCK_CLASS, everyMs: INDEX_LOOK_MS, failed: 'the index was not looked at; it is looked at again',
    round: async () => { await oweLost(deps, INDEX_LOOK_ROWS); },
  });
}

/** Looks for up to `limit` rows of each table; answers how many are owed again. Throws `index_unavailable`, and what Postgres throws. */
export async function oweLost({ pool, index, log }: WatchDeps, limit: number): Promise<number> {
  let owed = 0;
  for (const table of TABLES) {
    const { looked, lost } = await lookFor({ pool, index }, table, limit);
    if (lost.length === 0) continue;
    const isMost = lost.length * 2 >= looked;
    if (!isMost) await oweAgain(pool, table, lost);
    const rows = isMost ? await oweAllAgain(pool, table, index.generation) : lost.length;
    log.warn({ collection: COLLECTION[table], looked, lost: lost.length, owed: rows }, 'the index has lost rows it is said to hold; they are brought again');
    owed += rows;
  }
  return owed;
}

/** A row that changed or ended while it was looked for is not lost. */
async function lookFor({ pool, index }: Pick<WatchDeps, 'pool' | 'index'>, table: IndexedTable, limit: number) {
  const marked = await sampleIndexed(pool, table, index.generation, limit);
  const missing: typeof marked = [];
  for (const [tenant, rows] of Map.groupBy(marked, (row) => row.tenant)) {
    const held = await index.versions(COLLECTION[table], tenant, rows.map(({ id }) => id));
    missing.push(...rows.filter(({ id, version }) => held.get(id) !== version));
  }
  const versions = new Map(missing.map((row) => [`${row.tenant} ${row.id}`, row.version]));
  const now = await rowsNow(pool, table, missing);
  return { looked: marked.length, lost: now.filter((row) => row.live && row.generation === index.generation && versions.get(`${row.tenant} ${row.id}`) === row.version) };
}
