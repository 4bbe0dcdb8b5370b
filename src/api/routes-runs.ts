// Runs: submit, list, read, wait, and what became of them step by step. A run that the caller may not see, and an id that
// names nothing, look the same. What changes a run is in routes-control.ts.
import { Readable } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { z } from 'zod';
import { isMainstayError, MainstayError } from '../domain/errors.ts';
import { isTerminal, RUN_STATUSES } from '../domain/status.ts';
import { MAX_NAME, PAGE_SIZE, SUBMIT_MANY_BYTES, SUBMIT_MANY_MAX, WAIT_MAX_S } from '../domain/tunables.ts';
import { eventSchema, modelCallSchema, name, newRunSchema, newRunsSchema, pageOf, runItemSchema, runSchema, stepSchema, submittedRunsSchema, toolCallSchema } from '../domain/wire.ts';
import { parseId, publicId } from '../ids.ts';
import { checkEach } from '../run/submit-many.ts';
import type { Scope, TenantTx } from '../store/app-store.ts';
import { feed, getRun, listModelCalls, listRuns, listSteps, listToolCalls, runPosition, type AgentRun } from '../store/read-runs.ts';
import { actingUser, authenticate, bearerOf, countSubmissions, scopeOf } from './access.ts';
import type { ApiApp, RouteDeps } from './api-deps.ts';
import { answers, noQuery } from './openapi.ts';
import { asPage, cursorOf, pageQuery, placeOf } from './pages.ts';
import { shownRun } from './shown-run.ts';
import { leftBehind, runWhenEnded, streamOf } from './run-stream.ts';
import * as views from './views.ts';

export const runParams = z.object({ run: z.string().describe('run_…') });
const waitQuery = z.strictObject({ wait: z.coerce.number().int().min(0).max(WAIT_MAX_S).default(0).describe('Seconds to wait for the end of the run') });
const after = z.coerce.number().int().min(0).max(2_147_483_647);
const seqPlace = z.tuple([after]);
const idPlace = z.tuple([z.uuid()]);

export const noSuchRun = (): MainstayError => new MainstayError('not_found', 'There is no such run.');

/** The uuid of a run's public id. Throws `not_found`: a malformed id names nothing. */
export function runIdOf(text: string): string {
  const id = parseId('run', text);
  if (id === undefined) throw noSuchRun();
  return id;
}

/** The run, or `not_found`, also where it is out of scope. */
export async function theRun(tx: TenantTx, id: string): Promise<AgentRun> {
  const run = await getRun(tx, id);
  if (!run) throw noSuchRun();
  return run;
}

export function addRunRoutes(app: ApiApp, deps: RouteDeps): void {
  addSubmit(app, deps);
  addSubmitMany(app, deps);
  addReads(app, deps);
  addHistory(app, deps);
  addFeed(app, deps);
}

export const keyHeader = z.object({ 'idempotency-key': z.string().max(MAX_NAME).optional().describe('The same key with the same request is answered with what it made') });

export const idempotencyKey = (request: FastifyRequest): string | undefined => {
  const key = request.headers['idempotency-key'];
  return key === undefined ? undefined : callersKey(key, 'Idempotency-Key');
};

/** A key that a caller may use. The names under which our own doors keep their runs apart are not: nobody may take one beforehand. */
function callersKey(key: unknown, path: string): string {
  if (typeof key !== 'string' || !name.safeParse(key).success || /^(remember|intake|bullmq|spawn|retry|schedule|sql):/.test(key)) throw new MainstayError('bad_request', `This ${path} is reserved, or is no name.`, { fields: [{ path, message: 'reserved, empty or not printable' }] });
  return key;
}

function addSubmit(app: ApiApp, deps: RouteDeps): void {
  app.post('/v1/runs', {
    config: { needs: 'runs:write' },
    schema: {
      summary: 'Submit a run', tags: ['runs'], querystring: waitQuery, body: newRunSchema, response: answers({ 200: runSchema, 202: runSchema }),
      headers: keyHeader,
    },
  }, async (request, reply) => {
    const bearer = bearerOf(request);
    const { multitask_strategy: multitaskStrategy, ...body } = request.body;
    const user = actingUser(bearer, body.user);
    await countSubmissions(deps, reply, bearer.tenant, [user]);
    const { id, created } = await deps.submit({ ...body, input: body.input, tenant: bearer.tenant, user, door: 'http', multitaskStrategy, idempotencyKey: idempotencyKey(request) });
    const { wait } = request.query;
    const run = await runWhenEnded(deps.store, { tenant: bearer.tenant, user: user ?? null }, id, wait, leftBehind(reply, deps.stopping));
    if (!run) throw noSuchRun();
    if (!created) void reply.header(body.debounce ? 'debounced' : 'idempotent-replayed', 'true');
    return reply.code(wait > 0 && isTerminal(run.status) ? 200 : 202).header('location', `/v1/runs/${publicId('run', id)}`).send(await shownRun(deps, bearer, run));
  });
}

function addSubmitMany(app: ApiApp, deps: RouteDeps): void {
  app.post('/v1/runs/many', {
    config: { needs: 'runs:write' }, bodyLimit: SUBMIT_MANY_BYTES,
    schema: { summary: `Submit up to ${SUBMIT_MANY_MAX} runs in one body of up to ${SUBMIT_MANY_BYTES / 1_048_576} MiB: all of them, or none`, tags: ['runs'], querystring: noQuery, body: newRunsSchema, response: answers({ 202: submittedRunsSchema }) },
  }, async (request, reply) => {
    const bearer = bearerOf(request);
    const requests = checkEach(request.body.runs, ({ multitask_strategy: multitaskStrategy, idempotencyKey: key, ...body }) =>
      ({ ...body, input: body.input, user: actingUser(bearer, body.user), door: 'http', multitaskStrategy, idempotencyKey: key === undefined ? undefined : callersKey(key, 'idempotencyKey') }));
    await countSubmissions(deps, reply, bearer.tenant, requests.map(({ user }) => user));
    const made = await deps.submitMany(bearer.tenant, requests);
    return reply.code(202).send({ runs: made.map(({ id, status, created }) => ({ id: publicId('run', id), status, created })) });
  });
}

const listQuery = z.strictObject({ ...pageQuery, agent: name.optional(), status: z.enum(RUN_STATUSES).optional(), user: name.optional(), session: name.optional(), parent: z.string().optional().describe('run_…: those it spawned') });

function addReads(app: ApiApp, deps: RouteDeps): void {
  app.get('/v1/runs', {
    config: { needs: 'runs:read' }, schema: { summary: 'List runs, newest first', tags: ['runs'], querystring: listQuery, response: answers({ 200: pageOf(runItemSchema) }) },
  }, async (request) => {
    const { limit, cursor, parent, ...filter } = request.query;
    const before = placeOf('runs', idPlace, cursor)?.[0];
    const scope = scopeOf(bearerOf(request), filter.user);
    const rows = await deps.store.withTenant(scope, (tx) => listRuns(tx, { ...filter, parent: parent === undefined ? undefined : runIdOf(parent), before, limit: limit + 1 }));
    const live = await deps.live(scope, rows);
    return asPage(rows, limit, (row) => views.runItem(row, live), (row) => cursorOf('runs', [row.id]));
  });

  app.get('/v1/runs/:run', {
    config: { needs: 'runs:read' }, schema: { summary: 'Read a run, or wait for its end', tags: ['runs'], params: runParams, querystring: waitQuery, response: answers({ 200: runSchema }) },
  }, async (request, reply) => {
    const run = await runWhenEnded(deps.store, scopeOf(bearerOf(request)), runIdOf(request.params.run), request.query.wait, leftBehind(reply, deps.stopping));
    if (!run) throw noSuchRun();
    return shownRun(deps, bearerOf(request), run);
  });
}

/** A step may carry 256 KiB: fewer of them fill a page. */
const stepsQuery = z.strictObject({ ...pageQuery, limit: z.coerce.number().int().min(1).max(PAGE_SIZE).default(PAGE_SIZE) });

function addHistory(app: ApiApp, deps: RouteDeps): void {
  /** Reads what hangs on a run that the caller may see. */
  const ofRun = <T>(request: FastifyRequest, text: string, read: (tx: TenantTx, id: string) => Promise<T>): Promise<T> => {
    const id = runIdOf(text);
    return deps.store.withTenant(scopeOf(bearerOf(request)), async (tx) => {
      if (!(await runPosition(tx, id))) throw noSuchRun();
      return read(tx, id);
    });
  };
  const whole = <Row, Item>(rows: readonly Row[], item: (row: Row) => Item): { data: Item[]; nextCursor: null } => ({ data: rows.map(item), nextCursor: null });

  app.get('/v1/runs/:run/steps', {
    config: { needs: 'runs:read' }, schema: { summary: 'List the recorded steps of a run', tags: ['runs'], params: runParams, querystring: stepsQuery, response: answers({ 200: pageOf(stepSchema) }) },
  }, async (request) => {
    const { limit, cursor } = request.query;
    const [seq] = placeOf('steps', seqPlace, cursor) ?? [0];
    const rows = await ofRun(request, request.params.run, (tx, id) => listSteps(tx, id, seq, limit + 1));
    return asPage(rows, limit, views.step, (row) => cursorOf('steps', [row.seq]));
  });

  app.get('/v1/runs/:run/tool-calls', {
    config: { needs: 'runs:read' }, schema: { summary: 'List the tool calls of a run', tags: ['runs'], params: runParams, querystring: noQuery, response: answers({ 200: pageOf(toolCallSchema) }) },
  }, async (request) => whole(await ofRun(request, request.params.run, listToolCalls), views.toolCall));

  app.get('/v1/runs/:run/model-calls', {
    config: { needs: 'runs:read' }, schema: { summary: 'List the model calls of a run', tags: ['runs'], params: runParams, querystring: noQuery, response: answers({ 200: pageOf(modelCallSchema) }) },
  }, async (request) => whole(await ofRun(request, request.params.run, listModelCalls), views.modelCall));
}

const feedQuery = z.strictObject({ ...pageQuery, after: after.default(0).describe('Number of the last event you have; a `Last-Event-ID` header comes before it'), text: z.enum(['true', 'false']).default('false').describe('In a stream: also the text of the model as it comes, provisional until `text.settled`') });

function addFeed(app: ApiApp, deps: RouteDeps): void {
  app.get('/v1/runs/:run/events', {
    config: { needs: 'runs:read' },
    schema: {
      summary: 'List the events of a run, or follow them as server-sent events', tags: ['runs'], params: runParams, querystring: feedQuery,
      response: answers({ 200: { description: 'A page; with `Accept: text/event-stream` a stream that ends after the last event', content: { 'application/json': { schema: pageOf(eventSchema) }, 'text/event-stream': { schema: z.string() } } } }),
    },
  }, async (request, reply) => {
    const id = runIdOf(request.params.run);
    const scope = scopeOf(bearerOf(request));
    const { limit, cursor, ...query } = request.query;
    const from = lastEventId(request) ?? placeOf('events', seqPlace, cursor)?.[0] ?? query.after;
    const wantsStream = (request.headers.accept ?? '').includes('text/event-stream');
    const rows = await deps.store.withTenant(scope, async (tx) => {
      if (!(await runPosition(tx, id))) throw noSuchRun();
      return wantsStream ? [] : feed(tx, id, from, limit + 1);
    });
    if (wantsStream) return sendStream(deps, request, reply, scope, id, from, query.text === 'true');
    return reply.type('application/json').send(asPage(rows, limit, views.event, (row) => cursorOf('events', [row.seq])));
  });
}

function lastEventId(request: FastifyRequest): number | undefined {
  const given = request.headers['last-event-id'];
  if (given === undefined || given === '') return undefined;
  const parsed = after.safeParse(given);
  if (!parsed.success) throw new MainstayError('bad_request', 'Last-Event-ID is not the number of an event.', { fields: [{ path: 'Last-Event-ID', message: 'not a number' }] });
  return parsed.data;
}

function sendStream(deps: RouteDeps, request: FastifyRequest, reply: FastifyReply, scope: Scope, run: string, from: number, text: boolean): FastifyReply {
  const keyLives = (): Promise<boolean> => authenticate(deps.pool, deps.log, request.headers.authorization)
    .then(() => true, (error: unknown) => !(isMainstayError(error) && error.code === 'unauthenticated')); // a store that is away says nothing about the key
  const pieces = streamOf({ store: deps.store, scope, run, after: from, signal: leftBehind(reply, deps.stopping), heartbeatMs: deps.heartbeatMs, live: text ? deps.liveText : undefined, keyLives });
  return reply.header('content-type', 'text/event-stream; charset=utf-8').header('x-accel-buffering', 'no').send(Readable.from(pieces, { objectMode: false }));
}
