// What runs left in memory: verdicts and traces of one run, and memories themselves. Every read leaves an audit line in the
// transaction of the read, with the ids of what was shown.
import { z } from 'zod';
import { MainstayError } from '../domain/errors.ts';
import { MEMORY_SCOPES, MEMORY_TYPES } from '../domain/status.ts';
import { memorySchema, name, pageOf, promotedSchema, promotionSchema, runMemoriesSchema, traceSchema } from '../domain/wire.ts';
import { publicId } from '../ids.ts';
import { promoteCandidate } from '../memory/promote-candidate.ts';
import { audit } from '../store/audit.ts';
import { listMemories, statementsOf, summaryOf, tracesOf, verdictsOf } from '../store/read-memories.ts';
import { actorOf, bearerOf, scopeOf } from './access.ts';
import type { ApiApp, RouteDeps } from './api-deps.ts';
import { answers, noQuery } from './openapi.ts';
import { asPage, cursorOf, pageQuery, placeOf } from './pages.ts';
import { theMemory } from './routes-feedback.ts';
import { runIdOf, runParams, theRun } from './routes-runs.ts';
import * as views from './views.ts';

const listQuery = z.strictObject({
  ...pageQuery, user: name.optional().describe('Memories of this user; those shared by an agent or the workspace are left out'), type: z.enum(MEMORY_TYPES).optional(), scope: z.enum(MEMORY_SCOPES).optional(),
  run: z.string().optional().describe('run_…: what this run left'), include: z.literal('superseded').optional().describe('Also what no longer holds'),
});
const memoryParams = z.object({ memory: z.string().describe('mem_…') });
const candidateParams = z.object({ run: z.string().describe('run_…'), index: z.coerce.number().int().min(0).max(10_000).describe('place of the candidate among the verdicts of its run') });
const idPlace = z.tuple([z.uuid()]);

export function addMemoryRoutes(app: ApiApp, { store }: RouteDeps): void {
  app.get('/v1/memories', {
    config: { needs: 'memories:read' }, schema: { summary: 'List memories, newest first', tags: ['memories'], querystring: listQuery, response: answers({ 200: pageOf(memorySchema) }) },
  }, async (request) => {
    const { limit, cursor, include, run, ...filter } = request.query;
    const bearer = bearerOf(request);
    const scope = scopeOf(bearer, filter.user);
    const before = placeOf('memories', idPlace, cursor)?.[0];
    const ofRun = run === undefined ? undefined : runIdOf(run);
    return store.withTenant(scope, async (tx) => {
      const rows = await listMemories(tx, { ...filter, run: ofRun, includeSuperseded: include !== undefined, before, limit: limit + 1 });
      const page = asPage(rows, limit, views.memory, (row) => cursorOf('memories', [row.id]));
      await audit(tx, { actor: actorOf(bearer), userId: scope.user, action: 'memory.read', objectType: 'memory', objectId: 'list', allowed: true, details: { ids: page.data.map(({ id }) => id) } });
      return page;
    });
  });

  app.get('/v1/memories/:memory', {
    config: { needs: 'memories:read' }, schema: { summary: 'Read a memory', tags: ['memories'], params: memoryParams, querystring: noQuery, response: answers({ 200: memorySchema }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    return store.withTenant(scopeOf(bearer), async (tx) => {
      const row = await theMemory(tx, request.params.memory);
      await audit(tx, { actor: actorOf(bearer), userId: row.userId, action: 'memory.read', objectType: 'memory', objectId: publicId('memory', row.id), allowed: true });
      return views.memory(row);
    });
  });

  addOfRun(app, store);
}

function addOfRun(app: ApiApp, store: RouteDeps['store']): void {
  app.get('/v1/runs/:run/memories', {
    config: { needs: 'memories:read' }, schema: { summary: 'Read what a run was remembered by: its summary and every verdict', tags: ['memories'], params: runParams, querystring: noQuery, response: answers({ 200: runMemoriesSchema }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    const id = runIdOf(request.params.run);
    return store.withTenant(scopeOf(bearer), async (tx) => {
      const run = await theRun(tx, id);
      const summary = await summaryOf(tx, id);
      const verdicts = (await verdictsOf(tx, id)).map(views.verdict);
      const ids = [...new Set(verdicts.flatMap(({ memory, target }) => [memory, target]).filter((one) => one !== null))];
      await audit(tx, { actor: actorOf(bearer), userId: run.userId, action: 'memory.read', objectType: 'run', objectId: publicId('run', id), allowed: true, details: { ids } });
      return { memoryState: run.memoryState, skipped: run.memorySkipped, summary: summary ? views.summary(summary) : null, verdicts };
    });
  });

  app.post('/v1/runs/:run/memories/:index/promote', {
    config: { needs: 'memories:write' }, schema: { summary: 'Take a candidate out of quarantine: a person says that it is right', tags: ['memories'], params: candidateParams, querystring: noQuery, body: promotionSchema, response: answers({ 200: promotedSchema }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    const [run, { index }, { scope }] = [runIdOf(request.params.run), request.params, request.body];
    if (bearer.user !== undefined && scope !== undefined && scope !== 'user') throw new MainstayError('forbidden', 'A key bound to a user promotes for that user alone.');
    return store.withTenant(scopeOf(bearer), async (tx) => {
      const { userId } = await theRun(tx, run);
      // Written first: from the promotion on, the transaction sees no more than the run's user does.
      await audit(tx, { actor: actorOf(bearer), userId, action: 'memory.promoted', objectType: 'run', objectId: publicId('run', run), allowed: true, details: { index, ...(scope !== undefined && { scope }) } });
      const { decision, reason, memory, target } = await promoteCandidate(tx, { run, index, by: actorOf(bearer), scope });
      const id = memory?.id ?? target;
      return { decision, reason, memory: id === null ? null : publicId('memory', id) };
    });
  });

  app.get('/v1/runs/:run/traces', {
    config: { needs: 'memories:read' }, schema: { summary: 'List what a run recalled, and what of it was used', tags: ['memories'], params: runParams, querystring: noQuery, response: answers({ 200: pageOf(traceSchema) }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    const id = runIdOf(request.params.run);
    return store.withTenant(scopeOf(bearer), async (tx) => {
      const run = await theRun(tx, id);
      const traces = await tracesOf(tx, id);
      const statements = await statementsOf(tx, [...new Set(traces.flatMap(({ injected }) => injected))]);
      const ids = [...statements.keys()].map((memory) => publicId('memory', memory));
      await audit(tx, { actor: actorOf(bearer), userId: run.userId, action: 'memory.read', objectType: 'run', objectId: publicId('run', id), allowed: true, details: { ids, traces: traces.length } });
      return { data: traces.map((trace) => views.trace(trace, run.memoryState, statements)), nextCursor: null };
    });
  });
}
