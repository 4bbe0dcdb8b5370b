// `mainstay tenants …`, `mainstay keys …` and `mainstay logins …`: the operator's side of the door, straight on Postgres, because the first key of
// an installation cannot be asked of an API that wants a key. Whoever holds DATABASE_URL may do all of this anyway; every
// change is audited under `cli:<login name>`.
import { userInfo } from 'node:os';
import { InvalidArgumentError, type Command } from 'commander';
import { scopesOf } from '../domain/api-key.ts';
import { MainstayError, messageOf } from '../domain/errors.ts';
import type { Scope } from '../domain/status.ts';
import { newKeySchema } from '../domain/wire.ts';
import { createKey, createTenant, listKeys, revokeKey, type NewKey } from '../store/engine/api-keys.ts';
import { noTenant, setAgentLimit, setTenant, tenantLimits } from '../store/engine/limits.ts';
import type { EnginePool } from '../store/engine/pool.ts';
import { allowLogin, forbidLogin } from '../store/engine/submit-sql.ts';
import { isoTime, wholeNumber } from './arguments.ts';
import { withDatabase } from './connection.ts';
import { note, printJson, printLine, printPairs, printTable, shortTime } from './output.ts';

interface KeyWords { readonly tenant: string; readonly user?: string; readonly json?: boolean }
interface CreateWords extends KeyWords { readonly scopes: Scope[]; readonly name: string; readonly expires?: string }

export function addKeyCommands(program: Command): void {
  const tenants = program.command('tenants').description('owners of data and limits');
  tenants.command('create').description('make a tenant; making it twice is as good as once').argument('<tenant>', 'lower case letters, digits and hyphens')
    .option('--json', 'print JSON')
    .action(async (tenant: string, { json }: { json?: boolean }) => {
      await withDatabase((pool) => createTenant(pool, tenant));
      if (json) printJson({ tenant }); else printLine(tenant);
    });
  tenants.command('show').description('its share and its limits, and how many of its runs hold a permit now').argument('<tenant>').option('--json', 'print JSON').action(showTenant);
  tenants.command('limit').description('set how many runs may be running at once, of the tenant or of one agent, and its share; counts from the next run on').argument('<tenant>')
    .option('--max-running <n>', 'a whole number, or `none`', limitOf).option('--agent <agent>', 'of this agent only')
    .option('--weight <n>', 'share of the fleet’s time against other tenants; 1 unless told', decimal).option('--json', 'print JSON')
    .action(limitTenant);
  const logins = program.command('logins').description('database logins that may call mainstay.submit');
  withTenant(logins.command('allow')).description('let a login, which holds the role mainstay_submit, submit for a tenant').argument('<login>')
    .action(async (login: string, { tenant, json }: KeyWords) => {
      await withDatabase((pool) => allowLogin(pool, login, tenant));
      if (json) printJson({ login, tenant }); else printLine(`${login} may submit for ${tenant}`);
    });
  withTenant(logins.command('forbid')).description('take that back').argument('<login>')
    .action(async (login: string, { tenant, json }: KeyWords) => {
      if (!(await withDatabase((pool) => forbidLogin(pool, login, tenant)))) throw new MainstayError('not_found', `The login "${login}" was not allowed for ${tenant}.`);
      if (json) printJson({ login, tenant }); else printLine(`${login} may not submit for ${tenant}`);
    });
  const keys = program.command('keys').description('API keys of a tenant');
  withTenant(keys.command('create')).description('make a key; it is shown this once')
    .requiredOption('--scopes <names>', '`all`, or names separated by commas', scopes)
    .option('--user <user>', 'the key acts for this user only')
    .option('--name <name>', 'what it is for', 'made by mainstay keys create')
    .option('--expires <time>', 'ISO 8601 with a zone', isoTime)
    .action(create);
  withTenant(keys.command('list')).description('keys, newest first; never the keys themselves').option('--user <user>', 'of this user only').action(list);
  withTenant(keys.command('revoke')).description('end a key at once').argument('<key>', 'its id, as list shows it').action(revoke);
}

interface LimitWords { readonly maxRunning?: number | 'none'; readonly agent?: string; readonly weight?: number; readonly json?: boolean }

async function limitTenant(tenant: string, { maxRunning: given, agent, weight, json }: LimitWords): Promise<void> {
  const maxRunning = given === 'none' ? null : given;
  if (maxRunning === undefined && weight === undefined) throw new MainstayError('bad_request', 'Give --max-running or --weight.');
  if (agent !== undefined && (maxRunning === undefined || weight !== undefined)) throw new MainstayError('bad_request', 'An agent has --max-running, and no weight.');
  await withDatabase((pool) => (agent === undefined ? setTenant(pool, tenant, { maxRunning, weight }, actor()) : setAgentLimit(pool, tenant, agent, maxRunning ?? null, actor())));
  await showTenant(tenant, { json });
}

async function showTenant(tenant: string, { json }: { readonly json?: boolean | undefined }): Promise<void> {
  const limits = await withDatabase((pool) => tenantLimits(pool, tenant));
  if (!limits) throw noTenant(tenant);
  if (json) return printJson(limits);
  const most = (limit: number | null, running: number): string => (limit === null ? 'no limit' : `${running} of ${limit}`);
  printPairs([['tenant', limits.tenant], ['weight', String(limits.weight)], ['running', most(limits.maxRunning, limits.running)]]);
  if (limits.agents.length > 0) printTable(['agent', 'running'], limits.agents.map(({ agent, maxRunning, running }) => [agent, most(maxRunning, running)]));
}

const limitOf = (text: string): number | 'none' => (text === 'none' ? text : wholeNumber(text));

function decimal(text: string): number {
  if (!/^\d{1,6}(\.\d{1,6})?$/.test(text)) throw new InvalidArgumentError('It must be a number such as 2 or 0.5.');
  return Number(text);
}

const withTenant = (command: Command): Command => command.requiredOption('--tenant <tenant>').option('--json', 'print JSON');

async function create({ tenant, user, scopes: granted, name, expires, json }: CreateWords): Promise<void> {
  const parsed = newKeySchema.safeParse({ name, scopes: granted, user, expiresAt: expires });
  if (!parsed.success) throw new MainstayError('bad_request', parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`).join('; '));
  const key = { tenant, user, name, scopes: granted, expiresAt: expires === undefined ? undefined : new Date(expires) };
  const made = await withDatabase((pool) => createKeyOf(pool, key));
  if (json) return printJson(made);
  printLine(made.key);
  note(`key ${made.id} of ${tenant}: keep it now, nothing can show it again`);
}

async function createKeyOf(pool: EnginePool, key: NewKey): Promise<{ id: string; key: string }> {
  try {
    return await createKey(pool, key, actor());
  } catch (error) {
    if ((error as { code?: unknown }).code === '23503') throw noTenant(key.tenant); // foreign key
    throw error;
  }
}

async function list({ tenant, user, json }: KeyWords): Promise<void> {
  const found = await withDatabase((pool) => listKeys(pool, tenant, user));
  if (json) return printJson({ data: found.map(({ tenantId: _tenantId, ...key }) => key), nextCursor: null });
  const iso = (date: Date | null): string => shortTime(date?.toISOString() ?? null);
  printTable(['key', 'user', 'state', 'expires (UTC)', 'last used (UTC)', 'created (UTC)', 'name', 'scopes'], found.map((key) =>
    [key.id, key.user, key.revokedAt === null ? 'live' : 'revoked', iso(key.expiresAt), iso(key.lastUsedAt), iso(key.createdAt), key.name, key.scopes.join(' ')]));
}

async function revoke(id: string, { tenant, json }: KeyWords): Promise<void> {
  const done = await withDatabase((pool) => revokeKey(pool, { tenant, id, user: undefined }, actor()));
  if (!done) throw new MainstayError('not_found', `The tenant "${tenant}" has no key ${id}.`);
  if (json) printJson({ id, revoked: true }); else printLine(`${id} is revoked`);
}

function scopes(text: string): Scope[] {
  try { return scopesOf(text); } catch (error) { throw new InvalidArgumentError(messageOf(error)); }
}

/** A container may run as a user without a name. */
function actor(): string {
  try { return `cli:${userInfo().username}`; } catch { return 'cli'; }
}
