// The engine's own connections to Postgres, with the role that sees all tenants. Statements here are short and never span
// a model or tool call. A connection that met an error inside a transaction is closed, not reused.
import pg from 'pg';
import type { Log } from '../../log.ts';

/** int8 as bigint and json as its text: the engine parses a document where it needs one, once. */
const TYPES = {
  getTypeParser: (oid: number, format?: 'text' | 'binary') => {
    if (oid === 20) return (text: string) => BigInt(text);
    return pg.types.getTypeParser(oid, format) as (text: string) => unknown;
  },
};

// Every statement here looks few rows up by a key. A plan that was made while a table was small and read it whole is kept for
// as long as the connection, so that whole-table plans are ruled out where an index can serve.
const PLANS = '-c jit=off -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off -c plan_cache_mode=force_generic_plan';

export type EnginePool = pg.Pool;
export type Row = Record<string, unknown>;

/** url: DATABASE_ENGINE_URL, or the owner's with `asRole`. max: connections of this process. */
export function openEnginePool(url: string, asRole: boolean, max: number, log: Log): EnginePool {
  const pool = new pg.Pool({
    connectionString: url,
    max,
    min: 2, // a fleet that was idle for long would else connect, and plan its statements anew, before its next run
    types: TYPES,
    connectionTimeoutMillis: 5_000,
    statement_timeout: 15_000,
    idle_in_transaction_session_timeout: 15_000,
    keepAlive: true,
    application_name: 'mainstay-engine',
    options: `${asRole ? '-c role=mainstay_engine ' : ''}${PLANS}`,
  });
  pool.on('error', (error) => log.warn({ error: error.message }, 'postgres connection lost'));
  // A connection in hand has no other listener: its loss rejects the query under way, and must not end the process.
  pool.on('connect', (client) => { client.on('error', () => undefined); });
  return pool;
}

/** Runs `work` in one transaction; rolls back and closes the connection on an error. */
export async function inTransaction<T>(pool: EnginePool, work: (client: pg.PoolClient) => Promise<T>): Promise<T> {
  const client = await pool.connect();
  try {
    await client.query('BEGIN');
    const result = await work(client);
    await client.query('COMMIT');
    client.release();
    return result;
  } catch (error) {
    await client.query('ROLLBACK').catch(() => undefined); // the connection may be gone; it is closed next
    client.release(true);
    throw error;
  }
}

/** Does `work` unless another process holds this lock; the second key of all such locks is 1. */
export async function asLeader(pool: EnginePool, lockClass: number, work: () => Promise<void>): Promise<void> {
  const client = await pool.connect();
  try {
    const { rows } = await client.query<{ leader: boolean }>('SELECT pg_try_advisory_lock($1, 1) AS leader', [lockClass]);
    if (!rows[0]?.leader) return;
    try { await work(); } finally { await client.query('SELECT pg_advisory_unlock($1, 1)', [lockClass]); }
  } finally {
    client.release();
  }
}

/** True for errors of the connection or the server, not of the statement: the outcome of a write is then unknown. */
export function isConnectionError(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  if (typeof code !== 'string') return /Connection terminated|is not queryable|timeout exceeded when trying to connect|Query read timeout/.test(String((error as Error | null)?.message));
  return /^(08|53|57P|58)/.test(code) || ['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'ETIMEDOUT', 'ENOTFOUND'].includes(code);
}

/** The server gave the statement up: it ran past its time, most likely behind a lock. Nothing of it was done. */
export const isTimeout = (error: unknown): boolean => ['57014', '55P03'].includes((error as { code?: string } | null)?.code ?? '');

export const isUniqueViolation = (error: unknown): boolean => (error as { code?: string } | null)?.code === '23505';

/** Two statements locked rows in each other's way and Postgres ended this one: nothing of it was done, it may be tried again. */
export const isDeadlock = (error: unknown): boolean => (error as { code?: string } | null)?.code === '40P01';

/** Without the members that are null: to a recordset both are the same, and most of a row's are. */
export function asLeanJson(row: Readonly<Record<string, unknown>>): string {
  const lean: Record<string, unknown> = {};
  for (const name in row) if (row[name] !== null) lean[name] = row[name];
  return JSON.stringify(lean);
}
