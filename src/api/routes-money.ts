// What things cost and may cost: sums over the ledger, and budgets. A key that acts for one user sees that user's budgets; limits are
// set by a key that may make keys and is bound to no user.
import { z } from 'zod';
import { wallMs } from '../clock.ts';
import { subjectOf } from '../domain/budget.ts';
import { MainstayError } from '../domain/errors.ts';
import { budgetSchema, name, newBudgetSchema, pageOf, usageSchema } from '../domain/wire.ts';
import { parseId } from '../ids.ts';
import type { AppStore, Scope } from '../store/app-store.ts';
import { listBudgets } from '../store/engine/budgets.ts';
import { getRun } from '../store/read-runs.ts';
import { usage } from '../store/read-usage.ts';
import { actorOf, bearerOf, scopeOf } from './access.ts';
import type { ApiApp, RouteDeps } from './api-deps.ts';
import { answers, noQuery } from './openapi.ts';
import * as views from './views.ts';

export function addMoneyRoutes(app: ApiApp, deps: RouteDeps): void {
  addUsage(app, deps);
  addBudgets(app, deps);
}

const DAY_MS = 86_400_000;
const time = z.union([z.iso.date(), z.iso.datetime({ offset: true })]);
const usageQuery = z.strictObject({ from: time.optional().describe('From this day or time on; 30 days before `to`'), to: time.optional().describe('Before this day or time; now'), user: name.optional() });

function addUsage(app: ApiApp, { store }: RouteDeps): void {
  app.get('/v1/usage', {
    config: { needs: 'usage:read' }, schema: { summary: 'Sum up tokens and cost by day, agent, model and lane', tags: ['money'], querystring: usageQuery, response: answers({ 200: usageSchema }) },
  }, async (request) => {
    const { from: first, to: last, user } = request.query;
    const to = new Date(last ?? wallMs());
    const from = new Date(first ?? to.getTime() - 30 * DAY_MS);
    if (from >= to) throw new MainstayError('bad_request', '`from` must be before `to`.', { fields: [{ path: 'from', message: 'not before to' }] });
    const data = (await store.withTenant(scopeOf(bearerOf(request), user), (tx) => usage(tx, { from, to, user }))).map(views.usageRow);
    return { from: from.toISOString(), to: to.toISOString(), total: views.usageTotal(data), data };
  });
}

const budgetQuery = z.strictObject({ run: z.string().optional().describe('The budget of this run (run_…), instead of those of the tenant, its agents and users') });

function addBudgets(app: ApiApp, { pool, store, budgets, registry }: RouteDeps): void {
  app.get('/v1/budgets', {
    config: { needs: 'usage:read' }, schema: { summary: 'List budgets: limit, spent, reserved, and who waits', tags: ['money'], querystring: budgetQuery, response: answers({ 200: pageOf(budgetSchema) }) },
  }, async (request) => {
    const scope = scopeOf(bearerOf(request));
    const run = request.query.run === undefined ? undefined : await ownRun(store, scope, request.query.run);
    const rows = await listBudgets(pool, scope.tenant, run === undefined ? undefined : `run:${run}`);
    return { data: rows.filter(({ subject }) => scope.user === undefined || subject.startsWith('run:') || subject === `user:${scope.user}`).map(views.budget), nextCursor: null };
  });

  app.put('/v1/budgets', {
    config: { needs: 'keys:write' }, schema: { summary: 'Set or take away a limit on money; runs that wait for it look again at once', tags: ['money'], querystring: noQuery, body: newBudgetSchema, response: answers({ 200: pageOf(budgetSchema) }) },
  }, async (request) => {
    const bearer = bearerOf(request);
    if (bearer.user !== undefined) throw new MainstayError('forbidden', 'A key that is bound to a user may not change a budget.');
    const { agent, user, run: named, window, limitMicroUsd } = request.body;
    const run = named === undefined ? undefined : await ownRun(store, scopeOf(bearer), named);
    const subject = subjectOf({ agent, user, run });
    if (agent !== undefined) registry.newest(agent);
    if (user !== undefined) scopeOf(bearer, user);
    if (run !== undefined && window !== 'total') throw new MainstayError('bad_request', 'A run has one budget, for good.', { fields: [{ path: 'window', message: 'only total' }] });
    if (run !== undefined && (await listBudgets(pool, bearer.tenant, subject)).length === 0) throw new MainstayError('bad_request', 'This run was made without a budget of its own; it counts in those of its agent, user and tenant.', { fields: [{ path: 'run', message: 'has no budget' }] });
    await budgets.set({ tenant: bearer.tenant, subject, window, limitMicroUsd, actor: actorOf(bearer) });
    return { data: (await listBudgets(pool, bearer.tenant, subject)).map(views.budget), nextCursor: null };
  });
}

/** The uuid of a run in scope. Throws `not_found`. */
async function ownRun(store: AppStore, scope: Scope, publicRun: string): Promise<string> {
  const id = parseId('run', publicRun);
  if (id === undefined || !(await store.withTenant(scope, (tx) => getRun(tx, id)))) throw new MainstayError('not_found', 'There is no such run.');
  return id;
}
