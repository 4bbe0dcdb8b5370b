// Looks at Milvus, past its proxy: for each tenant the index must hold the live rows of Postgres in their present version, and no other.
import { makeLog } from '../../src/log.ts';
import { readConfig } from '../../src/config.ts';
import { makeEmbedder } from '../../src/memory/embedders/make-embedder.ts';
import { indexHolds } from '../support/check-memory.ts';
import type { Evidence } from './check-runs.ts';
import type { Look } from './invariants.ts';

export async function indexMatches({ stand }: Evidence): Promise<Look> {
  const { openIndex } = await import('../../src/memory/milvus.ts'); // Milvus' SDK is slow to load, and most of a run does without
  const config = readConfig({ ...stand.env, DATABASE_URL: stand.databaseUrl, MILVUS_ADDRESS: stand.milvusAddress });
  const log = makeLog('silent', 'chaos');
  const embedder = await makeEmbedder(config, log);
  const index = await openIndex({ address: config.MILVUS_ADDRESS, token: undefined, tls: false, prefix: config.MILVUS_PREFIX, denseIndex: config.MILVUS_DENSE_INDEX, dimensions: embedder.dimensions, fingerprint: embedder.fingerprint, log });
  try {
    return await indexHolds({ rows: (text, values) => stand.rows(text, values), index });
  } finally {
    await index.close();
    await embedder.close();
  }
}
