// Brings chunks of documents to the index, and deletes what was removed once every generation of the index has let go of it. By itself
// and not a part of maintenance's sweep: a thousand chunks take a model minutes, and nothing else may wait for them.
import { monoMs } from '../clock.ts';
import { ERASE_PAGE, SWEEP_MS } from '../domain/tunables.ts';
import type { Log } from '../log.ts';
import type { Service } from '../service.ts';
import { dropEmptyDocuments, emptiedChunks, expireReplaced } from '../store/engine/documents.ts';
import { dropEmptied } from '../store/engine/erase.ts';
import { leaderLoop } from '../store/leader-loop.ts';
import { indexPending, type IndexDeps } from './index-rows.ts';

/** First key of the leader's advisory lock. */
const LOCK_CLASS = 0x6d64;
/** Chunks embedded and written in one go: a stop waits for no more, some seconds of the built-in model on a busy machine. */
const AT_ONCE = 16;
/** Between two looks for what was removed or has outlived its time. */
const REMOVED_MS = 10_000;

export function makeDocumentService(deps: IndexDeps & { readonly log: Log }): Service {
  let lookMs = 0;
  return leaderLoop({
    name: 'documents', pool: deps.pool, log: deps.log, lockClass: LOCK_CLASS, everyMs: SWEEP_MS, failed: 'documents could not be indexed; they are tried again',
    round: async (signal) => {
      if (monoMs() >= lookMs) {
        lookMs = monoMs() + REMOVED_MS;
        await dropRemoved(deps);
      }
      while (!signal.aborted && (await indexPending(deps, AT_ONCE, false, ['document_chunks'])) > 0);
    },
  });
}

/** Removed documents, and versions that were replaced long ago (a page of these at a time). Rejects when the index does not answer: they stay owed. */
export async function dropRemoved({ pool, index }: Pick<IndexDeps, 'pool' | 'index'>): Promise<void> {
  await expireReplaced(pool, ERASE_PAGE);
  for (let page = await emptiedChunks(pool, ERASE_PAGE); page.size > 0; page = await emptiedChunks(pool, ERASE_PAGE)) {
    for (const [tenant, ids] of page) {
      await index.deleteEverywhere('run_artifacts', tenant, ids);
      await dropEmptied(pool, 'document_chunks', tenant, ids);
      await dropEmptyDocuments(pool, tenant);
    }
  }
}
