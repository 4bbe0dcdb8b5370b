// Sessions and their messages. A session belongs to a user, and two users may call theirs the same: it is named by both,
// unless the key is bound to one user. Every read leaves an audit line in the transaction of the read.
import { z } from 'zod';
import type { Bearer } from '../domain/api-key.ts';
import { MainstayError } from '../domain/errors.ts';
import { messageSchema, name, pageOf, sessionSchema } from '../domain/wire.ts';
import type { Scope, TenantTx } from '../store/app-store.ts';
import { audit } from '../store/audit.ts';
import { getSession, listMessages, listSessions, type Session } from '../store/read-sessions.ts';
import { actorOf, bearerOf, scopeOf } from './access.ts';
import type { ApiApp, RouteDeps } from './api-deps.ts';
import { answers } from './openapi.ts';
import { asPage, cursorOf, pageQuery, placeOf } from './pages.ts';
import * as views from './views.ts';

const sessionParams = z.object({ session: z.string() });
const whose = { user: name.optional().describe('Whose session; required unless the key is bound to a user') };
const sessionPlace = z.tuple([z.iso.datetime(), name, name]);
const messagePlace = z.tuple([z.string().regex(/^\d{1,18}$/)]);

export function addSessionRoutes(app: ApiApp, { store }: RouteDeps): void {
  app.get('/v1/sessions', {
    config: { needs: 'sessions:read' }, schema: { summary: 'List sessions, latest used first', tags: ['sessions'], querystring: z.strictObject({ ...pageQuery, user: name.optional() }), response: answers({ 200: pageOf(sessionSchema) }) },
  }, async (request) => {
    const { limit, cursor, user } = request.query;
    const bearer = bearerOf(request);
    const scope = scopeOf(bearer, user);
    const place = placeOf('sessions', sessionPlace, cursor);
    const before = place && { updatedAt: new Date(place[0]), user: place[1], id: place[2] };
    return store.withTenant(scope, async (tx) => {
      const rows = await listSessions(tx, { user, before, limit: limit + 1 });
      const page = asPage(rows, limit, views.session, (row) => cursorOf('sessions', [row.updatedAt.toISOString(), row.userId, row.id]));
      await audit(tx, { actor: actorOf(bearer), userId: scope.user, action: 'session.read', objectType: 'session', objectId: 'list', allowed: true, details: { ids: page.data.map(({ id }) => id) } });
      return page;
    });
  });

  app.get('/v1/sessions/:session', {
    config: { needs: 'sessions:read' }, schema: { summary: 'Read a session', tags: ['sessions'], params: sessionParams, querystring: z.strictObject(whose), response: answers({ 200: sessionSchema }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    const { scope, user } = namedUser(bearer, request.query.user);
    return store.withTenant(scope, async (tx) => views.session(await theSession(tx, bearer, user, request.params.session)));
  });

  app.get('/v1/sessions/:session/messages', {
    config: { needs: 'sessions:read' }, schema: { summary: 'List the messages of a session, newest first', tags: ['sessions'], params: sessionParams, querystring: z.strictObject({ ...pageQuery, ...whose }), response: answers({ 200: pageOf(messageSchema) }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    const { limit, cursor, ...query } = request.query;
    const { scope, user } = namedUser(bearer, query.user);
    const place = placeOf('messages', messagePlace, cursor);
    return store.withTenant(scope, async (tx) => {
      const { id } = await theSession(tx, bearer, user, request.params.session);
      const rows = await listMessages(tx, user, id, { before: place && BigInt(place[0]), limit: limit + 1 });
      return asPage(rows, limit, views.message, (row) => cursorOf('messages', [String(row.seq)]));
    });
  });
}

function namedUser(bearer: Bearer, named: string | undefined): { scope: Scope; user: string } {
  const scope = scopeOf(bearer, named);
  if (typeof scope.user === 'string') return { scope, user: scope.user };
  if (scope.user === null) throw noSuchSession(); // a key that acts for nobody: every session is somebody's
  throw new MainstayError('bad_request', 'A session belongs to a user: name the user too.', { fields: [{ path: 'user', message: 'required' }] });
}

/** The session, its reading noted; or `not_found`. */
async function theSession(tx: TenantTx, bearer: Bearer, user: string, text: string): Promise<Session> {
  const session = name.safeParse(text).success ? await getSession(tx, user, text) : undefined;
  if (!session) throw noSuchSession();
  await audit(tx, { actor: actorOf(bearer), userId: user, action: 'session.read', objectType: 'session', objectId: session.id, allowed: true });
  return session;
}

const noSuchSession = (): MainstayError => new MainstayError('not_found', 'There is no such session.');
