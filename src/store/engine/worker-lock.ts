// The direct connection of a worker: it holds the session lock that says "this worker lives", and looks at its neighbour's.
// The server frees the lock when the connection or the process goes, within milliseconds of a kill. A free lock is proof
// only within one life of the server: after a restart, a failover or a crash of the server all locks are gone and nobody
// is dead, so the life is kept beside the lease and compared. Needs a session: no pooler that shares one by transaction.
import pg from 'pg';
import { LOCK_CONNECT_MS, LOCK_KEEPALIVE } from '../../domain/tunables.ts';
import type { EnginePool } from './pool.ts';

/** First key of a worker's advisory lock; the second is its id. */
const LOCK_CLASS = 0x6d77;
const KEY = (id: string): string => `${LOCK_CLASS}, (${id}::bigint % 2147483647)::int`;
// The server's start time alone does not change when it recovers from the crash of one of its processes; the statistics of
// the archiver begin anew then, which nobody resets by hand. Where somebody did, leases decide.
const LIFE = `extract(epoch FROM pg_postmaster_start_time())::text || '/' || coalesce((SELECT extract(epoch FROM stats_reset) FROM pg_stat_archiver)::text, '')`;

export class WorkerSession {
  /** The server's life this session is in. */
  readonly life: string;
  /** Resolves when the connection is gone; never after `close`. */
  readonly lost: Promise<void>;
  readonly #client: pg.Client;
  #closed = false;

  constructor(client: pg.Client, life: string, ended: Promise<void>) {
    this.#client = client;
    this.life = life;
    this.lost = new Promise((resolve) => { void ended.then(() => { if (!this.#closed) resolve(); }); });
  }

  /** The renewals go this way: the pool's connections may all hang on a lock, and the lease must not end for it. */
  get db(): Pick<pg.Pool, 'query'> { return this.#client; }

  /** A worker's id of its own, with its lock held before anyone can know of it. */
  async newId(): Promise<bigint> {
    const { rows } = await this.#client.query<{ id: string }>(`SELECT nextval('worker_seq')::text AS id`);
    const id = BigInt(rows[0]?.id ?? '');
    await this.hold(id);
    return id;
  }

  /** Takes the lock of an id. Throws after LOCK_CONNECT_MS when another session holds it. */
  async hold(id: bigint): Promise<void> {
    await this.#client.query(`SELECT pg_advisory_lock(${KEY('$1')})`, [id]);
  }

  /** The next worker of the pool that lives, by id and round: each is watched by one other. */
  async neighbour(runPool: string, id: bigint): Promise<bigint | undefined> {
    const { rows } = await this.#client.query<{ id: string }>({ name: 'neighbour', text: `SELECT id::text FROM workers WHERE pool = $1 AND ended_at IS NULL AND lease_until > now() AND id <> $2
      ORDER BY (id < $2), id LIMIT 1`, values: [runPool, id] });
    return rows[0] && BigInt(rows[0].id);
  }

  /** Ends the lease of a worker whose lock is free; the statement holds the lock meanwhile. Its incarnation, or undefined: it lives. */
  async endLeaseIfDead(id: bigint): Promise<string | undefined> {
    const { rows } = await this.#client.query<{ incarnation: string }>({ name: 'watch', text: `
      WITH lock AS MATERIALIZED (SELECT pg_try_advisory_xact_lock_shared(${KEY('$1')}) AS free)
      UPDATE workers w SET lease_until = now() FROM lock WHERE lock.free AND w.id = $1 AND w.locked_under = $2 AND w.ended_at IS NULL AND w.lease_until > now() RETURNING w.incarnation`, values: [id, this.life] });
    return rows[0]?.incarnation;
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#client.end().catch(() => undefined); // it was gone already
  }
}

/** Opens a session beside the pool, to the same server with the same role. Throws when it does not answer in LOCK_CONNECT_MS. */
export async function openWorkerSession(pool: EnginePool): Promise<WorkerSession> {
  const { idleS, intervalS, count } = LOCK_KEEPALIVE;
  const client = new pg.Client({
    connectionString: pool.options.connectionString,
    connectionTimeoutMillis: LOCK_CONNECT_MS,
    lock_timeout: LOCK_CONNECT_MS,
    keepAlive: true,
    keepAliveInitialDelayMillis: idleS * 1_000,
    application_name: 'mainstay-worker',
    options: `${pool.options.options ?? ''} -c tcp_keepalives_idle=${idleS} -c tcp_keepalives_interval=${intervalS} -c tcp_keepalives_count=${count}`,
  });
  const ended = new Promise<void>((resolve) => { client.on('error', () => resolve()); client.on('end', () => resolve()); });
  try {
    await client.connect();
    const { rows } = await client.query<{ life: string }>(`SELECT ${LIFE} AS life`);
    return new WorkerSession(client, rows[0]?.life ?? '', ended);
  } catch (error) {
    void client.end().catch(() => undefined);
    throw error;
  }
}

/** True where the server itself said, or the host said for it, that it is not there: then it declares nobody dead either. */
export function isServerAway(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  if (typeof code === 'string') return code.startsWith('57P') || ['ECONNREFUSED', 'ECONNRESET', 'EPIPE'].includes(code);
  return /Connection terminated/.test(String((error as Error | null)?.message));
}
