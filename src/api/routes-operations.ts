// For those who operate it: is the API alive and ready, what does it measure, how much work is there for a pool. None of
// this belongs to a tenant; /metrics asks for its own token where one is set.
import { createHash, timingSafeEqual } from 'node:crypto';
import type { FastifyRequest } from 'fastify';
import { z } from 'zod';
import { MainstayError } from '../domain/errors.ts';
import { workOf } from '../store/engine/work.ts';
import type { ApiApp, RouteDeps } from './api-deps.ts';
import { checkInTime } from './health-server.ts';
import { answers, noQuery } from './openapi.ts';

const statusSchema = z.object({ status: z.string() });
const scaleSchema = z.object({
  pool: z.string(), runnable: z.number().int().describe('runs that could start now'), running: z.number().int(), dueSoon: z.number().int().describe('waits due within a minute'),
  work: z.number().int().describe('the sum: what a pool is scaled by'), blocked: z.number().int().describe('due, but no living worker has the version: not in the sum'),
});

export function addOperationRoutes(app: ApiApp, deps: RouteDeps): void {
  const { pool, store, metrics, metricsToken } = deps;
  app.get('/healthz', { schema: { summary: 'Is the process alive', tags: ['operations'], response: answers({ 200: statusSchema }) } }, () => ({ status: 'ok' }));

  app.get('/readyz', { schema: { summary: 'Does Postgres answer', tags: ['operations'], response: answers({ 200: statusSchema, 503: statusSchema }) } }, async (_request, reply) => {
    const isReady = await checkInTime(async () => { await Promise.all([pool.query('SELECT 1'), store.ping()]); return true; });
    return reply.code(isReady ? 200 : 503).send({ status: isReady ? 'ok' : 'unavailable' });
  });

  const onRequest = async (request: FastifyRequest): Promise<void> => { await Promise.resolve(refuseOthers(request.headers.authorization, metricsToken)); };

  app.get('/metrics', {
    onRequest, schema: { summary: 'Metrics of this process, for Prometheus', tags: ['operations'], response: answers({ 200: { description: 'Prometheus text', content: { 'text/plain': { schema: z.string() } } } }) },
  }, async (_request, reply) => reply.type(metrics.registry.contentType).send(await metrics.registry.metrics()));

  app.get('/metrics/scale', {
    onRequest, schema: { summary: 'Work of a machine pool, counted in Postgres', tags: ['operations'], querystring: z.strictObject({ pool: z.string() }), response: answers({ 200: scaleSchema }) },
  }, async (request) => {
    const { pool: name } = request.query;
    if (!deps.pools.includes(name)) throw new MainstayError('not_found', 'There is no such pool.');
    const { runnable, running, dueSoon, work, blocked } = await workOf(pool, name);
    return { pool: name, runnable, running, dueSoon, work, blocked };
  });

  app.get('/openapi.json', { schema: { summary: 'This document', tags: ['operations'], querystring: noQuery, response: answers({ 200: z.record(z.string(), z.unknown()) }) } }, () => ({ ...app.swagger() }));
}

function refuseOthers(authorization: string | undefined, token: string | undefined): void {
  if (token === undefined) return;
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
  if (!timingSafeEqual(digest(authorization ?? ''), digest(`Bearer ${token}`))) throw new MainstayError('unauthenticated', 'The metrics ask for their own token.');
}
