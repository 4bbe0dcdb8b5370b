// What people say of memories and of runs, where a memory was used, and what memory is worth.
import { z } from 'zod';
import { wallMs } from '../clock.ts';
import { meanDifference, rateDifference, type Outcomes } from '../domain/feedback.ts';
import { MainstayError } from '../domain/errors.ts';
import { memoryFeedbackAnswerSchema, memoryFeedbackSchema, memoryUsesSchema, name, pageOf, runFeedbackSchema, worthSchema } from '../domain/wire.ts';
import { parseId, publicId } from '../ids.ts';
import type { TenantTx } from '../store/app-store.ts';
import { audit } from '../store/audit.ts';
import { closeFailed, outcomesOf, sayOfMemory, sayOfRun, usesOf } from '../store/feedback.ts';
import { getMemory, type Memory } from '../store/read-memories.ts';
import { actorOf, bearerOf, scopeOf } from './access.ts';
import type { ApiApp, RouteDeps } from './api-deps.ts';
import { answers, noQuery } from './openapi.ts';
import { runIdOf, runParams, theRun } from './routes-runs.ts';
import * as views from './views.ts';

const memoryParams = z.object({ memory: z.string().describe('mem_…') });
const DAY_MS = 86_400_000;
const time = z.union([z.iso.date(), z.iso.datetime({ offset: true })]);
const worthQuery = z.strictObject({ from: time.optional().describe('30 days before `to`'), to: time.optional().describe('now'), agent: name.optional() });
const USES = 100;

export function addFeedbackRoutes(app: ApiApp, { store }: RouteDeps): void {
  app.post('/v1/memories/:memory/feedback', {
    config: { needs: 'memories:write' }, schema: { summary: 'Say of a memory that it is useful, wrong or outdated', tags: ['memories'], params: memoryParams, querystring: noQuery, body: memoryFeedbackSchema, response: answers({ 200: memoryFeedbackAnswerSchema }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    const { verdict, run: named } = request.body;
    return store.withTenant(scopeOf(bearer), async (tx) => {
      const memory = await theMemory(tx, request.params.memory);
      if (bearer.user !== undefined && memory.scope !== 'user') throw new MainstayError('forbidden', 'A key that is bound to a user speaks of that user’s own memories.');
      const run = named === undefined ? undefined : (await theRun(tx, runIdOf(named))).id;
      const changed = await sayOfMemory(tx, { memory: memory.id, run, actor: actorOf(bearer), verdict });
      await audit(tx, { actor: actorOf(bearer), userId: memory.userId, action: 'memory.feedback', objectType: 'memory', objectId: publicId('memory', memory.id), allowed: true, details: { verdict, changed } });
      return { changed, memory: views.memory(await theMemory(tx, request.params.memory)) };
    });
  });

  app.get('/v1/memories/:memory/uses', {
    config: { needs: 'memories:read' }, schema: { summary: 'List the runs a memory was shown to, whether they cited it, and whether their answers say what it says', tags: ['memories'], params: memoryParams, querystring: noQuery, response: answers({ 200: pageOf(memoryUsesSchema) }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    return store.withTenant(scopeOf(bearer), async (tx) => {
      const memory = await theMemory(tx, request.params.memory);
      await audit(tx, { actor: actorOf(bearer), userId: memory.userId, action: 'memory.read', objectType: 'memory', objectId: publicId('memory', memory.id), allowed: true });
      return { data: (await usesOf(tx, memory.id, USES)).map(({ run, at, ...use }) => ({ ...use, run: publicId('run', run), at: at.toISOString() })), nextCursor: null };
    });
  });

  app.post('/v1/runs/:run/feedback', {
    config: { needs: 'runs:write' }, schema: { summary: 'Say what came of a run: satisfied, resolved, how long it took', tags: ['runs'], params: runParams, querystring: noQuery, body: runFeedbackSchema, response: answers({ 200: z.object({ run: z.string() }) }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    const { satisfied, resolved, handlingMs } = request.body;
    return store.withTenant(scopeOf(bearer), async (tx) => {
      const run = await theRun(tx, runIdOf(request.params.run));
      await sayOfRun(tx, { run: run.id, actor: actorOf(bearer), satisfied, resolved, handlingMs });
      for (const { id, user, uses } of await closeFailed(tx, run.id)) {
        await audit(tx, { actor: actorOf(bearer), userId: user, action: 'memory.failed', objectType: 'memory', objectId: publicId('memory', id), allowed: true, details: { uses: uses.n, successes: uses.yes } });
      }
      return { run: publicId('run', run.id) };
    });
  });

  app.get('/v1/memory-worth', {
    config: { needs: 'usage:read' }, schema: { summary: 'Compare what came of runs with memory and of those left without', tags: ['memories'], querystring: worthQuery, response: answers({ 200: worthSchema }) },
  }, async (request) => {
    const to = new Date(request.query.to ?? wallMs());
    const from = new Date(request.query.from ?? to.getTime() - 30 * DAY_MS);
    if (from >= to) throw new MainstayError('bad_request', '`from` must be before `to`.', { fields: [{ path: 'from', message: 'not before to' }] });
    const { treated, heldOut } = await store.withTenant(scopeOf(bearerOf(request)), (tx) => outcomesOf(tx, { from, to, agent: request.query.agent }));
    return {
      from: from.toISOString(), to: to.toISOString(), treated: shown(treated), heldOut: shown(heldOut),
      satisfied: rateDifference(treated.satisfied, heldOut.satisfied), resolved: rateDifference(treated.resolved, heldOut.resolved), handlingMs: meanDifference(treated.handlingMs, heldOut.handlingMs),
    };
  });
}

/** Throws `not_found` for one that is not there or not the caller's to see. */
export async function theMemory(tx: TenantTx, named: string): Promise<Memory> {
  const id = parseId('memory', named);
  const row = id === undefined ? undefined : await getMemory(tx, id);
  if (!row) throw new MainstayError('not_found', 'There is no such memory.');
  return row;
}

const shown = ({ handlingMs: { n, sum }, ...outcomes }: Outcomes) => ({ ...outcomes, handlingMs: { n, mean: n === 0 ? null : sum / n } });
