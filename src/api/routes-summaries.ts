// Looks for earlier runs by what they came to.
import { z } from 'zod';
import { MainstayError } from '../domain/errors.ts';
import { foundSummariesSchema } from '../domain/wire-summaries.ts';
import { name } from '../domain/wire.ts';
import { publicId } from '../ids.ts';
import { audit } from '../store/audit.ts';
import { actorOf, bearerOf, scopeOf } from './access.ts';
import type { ApiApp, RouteDeps } from './api-deps.ts';
import { answers } from './openapi.ts';

const searchQuery = z.strictObject({
  q: z.string().trim().min(1).max(2_000).describe('What is looked for, in words'), user: name.optional().describe('Of this user’s runs, whatever agent ran; implied by a key that is bound to a user'),
  agent: name.optional().describe('Of the runs this agent made for nobody, instead of a user’s'), limit: z.coerce.number().int().min(1).max(50).default(10),
});

export function addSummaryRoutes(app: ApiApp, { store, findSummaries }: RouteDeps): void {
  app.get('/v1/summaries/search', {
    config: { needs: 'memories:read' }, schema: { summary: 'Find earlier runs by what they came to', tags: ['memories'], querystring: searchQuery, response: answers({ 200: foundSummariesSchema }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    const { q: query, user: named, agent, limit } = request.query;
    const of = named ?? bearer.user;
    if ((of === undefined) === (agent === undefined)) throw new MainstayError('bad_request', 'Say whose runs: `user`, or `agent` for those it made for nobody; one of the two.', { fields: [{ path: 'user', message: 'or `agent`, one of the two' }] });
    const { tenant, user } = scopeOf(bearer, of);
    const { summaries, semantic, degraded } = await findSummaries({ tenant, scope: of === undefined ? { agent: agent ?? '' } : { user: of }, query, limit });
    const data = summaries.map(({ id, createdAt, ...rest }) => ({ ...rest, run: publicId('run', id), createdAt: createdAt.toISOString() }));
    await store.withTenant({ tenant, user }, (tx) => audit(tx, { actor: actorOf(bearer), userId: user, action: 'summary.read', objectType: 'summary', objectId: 'search', allowed: true, details: { ids: data.map(({ run }) => run) } }));
    return { data, semantic, degraded };
  });
}
