// What a search of memories or summaries stands on, opened as a worker does: embedder, index and Postgres, put away with the file.
import { readConfig } from '../../src/config.ts';
import { withClient } from '../../src/dev/servers/migrate.ts';
import type { Embedder } from '../../src/domain/embedder.ts';
import type { VectorIndex } from '../../src/domain/vector-index.ts';
import { makeLog, type Log } from '../../src/log.ts';
import { makeEmbedder } from '../../src/memory/embedders/make-embedder.ts';
import { indexPending } from '../../src/memory/index-rows.ts';
import { openAppStore, type AppStore } from '../../src/store/app-store.ts';
import { openEnginePool } from '../../src/store/engine/pool.ts';
import { atFileEnd, type TestStack } from './stack.ts';
import { openTestIndex } from './test-index.ts';

export interface SearchGround {
  readonly log: Log;
  readonly embedder: Embedder;
  readonly index: VectorIndex;
  readonly store: AppStore;
  /** As the owner of the schema. */
  sql<R = unknown>(text: string, values?: unknown[]): Promise<R[]>;
  indexAll(): Promise<void>;
}

export async function openSearchGround(stack: TestStack): Promise<SearchGround> {
  const log = makeLog('silent', 'test');
  const embedder = await makeEmbedder(readConfig(stack.env), log);
  const index = await openTestIndex(stack);
  const pool = openEnginePool(stack.databaseUrl, true, 2, log);
  const store = openAppStore({ url: stack.databaseUrl, asRole: true, log, max: 2 });
  atFileEnd(async () => { await Promise.all([pool.end(), store.close(), embedder.close()]); });
  return {
    log, embedder, index, store,
    sql: <R>(text: string, values: unknown[] = []) => withClient(stack.databaseUrl, async (client) => (await client.query(text, values)).rows as R[]),
    indexAll: async () => { while (await indexPending({ pool, index, embedder }, 200) > 0); },
  };
}
