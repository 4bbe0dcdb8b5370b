// Quotas of a tenant: how much it, or each of its users, may ask for in a window.
import { MainstayError } from '../domain/errors.ts';
import { pageOf, quotaSchema, newQuotaSchema } from '../domain/wire.ts';
import { quotasOf, setQuota } from '../store/engine/quotas.ts';
import { actorOf, bearerOf } from './access.ts';
import type { ApiApp, RouteDeps } from './api-deps.ts';
import { answers, noQuery } from './openapi.ts';

export function addQuotaRoutes(app: ApiApp, { pool, quotas }: RouteDeps): void {
  app.get('/v1/quotas', {
    config: { needs: 'usage:read' }, schema: { summary: 'List quotas of requests, submissions and tokens', tags: ['limits'], querystring: noQuery, response: answers({ 200: pageOf(quotaSchema) }) },
  }, async (request) => ({ data: await quotasOf(pool, bearerOf(request).tenant), nextCursor: null }));

  app.put('/v1/quotas', {
    config: { needs: 'keys:write' }, schema: { summary: 'Set or take away a quota; it counts within seconds', tags: ['limits'], querystring: noQuery, body: newQuotaSchema, response: answers({ 200: pageOf(quotaSchema) }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    if (bearer.user !== undefined) throw new MainstayError('forbidden', 'A key that is bound to a user may not change a quota.');
    await setQuota(pool, bearer.tenant, request.body, actorOf(bearer));
    quotas.forget(bearer.tenant);
    return { data: await quotasOf(pool, bearer.tenant), nextCursor: null };
  });
}
