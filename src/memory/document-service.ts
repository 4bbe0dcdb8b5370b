// Brings chunks of documents to the index, and deletes what was removed once every generation of the index has let go of it. By itself
// and not a part of maintenance's sweep: a thousand chunks take a model minutes, and nothing else may wait for them.
import { monoMs } from '../clock.ts';
import { CHUNKS_OF_PART } from '../domain/read-document.ts';
import { ERASE_PAGE, SWEEP_MS } from '../domain/tunables.ts';
import type { Log } from '../log.ts';
import type { Service } from '../service.ts';
import { dropEmptyDocuments, emptiedChunks, eraseReaders, expireReplaced, owedReadings, readingsSubmitted, type OwedReading } from '../store/engine/documents.ts';
import { dropEmptied } from '../store/engine/erase.ts';
import { leaderLoop } from '../store/leader-loop.ts';
import { indexPending, type IndexDeps } from './index-rows.ts';

/** First key of the leader's advisory lock. */
const LOCK_CLASS = 0x6d64;
/** Chunks embedded and written in one go: a stop waits for no more, some seconds of the built-in model on a busy machine. */
const AT_ONCE = 16;
/** Between two looks for what was removed or has outlived its time. */
const REMOVED_MS = 10_000;

export interface DocumentDeps extends IndexDeps {
  readonly log: Log;
  /** Submits the run that reads a part of a document; safe to call twice. */
  readonly read: (one: OwedReading, part: number) => Promise<unknown>;
}

export function makeDocumentService(deps: DocumentDeps): Service {
  let lookMs = 0;
  return leaderLoop({
    name: 'documents', pool: deps.pool, log: deps.log, lockClass: LOCK_CLASS, everyMs: SWEEP_MS, failed: 'documents could not be indexed; they are tried again',
    round: async (signal) => {
      await submitReadings(deps);
      if (monoMs() >= lookMs) {
        lookMs = monoMs() + REMOVED_MS;
        await dropRemoved(deps);
      }
      while (!signal.aborted && (await indexPending(deps, AT_ONCE, false, ['document_chunks'])) > 0);
    },
  });
}

/** Runs for each part of the documents whose notes were asked for. */
export async function submitReadings({ pool, read }: Pick<DocumentDeps, 'pool' | 'read'>): Promise<void> {
  for (const one of await owedReadings(pool, ERASE_PAGE)) {
    for (let part = 0; part * CHUNKS_OF_PART < one.chunks; part++) await read(one, part);
    await readingsSubmitted(pool, one);
  }
}

/** Removed documents, and versions that were replaced long ago (a page of these at a time). Rejects when the index does not answer: they stay owed. */
export async function dropRemoved({ pool, index }: Pick<IndexDeps, 'pool' | 'index'>): Promise<void> {
  await expireReplaced(pool, ERASE_PAGE);
  await eraseReaders(pool, ERASE_PAGE);
  for (let page = await emptiedChunks(pool, ERASE_PAGE); page.size > 0; page = await emptiedChunks(pool, ERASE_PAGE)) {
    for (const [tenant, ids] of page) {
      await index.deleteEverywhere('run_artifacts', tenant, ids);
      await dropEmptied(pool, 'document_chunks', tenant, ids);
      await dropEmptyDocuments(pool, tenant);
    }
  }
}
