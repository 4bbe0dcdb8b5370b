// What runs an installation: the agents there are, who did what, API keys, what users may do, and limits. A key hands
// on only what it has, sees only the keys of whom it acts for, and never changes the rights of the one user it is bound to.
import { z } from 'zod';
import { wallMs } from '../clock.ts';
import { refuseEscalation, type Bearer } from '../domain/api-key.ts';
import { MainstayError } from '../domain/errors.ts';
import { agentLimitSchema, agentSchema, auditSchema, createdKeySchema, keySchema, limitsSchema, name, newKeySchema, newPermissionSchema, pageOf, permissionSchema } from '../domain/wire.ts';
import { audit, listAudit } from '../store/audit.ts';
import { createKey, findKey, listKeys, revokeKey } from '../store/engine/api-keys.ts';
import { noTenant, setAgentLimit, tenantLimits, type TenantLimits } from '../store/engine/limits.ts';
import { getPermission, putPermission } from '../store/permissions.ts';
import { actingUser, actorOf, bearerOf, scopeOf } from './access.ts';
import type { ApiApp, RouteDeps } from './api-deps.ts';
import { answers, noQuery } from './openapi.ts';
import { asPage, cursorOf, pageQuery, placeOf } from './pages.ts';
import * as views from './views.ts';

export function addAdminRoutes(app: ApiApp, deps: RouteDeps): void {
  app.get('/v1/agents', {
    config: { needs: 'any' }, schema: { summary: 'List the agents', tags: ['agents'], querystring: noQuery, response: answers({ 200: pageOf(agentSchema) }) },
  }, () => ({ data: deps.registry.visible().map(views.agent), nextCursor: null }));
  addAudit(app, deps);
  addKeys(app, deps);
  addPermissions(app, deps);
  addLimits(app, deps);
}

const auditQuery = z.strictObject({ ...pageQuery, action: name.optional(), objectType: name.optional(), objectId: name.optional(), user: name.optional().describe('Whose data it was') });
const auditPlace = z.tuple([z.string().regex(/^\d{1,18}$/)]);

function addAudit(app: ApiApp, { store }: RouteDeps): void {
  app.get('/v1/audit', {
    config: { needs: 'audit:read' }, schema: { summary: 'List who did or read what, newest first', tags: ['audit'], querystring: auditQuery, response: answers({ 200: pageOf(auditSchema) }) },
  }, async (request) => {
    const { limit, cursor, ...filter } = request.query;
    const place = placeOf('audit', auditPlace, cursor);
    const rows = await store.withTenant(scopeOf(bearerOf(request), filter.user), (tx) => listAudit(tx, { ...filter, before: place && BigInt(place[0]), limit: limit + 1 }));
    return asPage(rows, limit, views.auditLine, (row) => cursorOf('audit', [String(row.id)]));
  });
}

/** Whether the key acts for whom the other key acts for. */
const sees = (bearer: Bearer, owner: string | null): boolean => {
  const { user } = scopeOf(bearer);
  return user === undefined || user === owner;
};

function addKeys(app: ApiApp, { pool }: RouteDeps): void {
  app.get('/v1/keys', {
    config: { needs: 'keys:write' }, schema: { summary: 'List API keys, newest first', tags: ['keys'], querystring: noQuery, response: answers({ 200: pageOf(keySchema) }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    const rows = await listKeys(pool, bearer.tenant, bearer.user);
    return { data: rows.filter(({ user }) => sees(bearer, user)).map(views.key), nextCursor: null };
  });

  app.post('/v1/keys', {
    config: { needs: 'keys:write' }, schema: { summary: 'Make an API key', tags: ['keys'], querystring: noQuery, body: newKeySchema, response: answers({ 201: createdKeySchema }) },
  }, async (request, reply) => {
    const bearer = bearerOf(request);
    const { name: called, scopes, user: named, expiresAt: ends } = request.body;
    const user = actingUser(bearer, named);
    const expiresAt = ends === undefined ? undefined : new Date(ends);
    refuseEscalation(bearer, { scopes, user, expiresAt });
    if (expiresAt && expiresAt.getTime() <= wallMs()) throw new MainstayError('bad_request', '`expiresAt` is over already.', { fields: [{ path: 'expiresAt', message: 'in the past' }] });
    return reply.code(201).send(await createKey(pool, { tenant: bearer.tenant, user, name: called, scopes: [...new Set(scopes)], expiresAt }, actorOf(bearer)));
  });

  app.delete('/v1/keys/:key', {
    config: { needs: 'keys:write' }, schema: { summary: 'Revoke an API key', tags: ['keys'], params: z.object({ key: z.string() }), querystring: noQuery, response: answers({ 204: z.null() }) },
  }, async (request, reply) => {
    const bearer = bearerOf(request);
    const id = request.params.key;
    const found = /^[0-9a-f]{16}$/.test(id) ? await findKey(pool, id) : undefined;
    const mayBe = found?.tenant === bearer.tenant && sees(bearer, found.user);
    if (!mayBe || !(await revokeKey(pool, { tenant: bearer.tenant, id, user: bearer.user }, actorOf(bearer)))) throw new MainstayError('not_found', 'There is no such key.');
    return reply.code(204).send(null);
  });
}

const userParams = z.object({ user: z.string() });

function addPermissions(app: ApiApp, { store }: RouteDeps): void {
  const userOf = (text: string): string => {
    if (!name.safeParse(text).success) throw new MainstayError('not_found', 'There is no such user.');
    return text;
  };

  app.get('/v1/permissions/:user', {
    config: { needs: 'keys:write' }, schema: { summary: 'Read what a user may do', tags: ['permissions'], params: userParams, querystring: noQuery, response: answers({ 200: permissionSchema }) },
  }, async (request) => {
    const user = userOf(request.params.user);
    return views.permission(user, await store.withTenant(scopeOf(bearerOf(request), user), (tx) => getPermission(tx, user)));
  });

  app.put('/v1/permissions/:user', {
    config: { needs: 'keys:write' }, schema: { summary: 'Replace what a user may do', tags: ['permissions'], params: userParams, querystring: noQuery, body: newPermissionSchema, response: answers({ 200: permissionSchema }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    const user = userOf(request.params.user);
    if (bearer.user !== undefined) throw new MainstayError('forbidden', 'A key that is bound to a user may not change what a user may do.');
    return store.withTenant(scopeOf(bearer, user), async (tx) => {
      const changed = await putPermission(tx, user, request.body);
      const { roles, datasets, scopes, epoch } = changed;
      await audit(tx, { actor: actorOf(bearer), userId: user, action: 'permissions.changed', objectType: 'user', objectId: user, allowed: true, details: { roles, datasets, scopes, epoch } });
      return views.permission(user, changed);
    });
  });
}

/** A tenant reads its limits and sets those of its agents; its own limit and weight are the operator's (`mainstay tenants limit`). */
function addLimits(app: ApiApp, { pool, registry }: RouteDeps): void {
  const shown = async (tenant: string): Promise<TenantLimits> => {
    const limits = await tenantLimits(pool, tenant);
    if (!limits) throw noTenant(tenant);
    return limits;
  };

  app.get('/v1/limits', {
    config: { needs: 'usage:read' }, schema: { summary: 'Read how many runs may be running at once, and how many are', tags: ['limits'], querystring: noQuery, response: answers({ 200: limitsSchema }) },
  }, (request) => shown(bearerOf(request).tenant));

  app.put('/v1/limits/agents/:agent', {
    config: { needs: 'keys:write' }, schema: { summary: 'Set how many runs of an agent may be running at once', tags: ['limits'], params: z.object({ agent: z.string() }), querystring: noQuery, body: agentLimitSchema, response: answers({ 200: limitsSchema }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    if (bearer.user !== undefined) throw new MainstayError('forbidden', 'A key that is bound to a user may not change a limit.');
    const { name: agent } = registry.newest(request.params.agent);
    await setAgentLimit(pool, bearer.tenant, agent, request.body.maxRunning, actorOf(bearer));
    return shown(bearer.tenant);
  });
}
