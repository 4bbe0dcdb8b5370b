// The memory parts of a worker: embedder, vector index, recall, and the machine that remembers. Built before the rest,
// because its machine is among those the process registers.
import type { Config } from '../src/config.ts';
import type { Embedder } from '../src/domain/embedder.ts';
import type { Machine } from '../src/domain/machine.ts';
import { codeOf, messageOf } from '../src/domain/errors.ts';
import { RECALL_TIMEOUT_MS } from '../src/domain/tunables.ts';
import type { VectorIndex } from '../src/domain/vector-index.ts';
import { RecallCache } from '../src/limits/recall-cache.ts';
import { cachedEmbedder } from '../src/memory/embedders/cached.ts';
import { makeEmbedder } from '../src/memory/embedders/make-embedder.ts';
import { makeDocumentService } from '../src/memory/document-service.ts';
import { makeFindPassages, type FindPassages } from '../src/memory/find-chunks.ts';
import { makeFindMemories, type FindMemories } from '../src/memory/find-memories.ts';
import { makeFindSummaries, type FindSummaries } from '../src/memory/find-summaries.ts';
import { indexPending } from '../src/memory/index-rows.ts';
import type { IndexOptions } from '../src/memory/milvus.ts';
import { readDocumentMachine } from '../src/memory/read-document.ts';
import { makeRecall } from '../src/memory/recall.ts';
import { REMEMBER, rememberKey, rememberMachine } from '../src/memory/remember.ts';
import { makeIndexWatch } from '../src/memory/watch-index.ts';
import { makeSearchDocuments } from '../src/memory/search-documents.ts';
import { READ_DOCUMENT, readKey } from '../src/domain/read-document.ts';
import { makeEraser } from '../src/run/erase.ts';
import type { Recaller } from '../src/run/recaller.ts';
import type { Service } from '../src/service.ts';
import { openAppStore, type AppStore } from '../src/store/app-store.ts';
import type { OwedReading } from '../src/store/engine/documents.ts';
import type { IndexedTable } from '../src/store/engine/index-rows.ts';
import type { OwedRun } from '../src/store/engine/sweeps.ts';
import type { Base, Ground } from './assemble.ts';

export interface MemoryParts {
  readonly machines: readonly Machine[];
  readonly recaller: Recaller;
  readonly embedder: Embedder;
  /** Brings rows that the index owes, up to `limit` of each table (all of them unless told); `all`: also those of another generation. */
  indexPending(limit: number, all?: boolean, tables?: readonly IndexedTable[]): Promise<number>;
  /** Brings chunks of documents, submits the runs that read them, and deletes removed ones. */
  documents(base: Base): Service;
  /** Finds out when the index has lost what it is said to hold. */
  readonly watch: Service;
  /** Carries out requested erasures. */
  eraser(base: Base): Service;
  close(): Promise<void>;
}

export interface LazySearch { readonly findPassages: FindPassages; readonly findMemories: FindMemories; readonly findSummaries: FindSummaries; close(): Promise<void> }

/** Search of documents, memories and summaries for a process that has no other use of memory: embedder and index are opened by the first search. */
export function assembleSearch({ config, log, metrics, keys, redis }: Omit<Ground, 'pool' | 'blobs' | 'redisPolicy'>, store: AppStore): LazySearch {
  let opened: Promise<{ embedder: Embedder; index: VectorIndex }> | undefined;
  const open = async (): Promise<{ embedder: Embedder; index: VectorIndex }> => {
    const [own, { openIndex }] = await Promise.all([makeEmbedder(config, log), import('../src/memory/milvus.ts')]);
    const embedder = cachedEmbedder(own, redis, keys);
    return { embedder, index: await openIndex({ ...indexOptions(config, embedder), openMs: RECALL_TIMEOUT_MS, log }) };
  };
  const deps = async () => {
    opened ??= open().catch((error: unknown) => { opened = undefined; throw error; });
    return { store, ...(await opened), log, fuser: config.RECALL_FUSER };
  };
  return {
    findPassages: async (request) => makeFindPassages({ ...await deps(), metrics })(request),
    findMemories: async (request, limit) => makeFindMemories(await deps())(request, limit),
    findSummaries: async (request) => makeFindSummaries(await deps())(request),
    close: async () => {
      const parts = await opened?.catch(() => undefined); // what did not open needs no close
      await Promise.allSettled([parts?.index.close(), parts?.embedder.close()]);
    },
  };
}

const indexOptions = (config: Config, { dimensions, fingerprint }: Embedder): Omit<IndexOptions, 'log'> => ({
  address: config.MILVUS_ADDRESS, token: config.MILVUS_TOKEN, tls: config.MILVUS_TLS, prefix: config.MILVUS_PREFIX, denseIndex: config.MILVUS_DENSE_INDEX, dimensions, fingerprint,
});

export async function assembleMemory({ config, log, metrics, keys, redis, pool, blobs }: Ground): Promise<MemoryParts> {
  // Milvus' SDK takes half a second to load: it does so while the embedding model does.
  const [own, { openIndex }] = await Promise.all([makeEmbedder(config, log), import('../src/memory/milvus.ts')]);
  const embedder = cachedEmbedder(own, redis, keys);
  const index = await openIndex({ ...indexOptions(config, embedder), log });
  const store = openAppStore({ url: config.DATABASE_APP_URL ?? config.DATABASE_URL, asRole: config.DATABASE_APP_URL === undefined, log });
  const parts = { store, index, embedder, pool, metrics, log, fuser: config.RECALL_FUSER };
  const remembering = { ...parts, blobs, outputs: { most: config.TOOL_OUTPUTS, bytes: config.TOOL_OUTPUT_BYTES }, model: config.MEMORY_MODEL };
  return {
    machines: [rememberMachine(remembering), readDocumentMachine(remembering)],
    embedder,
    recaller: { ...makeRecall({ ...parts, cache: new RecallCache(redis, keys), holdout: config.MEMORY_HOLDOUT, leaveOneOut: config.MEMORY_LEAVE_ONE_OUT }), searchDocuments: makeSearchDocuments(store, makeFindPassages(parts)) },
    documents: (base) => makeDocumentService({ ...parts, read: (one, part) => read(base, one, part) }),
    watch: makeIndexWatch(parts),
    indexPending: (limit, all, tables) => indexPending(parts, limit, all, tables).catch((error: unknown) => {
      if (codeOf(error) !== 'index_unavailable' && codeOf(error) !== 'embedder_failed') throw error;
      return 0; // said by the index itself; the rows stay owed
    }),
    eraser: ({ blobs }) => makeEraser({ pool, redis, keys, blobs, index, fingerprint: embedder.fingerprint, signingKey: config.ERASURE_KEY, log }),
    close: async () => { await Promise.allSettled([store.close(), index.close(), embedder.close()]); },
  };
}

/** Submits the remembering run of a finished one, in the same lane: where nobody waited for the answer nobody waits for what was learnt. Safe to
 *  call twice. Never rejects: maintenance asks again. */
export async function remember({ submit, log }: Base, { tenant, id, user, lane }: OwedRun): Promise<void> {
  try {
    await submit({ tenant, door: 'internal', agent: REMEMBER, input: { run: id }, user: user ?? undefined, lane: lane ?? undefined, parent: id, idempotencyKey: rememberKey(id) });
  } catch (error) {
    log.warn({ run: id, error: messageOf(error) }, 'remembering was not submitted: maintenance will');
  }
}

/** Submits the run that reads a part of a document. Safe to call twice. */
export const read = ({ submit }: Base, { tenant, document, user }: OwedReading, part: number): Promise<unknown> =>
  submit({ tenant, door: 'internal', agent: READ_DOCUMENT, input: { document, part }, user: user ?? undefined, idempotencyKey: readKey(document, part) });
