// The vector index as the test's fleet has it: same prefix, same embedder, so the same collections. Closed at the end of the file.
import { readConfig } from '../../src/config.ts';
import type { VectorIndex } from '../../src/domain/vector-index.ts';
import { makeLog } from '../../src/log.ts';
import { makeEmbedder } from '../../src/memory/embedders/make-embedder.ts';
import { openIndex } from '../../src/memory/milvus.ts';
import { atFileEnd, type TestStack } from './stack.ts';

export async function openTestIndex(stack: TestStack): Promise<VectorIndex> {
  const config = readConfig(stack.env);
  const log = makeLog('silent', 'test');
  const embedder = await makeEmbedder(config, log);
  const { dimensions, fingerprint } = embedder;
  await embedder.close();
  const index = await openIndex({ address: config.MILVUS_ADDRESS, tls: false, prefix: config.MILVUS_PREFIX, denseIndex: config.MILVUS_DENSE_INDEX, dimensions, fingerprint, log });
  atFileEnd(() => index.close());
  return index;
}
