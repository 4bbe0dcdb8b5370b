// Looks at Milvus, past its proxy: for each tenant the index must hold the live memories of Postgres in their present version,
// and no other.
import { makeLog } from '../../src/log.ts';
import { readConfig } from '../../src/config.ts';
import { makeEmbedder } from '../../src/memory/embedders/make-embedder.ts';
import type { Evidence } from './check-runs.ts';
import type { Look } from './invariants.ts';
import { TENANTS } from './traffic.ts';

export async function indexMatches({ stand }: Evidence): Promise<Look> {
  const { openIndex } = await import('../../src/memory/milvus.ts'); // Milvus' SDK is slow to load, and most of a run does without
  const config = readConfig({ ...stand.env, DATABASE_URL: stand.databaseUrl, MILVUS_ADDRESS: stand.milvusAddress });
  const log = makeLog('silent', 'chaos');
  const embedder = await makeEmbedder(config, log);
  const index = await openIndex({ address: config.MILVUS_ADDRESS, token: undefined, tls: false, prefix: config.MILVUS_PREFIX, denseIndex: config.MILVUS_DENSE_INDEX, dimensions: embedder.dimensions, fingerprint: embedder.fingerprint, log });
  try {
    const live = await stand.rows<{ tenant: string; id: string; version: number }>(`SELECT tenant_id AS tenant, id, version FROM memories WHERE valid_to IS NULL`);
    const wrong: string[] = [];
    for (const tenant of TENANTS) {
      const there = new Map((await index.ids('memories', tenant)).map(({ id, version }) => [id, version]));
      const mine = new Map(live.filter((row) => row.tenant === tenant).map(({ id, version }) => [id, version]));
      wrong.push(...[...mine].filter(([id, version]) => there.get(id) !== version).map(([id, version]) => `memory ${id} of ${tenant} is at version ${version}, in the index ${there.get(id) ?? 'it is not'}`));
      wrong.push(...[...there.keys()].filter((id) => !mine.has(id)).map((id) => `the index holds ${id} of ${tenant}, which is no live memory`));
    }
    return { evidence: live.length, wrong };
  } finally {
    await index.close();
    await embedder.close();
  }
}
