// Statements written by hand on the application's own connections, for recall: under the same login, scope and row-level security
// as Prisma's transactions and without what Prisma does around each of them. What is asked without waiting for an answer travels
// together; the server takes it in order, and after an error refuses the rest of the transaction.
import { createHash } from 'node:crypto';
import type pg from 'pg';

/** What a function needs that sends nothing but SQL: Prisma's transactions have it, and so has `inStatements`. */
export interface Statements {
  $queryRawUnsafe<T = unknown>(sql: string, ...values: unknown[]): Promise<T>;
  $executeRawUnsafe(sql: string, ...values: unknown[]): Promise<number>;
}

/**
 * How statements are planned until the transaction ends: once for each connection and text, by the indexes that were made for them. A large
 * one takes longer to plan than to run, and a plan that reads a table whole, or by several processes, is wrong for all but those of `readMuch`.
 */
const PLANS = { plan_cache_mode: 'force_generic_plan', enable_seqscan: 'off', enable_hashjoin: 'off', enable_mergejoin: 'off', max_parallel_workers_per_gather: '0' };
const OPEN = `SELECT set_config('app.tenant_id', $1, true), set_config('app.user_id', $2, true), ${Object.entries(PLANS).map(([name, value]) => `set_config('${name}', '${value}', true)`).join(', ')}`;

/** From here to the end of the transaction statements are planned for their values, as the server is set up. */
export async function readMuch(db: Statements): Promise<void> {
  await db.$executeRawUnsafe('SELECT set_config(name, reset_val, true) FROM pg_settings WHERE name = ANY ($1::text[])', Object.keys(PLANS));
}

/** Sends the end of the transaction behind what was sent so far, without waiting for its answers: a statement that comes later is an error. */
export type SendEnd = () => void;

/** One transaction for `tenant` and `user`, both as row-level security reads them. A connection that met an error is closed, not reused. */
export async function inStatements<T>(pool: pg.Pool, tenant: string, user: string, work: (db: Statements, sendEnd: SendEnd) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  let end: Promise<pg.QueryResult> | undefined;
  const sendEnd = (): Promise<pg.QueryResult> => {
    if (end === undefined) { end = send(client, { text: 'COMMIT' }); end.catch(() => undefined); } // met below
    return end;
  };
  const next = (sql: string, values: unknown[]): Promise<pg.QueryResult> => {
    if (end !== undefined) throw new Error('a statement was sent behind the end of its transaction');
    return send(client, { name: nameOf(sql), text: sql, values });
  };
  try {
    const opened = Promise.all([send(client, { text: 'BEGIN' }), send(client, { name: nameOf(OPEN), text: OPEN, values: [tenant, user] })]);
    opened.catch(() => undefined); // met below, after what was sent behind it
    const result = await work({
      $queryRawUnsafe: async <R>(sql: string, ...values: unknown[]) => (await next(sql, values)).rows as R,
      $executeRawUnsafe: async (sql, ...values) => (await next(sql, values)).rowCount ?? 0,
    }, () => { void sendEnd(); });
    await opened;
    const { command } = await sendEnd();
    if (command !== 'COMMIT') throw new Error('a statement of this transaction had failed'); // and whoever sent it has said nothing
    client.release();
    return result;
  } catch (error) {
    client.release(true); // and with it goes the transaction
    throw error;
  }
}

/** What is sent in one turn leaves in one write. By callback: behind the driver's own promises each answer outlives a collection or two. */
function send(client: pg.PoolClient, statement: pg.QueryConfig): Promise<pg.QueryResult> {
  const { stream } = client.connection;
  stream.cork();
  process.nextTick(() => stream.uncork());
  return new Promise((resolve, reject) => { client.query(statement, (error: Error | undefined, result: pg.QueryResult) => { if (error) reject(error); else resolve(result); }); });
}

const names = new Map<string, string>();
/** The same text always has the same name, so that a statement is planned once per connection. */
export function nameOf(sql: string): string {
  const name = names.get(sql) ?? createHash('sha1').update(sql).digest('base64url');
  names.set(sql, name);
  return name;
}
