// Documents: added once, listed, read in chunks, searched, removed. Every read leaves an audit line with the ids of what was shown.
// A key that is bound to a user sees what is the tenant's and what is theirs, adds for themselves and removes what is theirs.
import { z } from 'zod';
import { DOCUMENT_BODY_BYTES, DOCUMENT_KINDS } from '../domain/document.ts';
import { MainstayError } from '../domain/errors.ts';
import { addedDocumentSchema, chunkSchema, documentSchema, foundPassagesSchema, newDocumentSchema, type Document as Shown } from '../domain/wire-documents.ts';
import { name, pageOf } from '../domain/wire.ts';
import { parseId, publicId } from '../ids.ts';
import { keepDocument } from '../memory/keep-document.ts';
import { shownPassage } from '../memory/search-documents.ts';
import type { TenantTx } from '../store/app-store.ts';
import { audit } from '../store/audit.ts';
import { chunksOfDocument, getDocument, indexedChunks, listDocuments, removeDocument, type ChunkRow, type Document } from '../store/documents.ts';
import { actorOf, bearerOf, scopeOf } from './access.ts';
import type { ApiApp, RouteDeps } from './api-deps.ts';
import { answers, noQuery } from './openapi.ts';
import { asPage, cursorOf, pageQuery, placeOf } from './pages.ts';
import { runIdOf } from './routes-runs.ts';

const tags = ['documents'];
const params = z.object({ document: z.string().describe('doc_…') });
const listQuery = z.strictObject({
  ...pageQuery, user: name.optional().describe('Of this user; the tenant’s are left out'), agent: name.optional().describe('For this agent alone'), kind: z.enum(DOCUMENT_KINDS).optional(), source: z.string().max(1_000).optional(),
  run: z.string().optional().describe('run_…: what its tools answered'), include: z.literal('replaced').optional().describe('Also older versions'),
});
const searchQuery = z.strictObject({
  q: z.string().trim().min(1).max(2_000).describe('What is looked for, in words'), user: name.optional().describe('Also what is this user’s; unset: what is the tenant’s alone. Implied by a key that is bound to a user'),
  agent: name.optional().describe('As this agent finds it; unset: whatever agent it is for'), kind: z.enum(DOCUMENT_KINDS).optional(), limit: z.coerce.number().int().min(1).max(50).default(10),
});

export function addDocumentRoutes(app: ApiApp, { store, findPassages }: RouteDeps): void {
  app.post('/v1/documents', {
    config: { needs: 'memories:write' }, bodyLimit: DOCUMENT_BODY_BYTES,
    schema: { summary: 'Add a document to be searched; the same again is the same one, another text of a source its next version', tags, querystring: noQuery, body: newDocumentSchema, response: answers({ 202: addedDocumentSchema }) },
  }, async (request, reply) => {
    const bearer = bearerOf(request);
    const { title, text, source, agent, user, extract } = request.body;
    const scope = scopeOf(bearer, user);
    const shown = await store.withTenant(scope, async (tx) => {
      const { id, created } = await keepDocument(tx, { title, text, source, agent, extract, user: scope.user ?? undefined, addedBy: actorOf(bearer) });
      const document = publicId('document', id);
      if (created) await audit(tx, { actor: actorOf(bearer), userId: scope.user, action: 'document.added', objectType: 'document', objectId: document, allowed: true });
      const [one] = await shownOf(tx, [await theDocument(tx, document)]);
      return { ...(one as Shown), created };
    });
    return reply.code(202).header('location', `/v1/documents/${shown.id}`).send(shown); // after the commit: whoever is told finds it
  });

  app.get('/v1/documents', {
    config: { needs: 'memories:read' }, schema: { summary: 'List documents, newest first', tags, querystring: listQuery, response: answers({ 200: pageOf(documentSchema) }) },
  }, async (request) => {
    const { limit, cursor, include, run, ...filter } = request.query;
    const bearer = bearerOf(request);
    const scope = scopeOf(bearer, filter.user);
    const before = placeOf('documents', z.tuple([z.uuid()]), cursor)?.[0];
    const ofRun = run === undefined ? undefined : runIdOf(run);
    return store.withTenant(scope, async (tx) => {
      const page = asPage(await listDocuments(tx, { ...filter, run: ofRun, includeReplaced: include !== undefined, before, limit: limit + 1 }), limit, (row) => row, (row) => cursorOf('documents', [row.id]));
      const data = await shownOf(tx, page.data);
      await audit(tx, { actor: actorOf(bearer), userId: scope.user, action: 'document.read', objectType: 'document', objectId: 'list', allowed: true, details: { ids: data.map(({ id }) => id) } });
      return { data, nextCursor: page.nextCursor };
    });
  });

  app.get('/v1/documents/search', {
    config: { needs: 'memories:read' }, schema: { summary: 'Find passages of documents and of tool outputs', tags, querystring: searchQuery, response: answers({ 200: foundPassagesSchema }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    const { q: query, user: named, agent, kind, limit } = request.query;
    const { tenant, user } = scopeOf(bearer, named);
    const { passages, semantic, degraded } = await findPassages({ tenant, user: user ?? undefined, agent, kind, query, limit });
    const data = passages.map(shownPassage);
    await store.withTenant({ tenant, user }, (tx) => audit(tx, { actor: actorOf(bearer), userId: user, action: 'document.read', objectType: 'document', objectId: 'search', allowed: true, details: { ids: data.map(({ id }) => id) } }));
    return { data, semantic, degraded };
  });

  addOfOne(app, store);
}

function addOfOne(app: ApiApp, store: RouteDeps['store']): void {
  app.get('/v1/documents/:document', {
    config: { needs: 'memories:read' }, schema: { summary: 'One document', tags, params, querystring: noQuery, response: answers({ 200: documentSchema }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    return store.withTenant(scopeOf(bearer), async (tx) => {
      const row = await theDocument(tx, request.params.document);
      await audit(tx, { actor: actorOf(bearer), userId: row.userId, action: 'document.read', objectType: 'document', objectId: publicId('document', row.id), allowed: true });
      return (await shownOf(tx, [row]))[0] as Shown;
    });
  });

  app.get('/v1/documents/:document/chunks', {
    config: { needs: 'memories:read' }, schema: { summary: 'Read a document in its chunks, in order', tags, params, querystring: z.strictObject(pageQuery), response: answers({ 200: pageOf(chunkSchema) }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    const { limit, cursor } = request.query;
    const from = placeOf('chunks', z.tuple([z.int().min(0)]), cursor)?.[0] ?? 0;
    return store.withTenant(scopeOf(bearer), async (tx) => {
      const row = await theDocument(tx, request.params.document);
      await audit(tx, { actor: actorOf(bearer), userId: row.userId, action: 'document.read', objectType: 'document', objectId: publicId('document', row.id), allowed: true });
      return asPage(await chunksOfDocument(tx, row.id, from, limit + 1), limit, chunk, ({ ordinal }) => cursorOf('chunks', [ordinal + 1]));
    });
  });

  app.delete('/v1/documents/:document', {
    config: { needs: 'memories:write' }, schema: { summary: 'Remove a document: it is emptied at once and found no more', tags, params, querystring: noQuery, response: answers({ 204: z.null() }) },
  }, async (request, reply) => {
    const bearer = bearerOf(request);
    await store.withTenant(scopeOf(bearer), async (tx) => {
      const row = await theDocument(tx, request.params.document);
      if (bearer.user !== undefined && row.userId !== bearer.user) throw new MainstayError('forbidden', 'A key that is bound to a user removes that user’s own documents.');
      await removeDocument(tx, row.id);
      await audit(tx, { actor: actorOf(bearer), userId: row.userId, action: 'document.removed', objectType: 'document', objectId: publicId('document', row.id), allowed: true });
    });
    return reply.code(204).send(null);
  });
}

async function theDocument(tx: TenantTx, named: string): Promise<Document> {
  const id = parseId('document', named);
  const row = id === undefined ? undefined : await getDocument(tx, id);
  if (!row) throw new MainstayError('not_found', 'There is no such document.');
  return row;
}

async function shownOf(tx: TenantTx, rows: readonly Document[]): Promise<Shown[]> {
  const indexed = await indexedChunks(tx, rows.map(({ id }) => id));
  return rows.map((row) => ({
    id: publicId('document', row.id), kind: row.kind, title: row.title, source: row.source, user: row.userId, agent: row.agent, version: row.version, bytes: row.bytes, chunks: row.chunks, indexed: indexed.get(row.id) ?? 0,
    run: row.runId === null ? null : publicId('run', row.runId), stepSeq: row.stepSeq, path: row.path, tool: row.tool, addedBy: row.addedBy, createdAt: row.createdAt.toISOString(),
    replacedAt: row.closedAt?.toISOString() ?? null, replacedBy: row.replacedBy === null ? null : publicId('document', row.replacedBy),
  }));
}

const chunk = ({ id, ordinal, start, end, text }: ChunkRow) => ({ id: publicId('chunk', id), ordinal, start, end, text });
