// What people and services do to a run from outside: send it a signal, pause, resume, cancel, retry, fork, settle an unknown
// outcome, and all of that in bulk. Each is one use case of src/run/, which audits who asked; a run that the caller may not
// see, and an id that names nothing, look the same.
import type { FastifyReply, FastifyRequest } from 'fastify';
import { MainstayError } from '../domain/errors.ts';
import { BULK_MAX } from '../domain/tunables.ts';
import { bulkAnswerSchema, bulkSchema, cancelledRunSchema, forkSchema, newSignalSchema, outcomeSchema, pageOf, runSchema, sentSignalSchema, toolCallSchema, unsettledSchema, type Run } from '../domain/wire.ts';
import { publicId } from '../ids.ts';
import type { ControlRequest } from '../run/control.ts';
import type { RetryRequest } from '../run/fork-run.ts';
import { unsettledCalls } from '../store/engine/outcomes.ts';
import { getToolCall } from '../store/read-control.ts';
import { runPosition } from '../store/read-runs.ts';
import { actorOf, bearerOf, countSubmissions, scopeOf } from './access.ts';
import type { ApiApp, RouteDeps } from './api-deps.ts';
import { answers, noQuery } from './openapi.ts';
import { idempotencyKey, keyHeader, noSuchRun, runIdOf, runParams, theRun } from './routes-runs.ts';
import { shownRun } from './shown-run.ts';
import * as views from './views.ts';

const tags = ['control'];

export function addControlRoutes(app: ApiApp, deps: RouteDeps): void {
  addSignal(app, deps);
  addPauses(app, deps);
  addNewRuns(app, deps);
  addOutcomes(app, deps);
  addBulk(app, deps);
}

const controlOf = (request: FastifyRequest<{ Params: { run: string } }>): ControlRequest => {
  const bearer = bearerOf(request);
  return { scope: scopeOf(bearer), id: runIdOf(request.params.run), actor: actorOf(bearer) };
};

/** The run as it is now. */
async function now(deps: RouteDeps, request: FastifyRequest, id: string): Promise<Run> {
  const bearer = bearerOf(request);
  return shownRun(deps, bearer, await deps.store.withTenant(scopeOf(bearer), (tx) => theRun(tx, id)));
}

function addSignal(app: ApiApp, deps: RouteDeps): void {
  app.post('/v1/runs/:run/signals', {
    config: { needs: 'runs:write' },
    schema: { summary: 'Send a run a signal; it is kept until a wait consumes it', tags, params: runParams, querystring: noQuery, headers: keyHeader, body: newSignalSchema, response: answers({ 202: sentSignalSchema }) },
  }, async (request, reply) => {
    const { id, created } = await deps.signal({ ...controlOf(request), name: request.body.name, payload: request.body.payload, idempotencyKey: idempotencyKey(request) });
    if (!created) void reply.header('idempotent-replayed', 'true');
    return reply.code(202).send({ id: publicId('signal', id) });
  });
}

function addPauses(app: ApiApp, deps: RouteDeps): void {
  const schema = { tags, params: runParams, querystring: noQuery, response: answers({ 202: runSchema }) };

  app.post('/v1/runs/:run/pause', {
    config: { needs: 'runs:write' }, schema: { ...schema, summary: 'Pause a run: at once, or at its next checkpoint' },
  }, async (request, reply) => {
    const control = controlOf(request);
    await deps.pause(control);
    return reply.code(202).send(await now(deps, request, control.id));
  });

  app.post('/v1/runs/:run/resume', {
    config: { needs: 'runs:write' }, schema: { ...schema, summary: 'Let a paused run go on' },
  }, async (request, reply) => {
    const control = controlOf(request);
    await deps.resume(control);
    return reply.code(202).send(await now(deps, request, control.id));
  });

  app.post('/v1/runs/:run/cancel', {
    config: { needs: 'runs:write' }, schema: { ...schema, summary: 'Cancel a run and all it spawned', response: answers({ 202: cancelledRunSchema }) },
  }, async (request, reply) => {
    const control = controlOf(request);
    const { unsettled } = await deps.cancel(control);
    return reply.code(202).send({ ...(await now(deps, request, control.id)), unsettled: unsettled.map(views.unsettled) });
  });
}

function addNewRuns(app: ApiApp, deps: RouteDeps): void {
  const schema = { tags, params: runParams, querystring: noQuery, headers: keyHeader, response: answers({ 202: runSchema }) };
  /** A new run counts like any other of its user. */
  const counted = async (request: FastifyRequest<{ Params: { run: string } }>, reply: FastifyReply): Promise<RetryRequest> => {
    const control = controlOf(request);
    const key = idempotencyKey(request);
    const { userId } = await deps.store.withTenant(control.scope, (tx) => theRun(tx, control.id));
    await countSubmissions(deps, reply, control.scope.tenant, [userId]);
    return { ...control, idempotencyKey: key };
  };
  const answer = async (request: FastifyRequest, reply: FastifyReply, { id, created }: { readonly id: string; readonly created: boolean }): Promise<FastifyReply> => {
    if (!created) void reply.header('idempotent-replayed', 'true');
    return reply.code(202).header('location', `/v1/runs/${publicId('run', id)}`).send(await now(deps, request, id));
  };

  app.post('/v1/runs/:run/retry', {
    config: { needs: 'runs:write' }, schema: { ...schema, summary: 'Try a run that did not complete again, as a new run from its last checkpoint' },
  }, async (request, reply) => answer(request, reply, await deps.retry(await counted(request, reply))));

  app.post('/v1/runs/:run/fork', {
    config: { needs: 'runs:write' }, schema: { ...schema, summary: 'Begin a new run from a checkpoint of this one', body: forkSchema },
  }, async (request, reply) => answer(request, reply, await deps.fork({ ...(await counted(request, reply)), fromStep: request.body.fromStep })));
}

function addOutcomes(app: ApiApp, deps: RouteDeps): void {
  app.get('/v1/runs/:run/unsettled', {
    config: { needs: 'runs:read' }, schema: { summary: 'List the effects of a run whose end nobody knows', tags, params: runParams, querystring: noQuery, response: answers({ 200: pageOf(unsettledSchema) }) },
  }, async (request) => {
    const { scope, id } = controlOf(request);
    if (!(await deps.store.withTenant(scope, (tx) => runPosition(tx, id)))) throw noSuchRun();
    return { data: (await unsettledCalls(deps.pool, scope.tenant, id)).map(views.unsettled), nextCursor: null };
  });

  app.post('/v1/runs/:run/outcomes', {
    config: { needs: 'runs:write' }, schema: { summary: 'Say what became of an effect whose end nobody knows', tags, params: runParams, querystring: noQuery, body: outcomeSchema, response: answers({ 200: toolCallSchema }) },
  }, async (request) => {
    const control = controlOf(request);
    const { stepSeq, path, outcome, response } = request.body;
    await deps.settle({ ...control, stepSeq, path, outcome, response });
    const call = await deps.store.withTenant(control.scope, (tx) => getToolCall(tx, control.id, stepSeq, path));
    if (!call) throw noSuchRun();
    return views.toolCall(call);
  });
}

function addBulk(app: ApiApp, deps: RouteDeps): void {
  app.post('/v1/runs/bulk', {
    config: { needs: 'runs:write' },
    schema: { summary: 'Cancel, pause, resume or retry every run of a filter; says what it would do unless `dryRun` is false', description: `At most ${BULK_MAX} runs at a time.`, tags, querystring: noQuery, body: bulkSchema, response: answers({ 200: bulkAnswerSchema }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    const { action, filter, all, dryRun, limit } = request.body;
    const isEmpty = Object.values(filter).every((value) => value === undefined);
    if (isEmpty && !all) throw new MainstayError('bad_request', 'An empty filter means every run: say `all: true` as well.', { fields: [{ path: 'filter', message: 'empty' }] });
    const { createdBefore, createdAfter, ...rest } = filter;
    const dates = { ...(createdBefore === undefined ? {} : { createdBefore: new Date(createdBefore) }), ...(createdAfter === undefined ? {} : { createdAfter: new Date(createdAfter) }) };
    const { failed, ids, ...counts } = await deps.bulk({ scope: scopeOf(bearer, filter.user), actor: actorOf(bearer), action, filter: { ...rest, ...dates }, dryRun, limit });
    return { ...counts, failed: [...failed], ids: [...ids] };
  });
}
