// A look at what Milvus holds, for `mainstay doctor`: it makes nothing, loads nothing and drops nothing.
import { VECTOR_COLLECTIONS, type IndexLook, type VectorCollection, type VectorVersion } from '../domain/vector-index.ts';
import { ask, within } from './milvus-calls.ts';
import { checkIds, chunks, readName, shortAlias } from './milvus-schema.ts';
import { behind, connect, consistency_level, type IndexOptions } from './milvus.ts';

/** Looks at what is there, without making anything; `timeoutMs` for each call. Throws `index_unavailable` when Milvus does not answer. */
export async function lookAtMilvus({ address, token, tls, prefix }: Pick<IndexOptions, 'address' | 'token' | 'tls' | 'prefix'>, timeoutMs: number): Promise<IndexLook> {
  const client = connect({ address, token, tls }, timeoutMs);
  client.connectPromise.catch(() => undefined); // each call reports its own failure
  const close = async (): Promise<void> => { await client.closeConnection().catch(() => undefined); };
  const rows = async (collection: VectorCollection, filter: string, exprValues: Record<string, unknown>, limit: number): Promise<(VectorVersion & { tenant: string })[]> => {
    const query = { collection_name: shortAlias(prefix, collection), filter, exprValues, output_fields: ['id', 'version', 'tenant_id'], limit, params: { iterator: true }, consistency_level, timeout: timeoutMs };
    const { data } = await within('a query', timeoutMs, ask('a query', () => client.query(query)));
    return (data as readonly Record<string, unknown>[]).map((row) => ({ id: String(row['id']), version: Number(row['version']), tenant: String(row['tenant_id']) }));
  };
  try {
    const [{ version }, { data }] = await within('a look', timeoutMs, Promise.all([ask('its version', () => client.getVersion()), ask('the list of collections', () => client.listCollections({ timeout: timeoutMs }))]));
    const count = (collection: VectorCollection): number => new Set(data.flatMap(({ name }) => readName(prefix, collection, name)?.generation ?? [])).size;
    return {
      version: String(version), generations: Object.fromEntries(VECTOR_COLLECTIONS.map((collection) => [collection, count(collection)])) as Record<VectorCollection, number>,
      generation: async (collection) => readName(prefix, collection, await behind(client, shortAlias(prefix, collection), timeoutMs) ?? '')?.generation,
      page: (collection, after, limit) => rows(collection, 'id > {after}', { after }, limit),
      rows: async (collection, ids) => { checkIds(ids); return (await Promise.all(chunks(ids).map((part) => rows(collection, 'id in {ids}', { ids: part }, part.length)))).flat(); },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
