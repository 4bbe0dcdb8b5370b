// What people say of memories and of runs, where a memory was used, and what memory is worth.
import { z } from 'zod';
import { wallMs } from '../clock.ts';
import { meanDifference, rateDifference, type Outcomes } from '../domain/feedback.ts';
import { MainstayError } from '../domain/errors.ts';
import { MEMORY_TYPES } from '../domain/status.ts';
import { memoryFeedbackAnswerSchema, memoryFeedbackSchema, memoryUsesSchema, name, pageOf, runFeedbackSchema } from '../domain/wire.ts';
import { worthSchema } from '../domain/wire-worth.ts';
import { parseId, publicId } from '../ids.ts';
import type { TenantTx } from '../store/app-store.ts';
import { audit } from '../store/audit.ts';
import { closeFailed, sayOfMemory, sayOfRun, usesOf } from '../store/feedback.ts';
import { judgedTokens, outcomesByType, outcomesOf, unusedMemories, usesByType, type TypeOutcomes, type Uses } from '../store/memory-worth.ts';
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
/** Unused memories that are named. */
const UNUSED = 20;
/** Of the shares of each type, which are many and of few runs each: Beta(2, 2). */
const TYPE_PRIOR = 2;

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
    config: { needs: 'usage:read' }, schema: { summary: 'What memory is worth: what came of runs with it and without, how much of it was used, and what each type adds', tags: ['memories'], querystring: worthQuery, response: answers({ 200: worthSchema }) },
  }, async (request) => {
    const to = new Date(request.query.to ?? wallMs());
    const from = new Date(request.query.from ?? to.getTime() - 30 * DAY_MS);
    if (from >= to) throw new MainstayError('bad_request', '`from` must be before `to`.', { fields: [{ path: 'from', message: 'not before to' }] });
    const period = { from, to, agent: request.query.agent };
    return store.withTenant(scopeOf(bearerOf(request)), async (tx) => {
      const { treated, heldOut } = await outcomesOf(tx, period);
      const uses = await usesByType(tx, period);
      const unused = await unusedMemories(tx, UNUSED);
      return {
        from: from.toISOString(), to: to.toISOString(), treated: shown(treated), heldOut: shown(heldOut), ...differences(treated, heldOut),
        use: total(uses, await judgedTokens(tx, period)), byType: typesOf(uses, await outcomesByType(tx, period)), unused: { count: unused.count, memories: unused.ids.map((id) => publicId('memory', id)) },
      };
    });
  });
}

const differences = (treated: Outcomes, without: Outcomes, prior?: number) =>
  ({ satisfied: rateDifference(treated.satisfied, without.satisfied, prior), resolved: rateDifference(treated.resolved, without.resolved, prior), handlingMs: meanDifference(treated.handlingMs, without.handlingMs) });

type Counts = Omit<Uses, 'type'>;
const NOTHING: Counts = { shown: 0, cited: 0, judged: 0, supported: 0, citedSupported: 0, stale: 0 };
const share = (of: number, all: number): number | null => (all === 0 ? null : of / all);
const rates = (one: Counts) => ({ ...one, useRate: share(one.cited, one.shown), supportRate: share(one.citedSupported, one.cited), staleRate: share(one.stale, one.shown) });

function total(uses: readonly Uses[], tokens: number) {
  const sum = (what: keyof Counts): number => uses.reduce((all, one) => all + one[what], 0);
  const all: Counts = { shown: sum('shown'), cited: sum('cited'), judged: sum('judged'), supported: sum('supported'), citedSupported: sum('citedSupported'), stale: sum('stale') };
  return { ...rates(all), tokens, tokensPerSupported: share(tokens, all.supported) };
}

/** Those of which one was shown or left out. */
const typesOf = (uses: readonly Uses[], outcomes: readonly TypeOutcomes[]) => MEMORY_TYPES.flatMap((type) => {
  const [use, of] = [uses.find((one) => one.type === type), outcomes.find((one) => one.type === type)];
  return use || of ? [{ type, ...rates({ ...NOTHING, ...use }), withRuns: of?.shown.runs ?? 0, withoutRuns: of?.leftOut.runs ?? 0, ...(of ? differences(of.shown, of.leftOut, TYPE_PRIOR) : { satisfied: null, resolved: null, handlingMs: null }) }] : [];
});

/** Throws `not_found` for one that is not there or not the caller's to see. */
export async function theMemory(tx: TenantTx, named: string): Promise<Memory> {
  const id = parseId('memory', named);
  const row = id === undefined ? undefined : await getMemory(tx, id);
  if (!row) throw new MainstayError('not_found', 'There is no such memory.');
  return row;
}

const shown = ({ handlingMs: { n, sum }, ...outcomes }: Outcomes) => ({ ...outcomes, handlingMs: { n, mean: n === 0 ? null : sum / n } });
