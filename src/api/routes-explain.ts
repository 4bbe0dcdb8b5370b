// Why a run does not move: one causal answer, the same that `mainstay explain` prints. A run that the caller may not see, and
// an id that names nothing, look the same.
import { explainSchema } from '../domain/wire.ts';
import { bearerOf, scopeOf } from './access.ts';
import type { ApiApp, RouteDeps } from './api-deps.ts';
import { answers, noQuery } from './openapi.ts';
import { runIdOf, runParams } from './routes-runs.ts';

export function addExplainRoutes(app: ApiApp, deps: RouteDeps): void {
  app.get('/v1/runs/:run/explain', {
    config: { needs: 'runs:read' }, schema: { summary: 'Why a run does not move, and what moves it', tags: ['runs'], params: runParams, querystring: noQuery, response: answers({ 200: explainSchema }) },
  }, async (request) => {
    const { sinceMs, ...explained } = await deps.explain(scopeOf(bearerOf(request)), runIdOf(request.params.run));
    return { ...explained, since: sinceMs === null ? null : new Date(sinceMs).toISOString() };
  });
}
