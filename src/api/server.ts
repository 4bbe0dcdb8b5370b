// The HTTP API as a service: one fastify whose hooks admit a request, read its body without trust, name it, and turn whatever
// is thrown into a problem. Routes are in routes-*.ts; what they answer is checked against the shapes they document. A stop
// ends streams and waits at once, lets the rest be answered, and does not wait for a caller that does not leave.
import { fastify, type FastifyReply, type FastifyRequest } from 'fastify';
import { serializerCompiler, validatorCompiler } from 'fastify-type-provider-zod';
import { codeOf, MainstayError } from '../domain/errors.ts';
import { MAX_BODY_BYTES, MAX_NAME } from '../domain/tunables.ts';
import { newId } from '../ids.ts';
import type { Service } from '../service.ts';
import { admit, auditRefusal } from './access.ts';
import type { ApiApp, ApiDeps, RouteDeps } from './api-deps.ts';
import { BOARD_PATH, registerBoard } from './board.ts';
import { readJson } from './json-body.ts';
import { registerOpenApi } from './openapi.ts';
import { sendProblem } from './problems.ts';
import { addAdminRoutes } from './routes-admin.ts';
import { addExplainRoutes } from './routes-explain.ts';
import { addApprovalRoutes } from './routes-approvals.ts';
import { addControlRoutes } from './routes-control.ts';
import { addMoneyRoutes } from './routes-money.ts';
import { addFeedbackRoutes } from './routes-feedback.ts';
import { addMemoryRoutes } from './routes-memories.ts';
import { addDocumentRoutes } from './routes-documents.ts';
import { addSummaryRoutes } from './routes-summaries.ts';
import { addCorrectionRoutes } from './routes-correct-memory.ts';
import { addMemoryPolicyRoutes } from './routes-memory-policy.ts';
import { addErasureRoutes } from './routes-erasures.ts';
import { addOperationRoutes } from './routes-operations.ts';
import { addQuotaRoutes } from './routes-quotas.ts';
import { addRunRoutes } from './routes-runs.ts';
import { addScheduleRoutes } from './routes-schedules.ts';
import { addSessionRoutes } from './routes-sessions.ts';
import { askLiveMachines } from './shown-run.ts';

export interface ApiAddress {
  readonly host: string;
  /** 0 picks a free one, see `port` of the server. */
  readonly port: number;
}

export interface ApiServer extends Service {
  /** The port it listens on; undefined before its start. */
  readonly port: number | undefined;
}

/** After this a connection that is still being answered is cut. */
const STOP_MS = 5_000;
/** How often a stopping server looks for connections whose last answer is out. */
const SWEEP_MS = 20;
/** Longest name in a path: each character may be four bytes of `%xx`. */
const MAX_PARAM_LENGTH = MAX_NAME * 12;

export function makeApiServer(deps: ApiDeps, { host, port }: ApiAddress): ApiServer {
  const stopping = new AbortController();
  const app = makeApp(deps);
  const routed = addEverything(app, { ...deps, stopping: stopping.signal, live: askLiveMachines(deps.store) });
  routed.catch(() => undefined); // told by `start`
  return {
    name: 'api',
    get port() { return portOf(app); },
    start: async () => { await routed; await app.listen({ host, port }); },
    stop: async () => {
      stopping.abort();
      const cut = setTimeout(() => app.server.closeAllConnections(), STOP_MS);
      const sweep = setInterval(() => app.server.closeIdleConnections(), SWEEP_MS); // kept alive, but answered meanwhile
      await app.close();
      clearTimeout(cut);
      clearInterval(sweep);
    },
  };
}

function makeApp(deps: ApiDeps): ApiApp {
  const app: ApiApp = fastify({
    logger: false, bodyLimit: MAX_BODY_BYTES, exposeHeadRoutes: false, return503OnClosing: false, genReqId: (request) => requestIdOf(request.headers['x-request-id']),
    routerOptions: { maxParamLength: MAX_PARAM_LENGTH },
    frameworkErrors: (error, request, reply) => { sendProblem(error, request, reply.header('x-request-id', request.id), deps.log); }, // before any hook
  });
  app.setValidatorCompiler(validatorCompiler);
  app.setSerializerCompiler(serializerCompiler);
  app.removeAllContentTypeParsers();
  app.addContentTypeParser('application/json', { parseAs: 'buffer' }, (_request, body, done) => {
    try { done(null, readJson(body as Buffer)); } catch (error) { done(error as Error, undefined); }
  });
  app.decorateRequest('bearer', null);
  app.setErrorHandler(async (error, request, reply) => {
    if (codeOf(error) === 'forbidden') await auditRefusal(deps, request);
    return sendProblem(error, request, reply, deps.log);
  });
  app.setNotFoundHandler((request, reply) => sendProblem(new MainstayError('not_found', `There is nothing at ${request.method} ${request.url.split('?')[0]?.slice(0, 200)}.`), request, reply, deps.log));
  return app;
}

/** A caller's own id where it is plain, so that its logs and ours meet; else a new one. */
const requestIdOf = (given: string | string[] | undefined): string => (typeof given === 'string' && /^[\w.-]{1,100}$/.test(given) ? given : newId());

async function addEverything(app: ApiApp, deps: RouteDeps): Promise<void> {
  addHooks(app, deps);
  const methods = gatherMethods(app);
  await registerOpenApi(app);
  addRunRoutes(app, deps);
  addExplainRoutes(app, deps);
  addControlRoutes(app, deps);
  addApprovalRoutes(app, deps);
  addScheduleRoutes(app, deps);
  addErasureRoutes(app, deps);
  addMemoryRoutes(app, deps);
  addFeedbackRoutes(app, deps);
  addDocumentRoutes(app, deps);
  addSummaryRoutes(app, deps);
  addMemoryPolicyRoutes(app, deps);
  addCorrectionRoutes(app, deps);
  addSessionRoutes(app, deps);
  addMoneyRoutes(app, deps);
  addQuotaRoutes(app, deps);
  addAdminRoutes(app, deps);
  addOperationRoutes(app, deps);
  addWrongMethods(app, methods);
  if (deps.board) await registerBoard(app, deps.board, deps);
}

function addHooks(app: ApiApp, deps: RouteDeps): void {
  app.addHook('onRequest', async (request, reply) => {
    void reply.header('x-request-id', request.id).header('x-content-type-options', 'nosniff').header('referrer-policy', 'no-referrer');
    if (request.url.startsWith('/v1')) void reply.header('cache-control', 'no-store');
    await admit(deps, request, reply);
  });
  app.addHook('preValidation', async (request) => {
    const { url, schema } = request.routeOptions;
    const isBare = request.body === undefined || request.body === null || JSON.stringify(request.body) === '{}';
    if (url?.startsWith('/v1') && !schema?.body && !isBare) throw new MainstayError('bad_request', 'This request takes no body.', { fields: [{ path: 'body', message: 'not expected' }] });
    await Promise.resolve();
  });
  app.addHook('onResponse', async (request, reply) => {
    const { method, routeOptions } = request;
    const route = routeOptions.url ?? 'none';
    deps.metrics.httpSeconds.observe({ method, route: deps.metrics.bound('route', route), status: String(reply.statusCode) }, reply.elapsedTime / 1_000);
    deps.log.debug({ requestId: request.id, method, route, status: reply.statusCode, ms: Math.round(reply.elapsedTime), tenant: request.bearer?.tenant }, 'request');
    await Promise.resolve();
  });
}

/** The methods of each path, filled in while routes are added. */
function gatherMethods(app: ApiApp): Map<string, Set<string>> {
  const methods = new Map<string, Set<string>>();
  app.addHook('onRoute', ({ url, method }) => {
    if (url.startsWith(BOARD_PATH)) return;
    const known = methods.get(url) ?? new Set();
    for (const one of [method].flat()) known.add(one);
    methods.set(url, known);
  });
  return methods;
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;

/** Answers a known path asked in another way with 405, before its body is read. */
function addWrongMethods(app: ApiApp, methods: ReadonlyMap<string, ReadonlySet<string>>): void {
  for (const [url, known] of [...methods]) {
    const allow = [...known].sort().join(', ');
    const refuse = async (request: FastifyRequest, reply: FastifyReply): Promise<never> => {
      void reply.header('allow', allow);
      return Promise.reject(new MainstayError('method_not_allowed', `${request.method} is not a method of this path; ${allow} is.`));
    };
    app.route({ method: METHODS.filter((method) => !known.has(method)), url, schema: { hide: true }, onRequest: refuse, handler: refuse });
  }
}

function portOf(app: ApiApp): number | undefined {
  const address = app.server.address();
  return address !== null && typeof address === 'object' ? address.port : undefined;
}
