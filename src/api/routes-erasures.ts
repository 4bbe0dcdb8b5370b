// Erasures: ask for one, look at one, list them. They are the tenant's: a key that is bound to one user may not ask.
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { MainstayError } from '../domain/errors.ts';
import { erasureSchema, newErasureSchema, pageOf, type NewErasureBody } from '../domain/wire.ts';
import { newId, parseId, publicId } from '../ids.ts';
import type { Scope } from '../store/app-store.ts';
import { requestErasure, type ErasureKind } from '../store/engine/erase.ts';
import { getErasure, listErasures } from '../store/erasures.ts';
import { actorOf, bearerOf, scopeOf } from './access.ts';
import type { ApiApp, RouteDeps } from './api-deps.ts';
import { answers, noQuery } from './openapi.ts';
import { asPage, cursorOf, pageQuery, placeOf } from './pages.ts';
import * as views from './views.ts';

const tags = ['erasures'];
const needs = 'erasures:write';

export function addErasureRoutes(app: ApiApp, { pool, store }: RouteDeps): void {
  app.post('/v1/erasures', {
    config: { needs }, schema: { summary: 'Ask for a memory, a run, a user or the tenant to be erased from every store', tags, querystring: noQuery, body: newErasureSchema, response: answers({ 202: erasureSchema }) },
  }, async (request, reply) => {
    const scope = tenantOf(request);
    const id = newId();
    if (!(await requestErasure(pool, { tenant: scope.tenant, id, ...subjectOf(request.body) }, actorOf(bearerOf(request))))) throw notThere();
    const made = await store.withTenant(scope, (tx) => getErasure(tx, id));
    if (!made) throw notThere();
    return reply.code(202).header('location', `/v1/erasures/${publicId('erasure', id)}`).send(views.erasure(made));
  });

  app.get('/v1/erasures', {
    config: { needs }, schema: { summary: 'List erasures, newest first', tags, querystring: z.strictObject(pageQuery), response: answers({ 200: pageOf(erasureSchema) }) },
  }, async (request) => {
    const { limit, cursor } = request.query;
    const before = placeOf('erasures', z.tuple([z.uuid()]), cursor)?.[0];
    return asPage(await store.withTenant(tenantOf(request), (tx) => listErasures(tx, { before, limit: limit + 1 })), limit, views.erasure, (row) => cursorOf('erasures', [row.id]));
  });

  app.get('/v1/erasures/:erasure', {
    config: { needs }, schema: { summary: 'One erasure, with its receipt once it is done', tags, params: z.object({ erasure: z.string().describe('era_…') }), querystring: noQuery, response: answers({ 200: erasureSchema }) },
  }, async (request) => {
    const id = parseId('erasure', request.params.erasure);
    const row = id === undefined ? undefined : await store.withTenant(tenantOf(request), (tx) => getErasure(tx, id));
    if (!row) throw new MainstayError('not_found', 'There is no such erasure.');
    return views.erasure(row);
  });
}

const notThere = (): MainstayError => new MainstayError('not_found', 'There is nothing of this name to erase.');

function tenantOf(request: FastifyRequest): Scope {
  const bearer = bearerOf(request);
  if (bearer.user !== undefined || !bearer.scopes.includes('users:any')) throw new MainstayError('forbidden', 'Erasures are asked for with a key of the whole tenant: one that is bound to no user and has `users:any`.');
  return scopeOf(bearer);
}

function subjectOf({ memory, run, user, tenant }: NewErasureBody): { kind: ErasureKind; subject: string } {
  if (user !== undefined) return { kind: 'user', subject: user };
  if (tenant !== undefined) return { kind: 'tenant', subject: tenant };
  const subject = memory !== undefined ? parseId('memory', memory) : parseId('run', run ?? '');
  if (subject === undefined) throw notThere();
  return { kind: memory !== undefined ? 'memory' : 'run', subject };
}
