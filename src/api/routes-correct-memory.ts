// A person looks for memories as an agent would, and corrects one.
import { z } from 'zod';
import { MainstayError } from '../domain/errors.ts';
import { correctMemorySchema, foundMemoriesSchema, memorySchema, name } from '../domain/wire.ts';
import { publicId } from '../ids.ts';
import { correctMemory } from '../memory/correct-memory.ts';
import { audit } from '../store/audit.ts';
import { actorOf, bearerOf, scopeOf } from './access.ts';
import type { ApiApp, RouteDeps } from './api-deps.ts';
import { answers, noQuery } from './openapi.ts';
import { theMemory } from './routes-feedback.ts';
import * as views from './views.ts';

const tags = ['memories'];
const params = z.object({ memory: z.string().describe('mem_…') });
const ifMatch = z.object({ 'if-match': z.string().max(40).optional().describe('The version as the caller has seen it, instead of `version`') });
const searchQuery = z.strictObject({
  q: z.string().trim().min(1).max(2_000).describe('What is looked for, in words'), user: name.optional().describe('Also what is this user’s; unset: what is the workspace’s. Implied by a key that is bound to a user'),
  agent: name.optional().describe('Also what is this agent’s'), asOf: z.union([z.iso.date(), z.iso.datetime({ offset: true })]).optional().describe('What held then; unset: what holds now'), limit: z.coerce.number().int().min(1).max(50).default(10),
});

export function addCorrectionRoutes(app: ApiApp, { store, findMemories }: RouteDeps): void {
  app.get('/v1/memories/search', {
    config: { needs: 'memories:read' }, schema: { summary: 'Find memories as a recall does: by meaning and by words', tags, querystring: searchQuery, response: answers({ 200: foundMemoriesSchema }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    const { q: query, user: named, agent, asOf, limit } = request.query;
    const { tenant, user } = scopeOf(bearer, named);
    const { memories, semantic, degraded } = await findMemories({ tenant, user: user ?? undefined, agent: agent ?? '', query, asOfMs: asOf === undefined ? undefined : Date.parse(asOf) }, limit);
    const data = memories.map(({ row, score }) => ({ ...views.memory(row), score }));
    await store.withTenant({ tenant, user }, (tx) => audit(tx, { actor: actorOf(bearer), userId: user, action: 'memory.read', objectType: 'memory', objectId: 'search', allowed: true, details: { ids: data.map(({ id }) => id) } }));
    return { data, semantic, degraded };
  });

  app.patch('/v1/memories/:memory', {
    config: { needs: 'memories:write' }, schema: { summary: 'Correct a memory: another version takes its place from now on', tags, params, querystring: noQuery, headers: ifMatch, body: correctMemorySchema, response: answers({ 200: memorySchema }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    const { version: said, ...change } = request.body;
    const version = said ?? versionOf(request.headers['if-match']);
    return store.withTenant(scopeOf(bearer), async (tx) => {
      const memory = await theMemory(tx, request.params.memory);
      if (bearer.user !== undefined && memory.scope !== 'user') throw new MainstayError('forbidden', 'A key that is bound to a user corrects that user’s own memories.');
      const id = publicId('memory', await correctMemory(tx, memory, { ...change, version }, actorOf(bearer)));
      await audit(tx, { actor: actorOf(bearer), userId: memory.userId, action: 'memory.corrected', objectType: 'memory', objectId: id, allowed: true, details: { was: request.params.memory, version, fields: Object.keys(change) } });
      return views.memory(await theMemory(tx, id));
    });
  });
}

function versionOf(header: string | undefined): number {
  const version = /^\s*(?:W\/)?"?(\d{1,9})"?\s*$/.exec(header ?? '')?.[1];
  if (version === undefined) throw new MainstayError('bad_request', 'Say which version of the memory you have seen: `version`, or If-Match.', { fields: [{ path: 'version', message: 'is missing' }] });
  return Number(version);
}
