// Schedules: make, list, look at, pause, resume, run now, delete; and what became of their occurrences.
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { newScheduleSchema, name, occurrenceSchema, pageOf, runSchema, scheduleSchema } from '../domain/wire.ts';
import { parseId, publicId } from '../ids.ts';
import { changeSchedule, makeSchedule, noSuchSchedule, type ScheduleCaller } from '../run/make-schedule.ts';
import { getSchedule, listOccurrences, listSchedules } from '../store/schedules.ts';
import { getRun } from '../store/read-runs.ts';
import { actingUser, actorOf, bearerOf, scopeOf } from './access.ts';
import type { ApiApp, RouteDeps } from './api-deps.ts';
import { answers, noQuery } from './openapi.ts';
import { asPage, cursorOf, pageQuery, placeOf } from './pages.ts';
import { shownRun } from './shown-run.ts';
import * as views from './views.ts';

const tags = ['schedules'];
const params = z.object({ schedule: z.string().describe('sch_…') });
const idOf = (text: string): string => {
  const id = parseId('schedule', text);
  if (id === undefined) throw noSuchSchedule();
  return id;
};
const callerOf = (request: FastifyRequest): ScheduleCaller => ({ scope: scopeOf(bearerOf(request)), actor: actorOf(bearerOf(request)) });

export function addScheduleRoutes(app: ApiApp, deps: RouteDeps): void {
  const { store, schedules } = deps;
  addReads(app, deps);

  app.post('/v1/schedules', {
    config: { needs: 'runs:write' }, schema: { summary: 'Make a schedule', tags, querystring: noQuery, body: newScheduleSchema, response: answers({ 201: scheduleSchema }) },
  }, async (request, reply) => {
    const bearer = bearerOf(request);
    const user = actingUser(bearer, request.body.user);
    const made = await makeSchedule({ ...schedules, store }, { scope: scopeOf(bearer, user), actor: actorOf(bearer) }, { ...request.body, user });
    return reply.code(201).header('location', `/v1/schedules/${publicId('schedule', made.id)}`).send(views.schedule(made));
  });

  for (const change of ['pause', 'resume'] as const) {
    app.post(`/v1/schedules/:schedule/${change}`, {
      config: { needs: 'runs:write' }, schema: { summary: change === 'pause' ? 'Pause a schedule: it names no occurrences until it is resumed' : 'Let a paused schedule go on from now', tags, params, querystring: noQuery, response: answers({ 200: scheduleSchema }) },
    }, async (request) => views.schedule(await changeSchedule({ ...schedules, store }, callerOf(request), idOf(request.params.schedule), change)));
  }

  app.post('/v1/schedules/:schedule/run', {
    config: { needs: 'runs:write' }, schema: { summary: 'Begin one run of a schedule now, besides its occurrences', tags, params, querystring: noQuery, response: answers({ 202: runSchema }) },
  }, async (request, reply) => {
    const bearer = bearerOf(request);
    const scope = scopeOf(bearer);
    const run = await schedules.runNow({ tenant: scope.tenant, id: idOf(request.params.schedule), user: scope.user });
    const row = run === undefined ? undefined : await store.withTenant(scope, (tx) => getRun(tx, run));
    if (!row) throw noSuchSchedule();
    return reply.code(202).header('location', `/v1/runs/${publicId('run', row.id)}`).send(await shownRun(deps, bearer, row));
  });

  app.delete('/v1/schedules/:schedule', {
    config: { needs: 'runs:write' }, schema: { summary: 'Delete a schedule; its runs and occurrences stay', tags, params, querystring: noQuery, response: answers({ 204: z.null() }) },
  }, async (request, reply) => {
    await changeSchedule({ ...schedules, store }, callerOf(request), idOf(request.params.schedule), 'delete');
    return reply.code(204).send(null);
  });
}

function addReads(app: ApiApp, { store }: RouteDeps): void {
  app.get('/v1/schedules', {
    config: { needs: 'runs:read' }, schema: { summary: 'List schedules, newest first', tags, querystring: z.strictObject({ ...pageQuery, user: name.optional() }), response: answers({ 200: pageOf(scheduleSchema) }) },
  }, async (request) => {
    const { limit, cursor, user } = request.query;
    const before = placeOf('schedules', z.tuple([z.uuid()]), cursor)?.[0];
    const rows = await store.withTenant(scopeOf(bearerOf(request), user), (tx) => listSchedules(tx, { user, before, limit: limit + 1 }));
    return asPage(rows, limit, views.schedule, (row) => cursorOf('schedules', [row.id]));
  });

  app.get('/v1/schedules/:schedule', {
    config: { needs: 'runs:read' }, schema: { summary: 'One schedule, with its next occurrences', tags, params, querystring: noQuery, response: answers({ 200: scheduleSchema }) },
  }, async (request) => {
    const row = await store.withTenant(scopeOf(bearerOf(request)), (tx) => getSchedule(tx, idOf(request.params.schedule)));
    if (!row) throw noSuchSchedule();
    return views.schedule(row);
  });

  app.get('/v1/schedules/:schedule/occurrences', {
    config: { needs: 'runs:read' }, schema: { summary: 'What a schedule fired and skipped, latest first', tags, params, querystring: z.strictObject(pageQuery), response: answers({ 200: pageOf(occurrenceSchema) }) },
  }, async (request) => {
    const { limit, cursor } = request.query;
    const before = placeOf('occurrences', z.tuple([z.iso.datetime()]), cursor)?.[0];
    const id = idOf(request.params.schedule);
    const rows = await store.withTenant(scopeOf(bearerOf(request)), async (tx) => {
      if (!(await getSchedule(tx, id))) throw noSuchSchedule();
      return listOccurrences(tx, id, { before: before === undefined ? undefined : new Date(before), limit: limit + 1 });
    });
    return asPage(rows, limit, views.occurrence, (row) => cursorOf('occurrences', [row.occurrence.toISOString()]));
  });
}
