// The vector index on Milvus: the only file that sees its SDK. It speaks to Milvus and to Milvus Lite with the same calls.
// It promises that every request carries the tenant, and that what comes back is looked at again: a row the searcher may
// not see is dropped and logged as an error, whatever the server thought of our filter. Values reach filters only as
// template values, never as text. A server that is down at the start is met again at the first call that finds it up.
import { ConsistencyLevelEnum, MilvusClient } from '@zilliz/milvus2-sdk-node';
import { monoMs, pause } from '../clock.ts';
import { MainstayError, messageOf } from '../domain/errors.ts';
import { isVisible, VECTOR_COLLECTIONS, type Hit, type NearSearch, type Rebuild, type Searcher, type VectorCollection, type VectorIndex, type VectorRow, type VectorSearch, type VectorVersion } from '../domain/vector-index.ts';
import type { Log } from '../log.ts';
import { ask, within } from './milvus-calls.ts';
import { bm25Function, buildName, checkIds, checkName, checkRows, chunks, fieldsOf, filterOf, generationAlias, generationOf, indexesOf, MAX_HITS, nearOf, readName, searchesOf, shortAlias, toFields, type OneList } from './milvus-schema.ts';

export interface IndexOptions {
  /** host:port */
  readonly address: string;
  /** `user:password` or an API key. */
  readonly token?: string | undefined;
  readonly tls: boolean;
  readonly prefix: string;
  /** FLAT is exact and as fast on Milvus Lite; HNSW is for Milvus. */
  readonly denseIndex: 'FLAT' | 'HNSW';
  readonly dimensions: number;
  /** The embedder's; another one is another generation of collections. */
  readonly fingerprint: string;
  /** What the start waits before it goes on without; 15,000 unless told. */
  readonly openMs?: number;
  /** Ids of one page; 10,000 unless told. */
  readonly pageRows?: number;
  readonly log: Log;
}

/** One call of the server at most, where the caller sets no limit of his own. */
const callMs = 10_000;
/** Loading a large collection after a restart of Milvus. */
const loadMs = 60_000;
/** What the start of a process waits for the index before it goes on without. */
const openMs = 15_000;
/** Rows of one page of ids: for each Milvus Lite looks at all rows there are. Milvus answers with 16,384 at most. */
const pageRows = 10_000;
/** What was written and acknowledged is found, at the price of the server's time tick. */
export const consistency_level = ConsistencyLevelEnum.Strong;

interface Session {
  client: MilvusClient;
  /** Its connection failed: of no use any more. */
  failed: boolean;
  readonly options: IndexOptions;
  readonly generation: string;
  /** Full names while they are being filled; unset: the generation's aliases, whatever stands behind them. */
  readonly build?: number;
  /** Set while the collections are being made or are there; cleared when they turn out to be gone. */
  prepared: Promise<void> | undefined;
}

/** Opens the index. Rejects only when the server answers and what it holds cannot be used (`index_rejected`). */
export async function openIndex(options: IndexOptions): Promise<VectorIndex> {
  const session: Session = { client: connect(options), failed: false, options, generation: generationOf(options.fingerprint), prepared: undefined };
  watch(session);
  try {
    await within('the start', options.openMs ?? openMs, prepare(session));
  } catch (error) {
    if (error instanceof MainstayError && error.code === 'index_rejected') { await close(session); throw error; }
    options.log.warn({ error: messageOf(error) }, 'Milvus is not ready; recall is degraded until it is');
  }
  return {
    generation: session.generation,
    ready: () => ready(session),
    upsert: (collection, rows) => write(session, 'upsert', collection, rows),
    delete: (collection, tenant, ids) => remove(session, [nameOf(session, collection)], tenant, ids),
    deleteEverywhere: (collection, tenant, ids) => removeEverywhere(session, collection, tenant, ids),
    search: (collection, request) => within('a search', request.timeoutMs, search(session, collection, request)),
    nearest: (collection, request) => within('a search', request.timeoutMs, nearest(session, collection, request)),
    versions: (collection, tenant, ids) => versions(session, collection, tenant, ids),
    ids: (collection, tenant) => allIds(session, collection, tenant),
    count: (collection, tenant) => count(session, collection, tenant),
    flush: () => flush(session),
    rebuild: () => rebuild(session),
    dropOtherGenerations: () => dropOtherGenerations(session),
    close: () => close(session),
  };
}

/** The SDK greets the server once, and each call of a client whose greeting failed fails with it, for ever. */
function watch(session: Session): void {
  const { client } = session;
  client.connectPromise.catch(() => { session.failed = session.client === client; }); // each call reports its own failure
}

export function connect({ address, tls, token }: Pick<IndexOptions, 'address' | 'tls' | 'token'>, timeout = callMs): MilvusClient {
  return new MilvusClient({
    address, ssl: tls, ...(token ? { token } : {}), timeout, maxRetries: 0, // retries have one owner, and it is not the SDK
    telemetry: { enabled: false }, // otherwise the SDK reports our operations and host name
    logLevel: 'error', // its debug lines carry contents
  });
}

/** After a failed greeting another client, which greets again. */
async function reconnect(session: Session): Promise<void> {
  if (!session.failed) return;
  await close(session);
  Object.assign(session, { client: connect(session.options), failed: false });
  watch(session);
}

const aliasOf = ({ options, generation }: Session, collection: VectorCollection): string => generationAlias(options.prefix, collection, generation);
const buildOf = ({ options, generation }: Session, collection: VectorCollection, build: number): string => buildName(options.prefix, collection, generation, build);
const nameOf = (session: Session, collection: VectorCollection): string =>
  (session.build === undefined ? aliasOf(session, collection) : buildOf(session, collection, session.build));

/** A call after the collections are there; when the server says they are gone, the next call makes them again. */
async function asked<T>(session: Session, what: string, call: () => Promise<T>): Promise<T> {
  await prepare(session);
  return ask(what, call, () => { session.prepared = undefined; });
}

// ---- collections

/** Makes what is missing, once; a failure is forgotten, so that the next call tries again. */
function prepare(session: Session): Promise<void> {
  if (session.prepared) return session.prepared;
  const work = session.prepared = makeReady(session);
  work.catch(() => { if (session.prepared === work) session.prepared = undefined; });
  return work;
}

async function makeReady(session: Session): Promise<void> {
  await reconnect(session);
  const { client, options } = session;
  const { version } = await ask('its version', () => client.getVersion());
  await Promise.all(VECTOR_COLLECTIONS.map(async (collection) => {
    const alias = aliasOf(session, collection);
    const name = await behind(session.client, alias) ?? buildOf(session, collection, 1);
    await makeCollection(session, name);
    if (!(await behind(session.client, alias))) await pointAlias(session, alias, name);
    await pointAlias(session, shortAlias(options.prefix, collection), name);
  }));
  options.log.info({ version, embedded: String(version).startsWith('milvus_lite-'), generation: session.generation, denseIndex: options.denseIndex }, 'Milvus is ready');
}

async function makeCollection(session: Session, name: string): Promise<void> {
  if (!(await exists(session, name))) await create(session, name);
  await checkDimensions(session, name);
  await makeIndexes(session, name);
  await load(session, name);
}

/** The collection an alias stands for; undefined where there is no such alias. */
export async function behind(client: MilvusClient, alias: string, timeout = callMs): Promise<string | undefined> {
  try {
    const { collection } = await ask('an alias', () => client.describeAlias({ alias, collection_name: alias, timeout }));
    return collection || undefined;
  } catch (error) {
    if (!(error instanceof MainstayError) || !/not found|not exist/i.test(error.message)) throw error;
    return undefined;
  }
}

const exists = async ({ client }: Session, collection_name: string): Promise<boolean> =>
  Boolean((await ask('a look for a collection', () => client.hasCollection({ collection_name, timeout: callMs }))).value);

async function create(session: Session, collection_name: string): Promise<void> {
  try {
    await ask('making a collection', () => session.client.createCollection({
      collection_name, fields: fieldsOf(session.options.dimensions), functions: [bm25Function],
      enable_dynamic_field: false, consistency_level: 'Strong', timeout: callMs,
    }));
  } catch (error) { // another process may have been first
    if (!(await exists(session, collection_name))) throw error;
  }
}

async function checkDimensions({ client, options }: Session, collection_name: string): Promise<void> {
  const { schema } = await ask('a description', () => client.describeCollection({ collection_name, timeout: callMs }));
  const dense = schema.fields.find((field) => field.name === 'dense');
  const dim = Number(dense?.dim ?? dense?.type_params.find((param) => param.key === 'dim')?.value);
  if (dim !== options.dimensions) throw new MainstayError('index_rejected', `The collection ${collection_name} keeps vectors of ${dim} numbers, the embedder makes ${options.dimensions}.`);
}

async function makeIndexes(session: Session, collection_name: string): Promise<void> {
  const made = await indexed(session, collection_name);
  for (const index of indexesOf(session.options.denseIndex)) {
    if (made.has(index.field_name)) continue;
    try {
      await ask('making an index', () => session.client.createIndex({ collection_name, ...index, timeout: callMs }));
    } catch (error) { // another process may have been first
      if (!(await indexed(session, collection_name)).has(index.field_name)) throw error;
    }
  }
}

/** Names of the fields that have an index; asking for them where none has one is an error of Milvus. */
async function indexed({ client }: Session, collection_name: string): Promise<Set<string>> {
  const found = await ask('the indexes', () => client.describeIndex({ collection_name, timeout: callMs })).catch(() => undefined);
  return new Set(found?.index_descriptions.map((index) => index.field_name));
}

/** A collection is released after a restart of the server. The SDK's own waiting costs 400 ms even when it is loaded. */
async function load({ client }: Session, collection_name: string): Promise<void> {
  await ask('loading', () => client.loadCollectionAsync({ collection_name, timeout: callMs }));
  for (const endMs = monoMs() + loadMs; ; await pause(200)) {
    const { progress } = await ask('the progress of loading', () => client.getLoadingProgress({ collection_name, timeout: callMs }));
    if (Number(progress) >= 100) return;
    if (monoMs() > endMs) throw new MainstayError('index_unavailable', `Milvus has loaded ${progress} % of ${collection_name}.`);
  }
}

async function pointAlias({ client }: Session, alias: string, collection_name: string): Promise<void> {
  await ask('moving an alias', () => client.alterAlias({ alias, collection_name, timeout: callMs }))
    .catch(() => ask('making an alias', () => client.createAlias({ alias, collection_name, timeout: callMs })));
}

/** Full names of a collection in all generations of this prefix. */
async function generationsOf(session: Session, collection: VectorCollection): Promise<string[]> {
  const { data } = await asked(session, 'the list of collections', () => session.client.listCollections({ timeout: callMs }));
  return data.map(({ name }) => name).filter((name) => readName(session.options.prefix, collection, name) !== undefined);
}

/** Milvus deletes by a filter in what is loaded only, and nobody has loaded old generations since it last started. */
async function loadedGenerations(session: Session, collection: VectorCollection): Promise<string[]> {
  const names = await generationsOf(session, collection);
  for (const name of names) { await makeIndexes(session, name); await load(session, name); }
  return names;
}

async function dropOtherGenerations(session: Session): Promise<string[]> {
  const dropped: string[] = [];
  for (const collection of VECTOR_COLLECTIONS) {
    for (const name of (await generationsOf(session, collection)).filter((one) => readName(session.options.prefix, collection, one)?.generation !== session.generation)) {
      await drop(session, collection, name);
      dropped.push(name);
    }
  }
  return dropped;
}

/** With the aliases that stand for it: Milvus refuses to drop what has one. */
async function drop(session: Session, collection: VectorCollection, collection_name: string): Promise<void> {
  const { prefix } = session.options;
  const { generation = '' } = readName(prefix, collection, collection_name) ?? {};
  const aliases = [generationAlias(prefix, collection, generation), shortAlias(prefix, collection)];
  for (const alias of aliases) if (await behind(session.client, alias) === collection_name) await ask('dropping an alias', () => session.client.dropAlias({ alias, timeout: callMs }));
  await asked(session, 'dropping a collection', () => session.client.dropCollection({ collection_name, timeout: callMs }));
}

// ---- fresh collections

/** Builds of this generation that are there, by number, of one collection. */
async function buildsOf(session: Session, collection: VectorCollection): Promise<number[]> {
  const names = (await generationsOf(session, collection)).map((name) => readName(session.options.prefix, collection, name));
  return names.flatMap((name) => (name?.generation === session.generation && name.build !== undefined ? [name.build] : []));
}

async function rebuild(session: Session): Promise<Rebuild> {
  await prepare(session);
  const there = (await Promise.all(VECTOR_COLLECTIONS.map((collection) => buildsOf(session, collection)))).flat();
  const build = Math.max(0, ...there) + 1;
  for (const collection of VECTOR_COLLECTIONS) await makeCollection(session, buildOf(session, collection, build));
  const fresh: Session = { ...session, build, prepared: Promise.resolve() };
  return {
    insert: (collection, rows) => write(fresh, 'insert', collection, rows),
    flush: () => flush(fresh),
    cutOver: async () => {
      for (const collection of VECTOR_COLLECTIONS) for (const alias of [aliasOf(session, collection), shortAlias(session.options.prefix, collection)]) await pointAlias(session, alias, nameOf(fresh, collection));
      for (const collection of VECTOR_COLLECTIONS) {
        for (const old of await buildsOf(session, collection)) if (old !== build) await drop(session, collection, buildOf(session, collection, old));
      }
    },
    abandon: async () => { for (const collection of VECTOR_COLLECTIONS) await drop(session, collection, nameOf(fresh, collection)); },
  };
}

const ready = (session: Session): Promise<boolean> => within('a health check', 2_000, prepare(session))
  .then(() => within('a health check', 1_000, ask('a health check', () => session.client.getVersion()))).then(() => true, () => false);

// ---- rows

/** `insert` looks for no older row: for collections that hold none of these. */
async function write(session: Session, how: 'insert' | 'upsert', collection: VectorCollection, rows: readonly VectorRow[]): Promise<void> {
  checkRows(rows, session.options.dimensions);
  for (const part of chunks(rows)) {
    const call = { collection_name: nameOf(session, collection), data: part.map(toFields), timeout: callMs };
    const reply = await asked(session, `an ${how}`, () => session.client[how](call));
    const written = Number(how === 'insert' ? reply.insert_cnt : reply.upsert_cnt);
    if (written !== part.length) throw new MainstayError('index_unavailable', `Milvus took ${written} of ${part.length} rows.`);
  }
}

async function remove(session: Session, names: readonly string[], tenant: string, ids: readonly string[]): Promise<void> {
  checkName('tenant', tenant);
  checkIds(ids);
  if (ids.length === 0) return;
  for (const collection_name of names) {
    for (const part of chunks(ids)) {
      await asked(session, 'a delete', () => session.client.delete({
        collection_name, filter: 'tenant_id == {tenant} and id in {ids}', exprValues: { tenant, ids: part }, consistency_level: 'Strong', timeout: callMs,
      }));
    }
  }
}

/** Of every generation, fresh collections that are being filled included; each is asked afterwards. */
async function removeEverywhere(session: Session, collection: VectorCollection, tenant: string, ids: readonly string[]): Promise<void> {
  const names = ids.length === 0 ? [] : await loadedGenerations(session, collection);
  await remove(session, names, tenant, ids);
  const left = (await Promise.all(names.map((name) => these(session, name, tenant, ids)))).flat().length;
  if (left > 0) throw new MainstayError('index_unavailable', `${left} rows are still there after their deletion.`);
}

const versions = async (session: Session, collection: VectorCollection, tenant: string, ids: readonly string[]): Promise<Map<string, number>> =>
  new Map((await these(session, nameOf(session, collection), tenant, ids)).map(({ id, version }) => [id, version]));

async function these(session: Session, collection_name: string, tenant: string, ids: readonly string[]): Promise<VectorVersion[]> {
  checkIds(ids);
  return (await Promise.all(chunks(ids).map((part) => query(session, collection_name, tenant, 'id in {ids}', { ids: part }, part.length)))).flat();
}

/** Pages by id: the SDK's iterator returns other rows than there are, and offsets end at 16,384. */
async function allIds(session: Session, collection: VectorCollection, tenant: string): Promise<VectorVersion[]> {
  const all: VectorVersion[] = [];
  const limit = session.options.pageRows ?? pageRows;
  for (let last = ''; ;) {
    const page = await query(session, nameOf(session, collection), tenant, 'id > {last}', { last }, limit);
    page.sort((a, b) => (a.id < b.id ? -1 : 1));
    all.push(...page);
    const end = page.at(-1);
    if (!end || page.length < limit) return all;
    last = end.id;
  }
}

async function query(session: Session, collection_name: string, tenant: string, and: string, values: Record<string, unknown>, limit: number): Promise<VectorVersion[]> {
  checkName('tenant', tenant);
  const { data } = await asked(session, 'a query', () => session.client.query({
    collection_name, filter: `tenant_id == {tenant} and ${and}`, exprValues: { tenant, ...values },
    output_fields: ['id', 'version', 'tenant_id'], limit, params: { iterator: true }, consistency_level, timeout: callMs,
  }));
  return (data as readonly Record<string, unknown>[]).filter((row) => row['tenant_id'] === tenant).map((row) => ({ id: String(row['id']), version: Number(row['version']) }));
}

async function count(session: Session, collection: VectorCollection, tenant: string): Promise<number> {
  checkName('tenant', tenant);
  const { data } = await asked(session, 'a count', () => session.client.query({
    collection_name: nameOf(session, collection), filter: 'tenant_id == {tenant}', exprValues: { tenant }, output_fields: ['count(*)'], consistency_level, timeout: callMs,
  }));
  return Number((data[0] as Record<string, unknown> | undefined)?.['count(*)'] ?? 0);
}

/** By name of the collections: Milvus flushes none by an alias. */
const flush = async (session: Session): Promise<void> => {
  await prepare(session);
  const names = await Promise.all(VECTOR_COLLECTIONS.map(async (collection) => (session.build === undefined ? await behind(session.client, nameOf(session, collection)) : undefined) ?? nameOf(session, collection)));
  await asked(session, 'a flush', () => session.client.flushSync({ collection_names: names, timeout: loadMs }));
};

// ---- search

async function search(session: Session, collection: VectorCollection, request: VectorSearch): Promise<{ dense: Hit[]; sparse: Hit[] }> {
  const searches = searchesOf(request, session.options);
  const [dense, sparse] = await Promise.all([searches.dense ? hits(session, collection, request, searches.dense) : [], searches.sparse ? hits(session, collection, request, searches.sparse) : []]);
  return { dense, sparse };
}

async function hits(session: Session, collection: VectorCollection, request: VectorSearch, list: OneList): Promise<Hit[]> {
  const rows = (await asked(session, 'a search', () => session.client.search({
    collection_name: nameOf(session, collection), ...list, ...filterOf(collection, request), limit: request.limit, output_fields: READ, consistency_level, timeout: request.timeoutMs,
  }))).results;
  const found = visibleOf(session, collection, request, rows).map((row, index) => ({ id: String(row['id']), score: (list.metric_type === 'BM25' ? Math.abs : Number)(Number(row['score'])), rank: index + 1 })); // Milvus Lite's BM25 scores are negative
  request.heard?.(found);
  return found;
}

/** All vectors in one request, which can carry one filter only: it lets through what any of them asks for, and each takes its own. */
async function nearest(session: Session, collection: VectorCollection, request: NearSearch): Promise<Hit[][]> {
  const { queries, limit, timeoutMs } = request;
  if (queries.length === 0) return [];
  const { kinds, list } = nearOf(request, session.options);
  const { results } = await asked(session, 'a search', () => session.client.search({
    collection_name: nameOf(session, collection), ...list, ...filterOf(collection, request, kinds), limit: Math.min(limit * kinds.count, MAX_HITS), output_fields: READ, consistency_level, timeout: timeoutMs,
  }));
  const lists = (queries.length === 1 ? [results] : results) as readonly Row[][]; // as the SDK answers one vector
  return queries.map(({ scope, type }, at) => visibleOf(session, collection, request, lists[at] ?? []).filter((row) => row['scope'] === scope && row['type'] === type).slice(0, limit)
    .map((row, index) => ({ id: String(row['id']), score: Number(row['score']), rank: index + 1 })));
}

type Row = Readonly<Record<string, unknown>>;
const READ = ['id', 'tenant_id', 'user_id', 'agent', 'scope', 'type'];

/** What came back and may be seen. */
function visibleOf(session: Session, collection: VectorCollection, searcher: Searcher, rows: readonly Row[]): Row[] {
  const visible = rows.filter((row) => isVisible(collection, { tenant: String(row['tenant_id']), scope: String(row['scope']), user: String(row['user_id']), agent: String(row['agent']) }, searcher));
  if (visible.length < rows.length) session.options.log.error({ collection, foreign: rows.length - visible.length }, 'Milvus returned rows outside of the filter; they were dropped');
  return visible;
}

const close = async ({ client }: Session): Promise<void> => { await client.closeConnection().catch(() => undefined); };
