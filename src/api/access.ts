// Who asks, and whose rows they may see. A key names its tenant. A key bound to a user acts and sees as that user alone: to
// name another is `forbidden`, another's objects are `not_found`. A key with `users:any` acts for every user of its tenant. A
// key with neither acts for nobody: it submits runs without a user and sees only what belongs to no user.
import type { FastifyReply, FastifyRequest } from 'fastify';
import { keyIdOf, keyMatches, type Bearer } from '../domain/api-key.ts';
import { MainstayError } from '../domain/errors.ts';
import type { Scope as Right } from '../domain/status.ts';
import type { QuotaAnswer, Quotas } from '../limits/quotas.ts';
import type { RateAnswer, Rates } from '../limits/rates.ts';
import type { Log } from '../log.ts';
import type { AppStore, Scope } from '../store/app-store.ts';
import { audit } from '../store/audit.ts';
import { findKey, touchKey } from '../store/engine/api-keys.ts';
import type { EnginePool } from '../store/engine/pool.ts';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** The scope a key must hold; `any`: every living key. Without it a route is open. */
    needs?: Right | 'any';
  }
  interface FastifyRequest {
    bearer: Bearer | null;
  }
}

export interface AccessDeps {
  readonly pool: EnginePool;
  readonly store: AppStore;
  readonly rates: Rates;
  readonly quotas: Quotas;
  readonly log: Log;
}

/** The bearer of a key. Throws `unauthenticated`: a wrong, unknown, revoked or expired key look the same. */
export async function authenticate(pool: EnginePool, log: Log, authorization: string | undefined): Promise<Bearer> {
  const key = /^Bearer +(\S+)$/i.exec(authorization ?? '')?.[1];
  if (key === undefined) throw new MainstayError('unauthenticated', 'The request carries no API key.');
  const id = keyIdOf(key);
  const found = id === undefined ? undefined : await findKey(pool, id);
  if (!found || !keyMatches(key, found.hash) || !found.live) throw new MainstayError('unauthenticated', 'The API key is not valid.');
  if (found.stale) touchKey(pool, found.id).catch((error: unknown) => log.debug({ error: String(error) }, 'use of a key was not noted'));
  return { keyId: found.id, tenant: found.tenant, user: found.user ?? undefined, scopes: found.scopes, expiresAt: found.expiresAt ?? undefined };
}

/** The hook of every request: authenticates, counts, and checks the route's scope, in this order. */
export async function admit(deps: AccessDeps, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  const { needs } = request.routeOptions.config;
  if (needs === undefined) return;
  const bearer = await authenticate(deps.pool, deps.log, request.headers.authorization);
  request.bearer = bearer;
  const rate = await deps.rates.request(bearer.keyId);
  countAgainst(reply, rate, 'key');
  countQuotas(reply, await deps.quotas.use('requests', bearer.tenant, bearer.user));
  if (needs !== 'any' && !bearer.scopes.includes(needs)) throw new MainstayError('forbidden', `This key lacks the scope \`${needs}\`.`);
}

/** Says how much is left, after what was said before, and refuses what is over. Throws `rate_limited`. */
export function countAgainst(reply: FastifyReply, rate: RateAnswer, policy: 'key' | 'user'): void {
  sayRate(reply, rate, policy, 60);
  refuseOver(rate, policy === 'key' ? 'this key' : 'this user');
}

function sayRate(reply: FastifyReply, rate: RateAnswer, policy: string, windowS: number): void {
  const add = (name: string, item: string): void => {
    const said = reply.getHeader(name);
    void reply.header(name, said === undefined ? item : `${String(said)}, ${item}`);
  };
  add('ratelimit-policy', `"${policy}";q=${rate.limit};w=${windowS}`);
  add('ratelimit', `"${policy}";r=${rate.remaining};t=${rate.resetS}`);
}

/** The same for the quotas somebody has set. Throws `rate_limited`. */
function countQuotas(reply: FastifyReply, answers: readonly QuotaAnswer[]): void {
  for (const answer of answers) sayRate(reply, answer, answer.name, answer.windowS);
  const over = answers.find(({ allowed }) => !allowed);
  if (over) throw new MainstayError('rate_limited', `The quota ${over.name} of ${over.limit} is used up.`, { retryAfterMs: over.resetS * 1_000 });
}

/** Counts submitted runs, each by its user, and tells of the user with the least left. Throws `rate_limited`. */
export async function countSubmissions({ rates, quotas }: Pick<AccessDeps, 'rates' | 'quotas'>, reply: FastifyReply, tenant: string, users: readonly (string | null | undefined)[]): Promise<void> {
  const counted = await Promise.all([...Map.groupBy(users, (user) => user ?? undefined)].map(async ([user, runs]) => ({ n: runs.length, rate: await rates.submission(tenant, user, runs.length) })));
  const tight = counted.reduce((least, one) => (Number(one.rate.allowed) - Number(least.rate.allowed) || one.rate.remaining - least.rate.remaining) < 0 ? one : least);
  if (tight.n > tight.rate.limit) throw new MainstayError('bad_request', `A user may submit ${tight.rate.limit} runs a minute: send fewer at a time.`, { fields: [{ path: 'runs', message: `${tight.n} of one user` }] });
  countAgainst(reply, tight.rate, 'user');
  for (const [user, runs] of Map.groupBy(users, (one) => one ?? undefined)) countQuotas(reply, await quotas.use('submissions', tenant, user, runs.length));
}

function refuseOver(rate: RateAnswer, whose: string): void {
  if (!rate.allowed) throw new MainstayError('rate_limited', `More than ${rate.limit} requests a minute of ${whose}.`, { retryAfterMs: rate.resetS * 1_000 });
}

/** The bearer of an admitted request. */
export function bearerOf(request: FastifyRequest): Bearer {
  if (!request.bearer) throw new Error('this route admits without a key');
  return request.bearer;
}

export const actorOf = (bearer: Bearer): string => `key:${bearer.keyId}`;

/** Whose rows a request reads. `named`: the user it names, in its path, query or body. Throws `forbidden`. */
export function scopeOf(bearer: Bearer, named?: string): Scope {
  const { tenant, user } = bearer;
  if (user !== undefined) {
    if (named !== undefined && named !== user) throw anotherUser();
    return { tenant, user };
  }
  if (bearer.scopes.includes('users:any')) return named === undefined ? { tenant } : { tenant, user: named };
  if (named !== undefined) throw anotherUser();
  return { tenant, user: null };
}

const anotherUser = (): MainstayError => new MainstayError('forbidden', 'This key may not act for the named user.', { fields: [{ path: 'user', message: 'not the user of this key' }] });

/** For whom a submitted run acts: the named user, or the one the key is bound to. Throws `forbidden`. */
export const actingUser = (bearer: Bearer, named: string | undefined): string | undefined => scopeOf(bearer, named).user ?? undefined;

/** Leaves word that somebody with a valid key reached for what they may not have. Never throws. */
export async function auditRefusal(deps: AccessDeps, request: FastifyRequest): Promise<void> {
  const { bearer, routeOptions } = request;
  if (!bearer) return;
  const line = { actor: actorOf(bearer), userId: bearer.user ?? null, action: 'request.refused', objectType: 'route', objectId: `${request.method} ${routeOptions.url ?? '?'}`, allowed: false };
  await deps.store.withTenant({ tenant: bearer.tenant }, (tx) => audit(tx, line))
    .catch((error: unknown) => deps.log.warn({ requestId: request.id, error: String(error) }, 'a refusal was not audited'));
}
