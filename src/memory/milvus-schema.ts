// What a collection of the index is called, what it looks like, what may enter it and who may see it. Pure data and checks,
// so that nothing wrong reaches the server: Milvus and Milvus Lite accept NaN, zero vectors and empty ids, and count the length of a text differently.
import { createHash } from 'node:crypto';
import { MainstayError } from '../domain/errors.ts';
import { MEMORY_SCOPES } from '../domain/status.ts';
import { VECTOR_TEXT_BYTES, type NearSearch, type Searcher, type VectorCollection, type VectorRow, type VectorSearch } from '../domain/vector-index.ts';

/** A name has at most MAX_NAME (200) characters, so at most 800 bytes; Milvus counts bytes. */
const nameBytes = 1_024;
const typeBytes = 64;
/** Raised when fields below or what is written into them change: a new schema is a new generation, never an altered collection. */
const schemaVersion = 2;

/** The part of a collection's name that stands for the vector space. */
export const generationOf = (fingerprint: string): string =>
  `g${createHash('sha256').update(`${schemaVersion}\n${fingerprint}`).digest('hex').slice(0, 12)}`;

/** The short alias shows people and tools the newest generation. Our own calls use the generation's: two spaces are never mixed. */
export const shortAlias = (prefix: string, collection: VectorCollection): string => `${prefix}_${collection}`;
/** An alias: what stands behind it is a build, so that a fresh one can take its place between two calls. */
export const generationAlias = (prefix: string, collection: VectorCollection, generation: string): string => `${shortAlias(prefix, collection)}_${generation}`;
export const buildName = (prefix: string, collection: VectorCollection, generation: string, build: number): string => `${generationAlias(prefix, collection, generation)}_b${build}`;

/** What a collection's name says; undefined where it is none of this prefix. Collections older than builds have none. */
export function readName(prefix: string, collection: VectorCollection, name: string): { readonly generation: string; readonly build: number | undefined } | undefined {
  const [, generation, build] = new RegExp(`^${shortAlias(prefix, collection)}_(g[0-9a-f]{12})(?:_b([0-9]+))?$`).exec(name) ?? [];
  return generation === undefined ? undefined : { generation, build: build === undefined ? undefined : Number(build) };
}

export const fieldsOf = (dimensions: number) => [
  { name: 'id', data_type: 'VarChar' as const, max_length: 36, is_primary_key: true, autoID: false },
  { name: 'tenant_id', data_type: 'VarChar' as const, max_length: nameBytes, is_partition_key: true },
  { name: 'user_id', data_type: 'VarChar' as const, max_length: nameBytes },
  { name: 'agent', data_type: 'VarChar' as const, max_length: nameBytes },
  { name: 'scope', data_type: 'VarChar' as const, max_length: typeBytes },
  { name: 'type', data_type: 'VarChar' as const, max_length: typeBytes },
  { name: 'version', data_type: 'Int64' as const },
  { name: 'text', data_type: 'VarChar' as const, max_length: VECTOR_TEXT_BYTES, enable_analyzer: true },
  { name: 'dense', data_type: 'FloatVector' as const, dim: dimensions },
  { name: 'sparse', data_type: 'SparseFloatVector' as const },
];

export const bm25Function = { name: 'text_bm25', type: 'BM25' as const, input_field_names: ['text'], output_field_names: ['sparse'], params: {} };

/** HNSW's build: 16 neighbours and 200 candidates are Milvus' own recommendation for a recall above .95. */
export const indexesOf = (dense: 'FLAT' | 'HNSW') => [
  { field_name: 'dense', index_name: 'dense', index_type: dense, metric_type: 'COSINE', params: dense === 'HNSW' ? { M: 16, efConstruction: 200 } : {} },
  { field_name: 'sparse', index_name: 'sparse', index_type: 'SPARSE_INVERTED_INDEX', metric_type: 'BM25', params: {} },
];

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

const refuse = (what: string): never => { throw new MainstayError('index_rejected', `${what}.`); };

/** Ids go into filters; only uuids may, and lower case, so that they sort alike everywhere. */
export function checkIds(ids: readonly string[]): void {
  for (const id of ids) if (!uuid.test(id)) refuse('an id of the index is not a lower-case uuid');
}

export function checkName(what: string, name: string): void {
  if (name === '') refuse(`${what} is empty`);
  checkText(what, name, nameBytes);
}

function checkText(what: string, text: string, maxBytes: number): void {
  if (!text.isWellFormed()) refuse(`${what} contains half of a surrogate pair`);
  if (Buffer.byteLength(text) > maxBytes) refuse(`${what} is longer than ${maxBytes} bytes`);
}

export function checkVector(vector: readonly number[], dimensions: number): void {
  if (vector.length !== dimensions) refuse(`a vector has ${vector.length} numbers, this index keeps ${dimensions}`);
  let squares = 0;
  for (const value of vector) {
    if (typeof value !== 'number' || !Number.isFinite(value)) refuse('a vector contains something that is no finite number');
    squares += value * value;
  }
  if (!(squares > 0) || !Number.isFinite(squares)) refuse('a vector has no length');
}

/** Throws `index_rejected` for a batch with anything wrong in it: nothing of it is sent. */
export function checkRows(rows: readonly VectorRow[], dimensions: number): void {
  checkIds(rows.map((row) => row.id));
  if (new Set(rows.map((row) => row.id)).size !== rows.length) refuse('a batch holds the same id twice');
  for (const row of rows) {
    checkName('tenant', row.tenant);
    checkText('user', row.user ?? '', nameBytes);
    checkText('agent', row.agent ?? '', nameBytes);
    if (!MEMORY_SCOPES.includes(row.scope)) refuse('a row has an unknown scope');
    if (row.scope === 'user' && !row.user) refuse('a row of scope user names no user');
    if (row.scope === 'agent' && !row.agent) refuse('a row of scope agent names no agent');
    checkText('type', row.type, typeBytes);
    if (!Number.isSafeInteger(row.version)) refuse('a version is no whole number');
    checkText('text', row.text, VECTOR_TEXT_BYTES);
    checkVector(row.vector, dimensions);
  }
}

/** A row as the collection's fields: every field in every upsert, because an upsert merges. */
export const toFields = (row: VectorRow) => ({
  id: row.id, tenant_id: row.tenant, user_id: row.user ?? '', agent: row.agent ?? '', scope: row.scope, type: row.type,
  version: row.version, text: row.text, dense: [...row.vector],
});

/** Which rows a search may see: the same in both lists, and again in `isVisible`; `kinds`: no others of these. Values go in as template values, never as text. */
export function filterOf(collection: VectorCollection, { tenant, user, agent, type }: Searcher & Pick<VectorSearch, 'type'>, kinds?: Kinds): { filter: string; exprValues: Record<string, unknown> } {
  const narrow = [...(type === undefined ? [] : ['type == {type}']), ...(kinds ? ['scope in {scopes}', 'type in {types}'] : [])];
  const given = Object.entries({ tenant, user, agent, type, scopes: kinds?.scopes, types: kinds?.types }).filter(([, value]) => value !== undefined);
  return { filter: ['tenant_id == {tenant}', ...(collection === 'run_artifacts' ? ofOwner : ofScope)({ user, agent }), ...narrow].join(' and '), exprValues: Object.fromEntries(given) };
}

type Seeing = (search: Pick<Searcher, 'user' | 'agent'>) => string[];

const ofScope: Seeing = ({ user, agent }) =>
  [`(${['scope == "workspace"', ...(user === undefined ? [] : ['(scope == "user" and user_id == {user})']), ...(agent === undefined ? [] : ['(scope == "agent" and agent == {agent})'])].join(' or ')})`];

const ofOwner: Seeing = ({ user, agent }) =>
  [user === undefined ? 'user_id == ""' : '(user_id == "" or user_id == {user})', ...(agent === undefined ? [] : ['(agent == "" or agent == {agent})'])];

/** HNSW's search width: on 10k rows 512 found all of a filtered 200, the default lost up to half of them. */
const ef = 512;

/** Hits of one list; Milvus gives more, and nobody asks for them. */
export const MAX_HITS = 1_000;

export interface OneList { readonly anns_field: string; readonly data: number[] | string; readonly metric_type: string; readonly params: Record<string, unknown> }

type Made = { readonly dimensions: number; readonly denseIndex: 'FLAT' | 'HNSW' };

/** What is searched for by meaning and by words, where there is either. Throws `index_rejected` for a search that is none. */
export function searchesOf(request: VectorSearch, made: Made): { dense?: OneList; sparse?: OneList } {
  checkSearch(request);
  const text = request.text?.toWellFormed().replaceAll('\u0000', ' ').trim();
  return {
    ...(request.vector ? { dense: { ...denseOf([request.vector], request.limit, made), data: [...request.vector] } } : {}),
    ...(text ? { sparse: { anns_field: 'sparse', data: text, metric_type: 'BM25', params: {} } } : {}),
  };
}

/** Scopes and types that any of several vectors asks for; `count`: pairs of them. */
export interface Kinds { readonly scopes: readonly string[]; readonly types: readonly string[]; readonly count: number }

/** Several vectors as one request. Throws as `searchesOf` does. */
export function nearOf(request: NearSearch, made: Made): { kinds: Kinds; list: ReturnType<typeof denseOf> } {
  checkSearch(request);
  const { queries } = request;
  const [scopes, types, pairs] = [queries.map(({ scope }) => scope), queries.map(({ type }) => type), queries.map(({ scope, type }) => `${scope} ${type}`)].map((of) => [...new Set<string>(of)]) as [string[], string[], string[]];
  return { kinds: { scopes, types, count: pairs.length }, list: denseOf(queries.map(({ vector }) => vector), Math.min(request.limit * pairs.length, MAX_HITS), made) };
}

function checkSearch({ tenant, limit }: Pick<VectorSearch, 'tenant' | 'limit'>): void {
  checkName('tenant', tenant);
  if (!Number.isInteger(limit) || limit < 1 || limit > MAX_HITS) refuse('the limit of a search is not 1 to 1,000');
}

function denseOf(vectors: readonly (readonly number[])[], limit: number, { dimensions, denseIndex }: Made) {
  for (const vector of vectors) checkVector(vector, dimensions);
  return { anns_field: 'dense', data: vectors.map((vector) => [...vector]), metric_type: 'COSINE', params: denseIndex === 'HNSW' ? { ef: Math.max(ef, limit) } : {} };
}

/** Rows of one upsert, ids of one filter: below gRPC's and Milvus' limits at 4,096 dimensions. */
const chunk = 500;
export const chunks = <T>(items: readonly T[]): T[][] =>
  Array.from({ length: Math.ceil(items.length / chunk) }, (_, index) => items.slice(index * chunk, (index + 1) * chunk));
