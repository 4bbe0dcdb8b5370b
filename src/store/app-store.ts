// The application's door to Postgres, through Prisma and under forced row-level security. Every read and write of a person's
// data goes through `withTenant`, which names the tenant and, where the caller acts for one, the user to the database for the
// length of one transaction. Behind that wall stands a second one: rows that come back are looked at before they leave. Recall, whose
// statements are its own and whose time counts, goes through `withStatements`.
import { PrismaPg } from '@prisma/adapter-pg';
import pg from 'pg';
import { MainstayError, isMainstayError, messageOf } from '../domain/errors.ts';
import { PrismaClient, type Prisma } from '../generated/prisma/client.ts';
import type { Log } from '../log.ts';
import { inStatements, nameOf, type SendEnd, type Statements } from './statements.ts';

/** Whose rows a transaction may see. `user` undefined: every user of the tenant; null: only what belongs to no user. */
export interface Scope {
  readonly tenant: string;
  readonly user?: string | null | undefined;
}

export interface TenantTx {
  readonly db: Prisma.TransactionClient;
  readonly scope: Scope;
  /** The rows, once none of them belongs to another tenant or user. Whatever leaves a read function has passed here. */
  own<Row extends OwnedRow>(rows: readonly Row[]): Row[];
}

/** What a function needs that sends only SQL of its own, and names the tenant in it. */
export interface SqlTx { readonly db: Statements; readonly scope: Scope }

/** One whose end may be sent before its last answers are there. */
export interface StatementsTx extends SqlTx { readonly sendEnd: SendEnd }

interface OwnedRow { readonly tenantId: string; readonly userId?: string | null }

export interface AppStore {
  /** One transaction within `scope`. Throws `unavailable` when Postgres does not answer. */
  withTenant<T>(scope: Scope, work: (tx: TenantTx) => Promise<T>): Promise<T>;
  /** The same for SQL alone, at a fraction of the cost: see `inStatements`. */
  withStatements<T>(scope: Scope, work: (tx: StatementsTx) => Promise<T>): Promise<T>;
  /** Rejects unless Postgres answers. */
  ping(): Promise<void>;
  close(): Promise<void>;
}

export interface AppStoreOptions {
  /** DATABASE_APP_URL, or the owner's with `asRole`. */
  readonly url: string;
  readonly asRole: boolean;
  readonly log: Log;
  /** Connections of this process. */
  readonly max?: number;
}

/** What app.user_id holds for rows of no user: no name may contain it. */
const NO_USER = '\u001f';
const CONNECT_MS = 3_000;
/** How long a caller may stand in line for a connection; beyond it the answer is `unavailable`. */
const MAX_WAIT_MS = 3_000;
const TRANSACTION_MS = 10_000;

export function openAppStore({ url, asRole, log, max = 10 }: AppStoreOptions): AppStore {
  const say = (error: Error): void => log.warn({ error: error.message }, 'postgres connection lost');
  const pool = new pg.Pool({
    connectionString: url, max, keepAlive: true, application_name: 'mainstay-app', pipeline: true,
    connectionTimeoutMillis: CONNECT_MS, statement_timeout: TRANSACTION_MS - 1_000, idle_in_transaction_session_timeout: TRANSACTION_MS,
    options: `${asRole ? '-c role=mainstay_app ' : ''}-c jit=off`,
  });
  pool.on('error', say);
  pool.on('connect', (client) => { client.on('error', () => undefined); }); // in hand: its loss rejects the query under way, and must not end the process
  const adapter = new PrismaPg(pool, { onConnectionError: say, statementNameGenerator: ({ sql }) => nameOf(sql) });
  const prisma = new PrismaClient({ adapter, transactionOptions: { maxWait: MAX_WAIT_MS, timeout: TRANSACTION_MS } });
  return {
    withTenant: (scope, work) => within(scope, (tenant, user) => prisma.$transaction(async (db) => {
      await db.$executeRaw`SELECT set_config('app.tenant_id', ${tenant}, true), set_config('app.user_id', ${user}, true)`;
      return work({ db, scope, own: (rows) => rows.map((row) => owned(scope, row)) });
    })),
    withStatements: (scope, work) => within(scope, (tenant, user) => inStatements(pool, tenant, user, (db, sendEnd) => work({ db, scope, sendEnd }))),
    ping: async () => { await prisma.$queryRaw`SELECT 1`; },
    close: async () => { await prisma.$disconnect(); await pool.end(); },
  };
}

/** One transaction with the scope as row-level security reads it; an outage has one name, whoever met it. */
async function within<T>(scope: Scope, transact: (tenant: string, user: string) => Promise<T>): Promise<T> {
  // an empty setting means "all": it may only ever be written on purpose
  if (scope.tenant === '' || scope.user === '' || scope.user === NO_USER) throw new Error('a scope needs a tenant and, where it names a user, a name');
  try {
    return await transact(scope.tenant, scope.user === undefined ? '' : (scope.user ?? NO_USER));
  } catch (error) {
    if (!isMainstayError(error) && isOutage(error)) throw new MainstayError('unavailable', 'Postgres does not answer.', { retryAfterMs: 2_000, cause: error });
    throw error;
  }
}

function owned<Row extends OwnedRow>(scope: Scope, row: Row): Row {
  const ofAnotherUser = scope.user === undefined || row.userId === undefined || row.userId === null ? false : row.userId !== scope.user;
  if (row.tenantId !== scope.tenant || ofAnotherUser) throw new Error('the database answered with a row outside of the scope');
  return row;
}

/** Prisma's codes for a server that is gone, a line that is too long and a transaction that was cut; and the driver's own. */
const OUTAGES = new Set(['P1000', 'P1001', 'P1002', 'P1008', 'P1017', 'P2024', 'P2028', 'P2037']);

function isOutage(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  if (typeof code === 'string' && OUTAGES.has(code)) return true;
  return /ECONNREFUSED|ECONNRESET|EPIPE|ETIMEDOUT|ENOTFOUND|Connection terminated|is not queryable|timeout exceeded when trying to connect|terminating connection|canceling statement due to|the database system is (starting up|shutting down)/.test(messageOf(error));
}
