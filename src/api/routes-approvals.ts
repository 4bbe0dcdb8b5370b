// Questions that runs ask people: list, read, decide. A question whose time is over or whose run has ended is shown as such,
// also before its run has noticed.
import { z } from 'zod';
import { MainstayError } from '../domain/errors.ts';
import { APPROVAL_STATUSES } from '../domain/status.ts';
import { approvalSchema, decisionSchema, name, pageOf, type Approval } from '../domain/wire.ts';
import { parseId } from '../ids.ts';
import type { Scope } from '../store/app-store.ts';
import { getApproval, listApprovals } from '../store/read-control.ts';
import { actorOf, bearerOf, scopeOf } from './access.ts';
import type { ApiApp, RouteDeps } from './api-deps.ts';
import { answers, noQuery } from './openapi.ts';
import { asPage, cursorOf, pageQuery, placeOf } from './pages.ts';
import { runIdOf } from './routes-runs.ts';
import * as views from './views.ts';

const tags = ['approvals'];
const approvalParams = z.object({ approval: z.string().describe('apr_…') });
const listQuery = z.strictObject({ ...pageQuery, status: z.enum(APPROVAL_STATUSES).optional(), user: name.optional(), run: z.string().optional().describe('run_…: what it asked') });
const idPlace = z.tuple([z.uuid()]);

export function addApprovalRoutes(app: ApiApp, { store, decide }: RouteDeps): void {
  const noSuchApproval = (): MainstayError => new MainstayError('not_found', 'There is no such approval.');
  const idOf = (text: string): string => {
    const id = parseId('approval', text);
    if (id === undefined) throw noSuchApproval();
    return id;
  };
  const read = async (scope: Scope, id: string): Promise<Approval> => {
    const row = await store.withTenant(scope, (tx) => getApproval(tx, id));
    if (!row) throw noSuchApproval();
    return views.approval(row);
  };

  app.get('/v1/approvals', {
    config: { needs: 'runs:read' }, schema: { summary: 'List what runs ask people, newest first', tags, querystring: listQuery, response: answers({ 200: pageOf(approvalSchema) }) },
  }, async (request) => {
    const { limit, cursor, run, ...filter } = request.query;
    const before = placeOf('approvals', idPlace, cursor)?.[0];
    const ofRun = run === undefined ? undefined : runIdOf(run);
    const rows = await store.withTenant(scopeOf(bearerOf(request), filter.user), (tx) => listApprovals(tx, { ...filter, run: ofRun, before, limit: limit + 1 }));
    return asPage(rows, limit, views.approval, (row) => cursorOf('approvals', [row.id]));
  });

  app.get('/v1/approvals/:approval', {
    config: { needs: 'runs:read' }, schema: { summary: 'Read what a run asks', tags, params: approvalParams, querystring: noQuery, response: answers({ 200: approvalSchema }) },
  }, (request) => read(scopeOf(bearerOf(request)), idOf(request.params.approval)));

  app.post('/v1/approvals/:approval/decide', {
    config: { needs: 'runs:write' }, schema: { summary: 'Decide it: yes, no, or yes with other arguments', tags, params: approvalParams, querystring: noQuery, body: decisionSchema, response: answers({ 200: approvalSchema }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    const [scope, id] = [scopeOf(bearer), idOf(request.params.approval)];
    const { approved, reason, edited } = request.body;
    await decide({ scope, id, actor: actorOf(bearer), approved, reason, edited });
    return read(scope, id);
  });
}
