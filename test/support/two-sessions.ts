// Two sessions on one run, their transactions begun and ended by the test, so that every order of BEGIN, statement and end
// can be played. Whether a session goes on or waits for a lock is asked of Postgres itself, never guessed by time.
import type pg from 'pg';
import type { EnginePool } from '../../src/store/engine/pool.ts';

/** `serial`: one after the other. `overlap`: the second begins while the first is open. `rolled back`: so too, but the first
 *  one gives up. `gate`: a third holds the run's row until both have begun, so that neither snapshot knows of the other. */
export const ORDERS = ['serial', 'overlap', 'rolled back', 'gate'] as const;
export type Order = (typeof ORDERS)[number];

export interface Played {
  /** Of the first and the second; a thrown error in its words. */
  readonly answers: readonly [string, string];
  /** Whether one had to wait for a lock. */
  readonly waited: boolean;
}

type Statement = (door: EnginePool) => Promise<string>;

class Session {
  readonly #client: pg.PoolClient;
  readonly #pid: number;
  /** A pool to the product's statements: its transactions are this session's, which the test begins and ends. */
  readonly door: EnginePool;

  constructor(client: pg.PoolClient, pid: number) {
    this.#client = client;
    this.#pid = pid;
    const query = (statement: string | pg.QueryConfig, values?: unknown[]): unknown =>
      (statement === 'BEGIN' || statement === 'COMMIT' || statement === 'ROLLBACK' ? Promise.resolve({ rows: [] }) : client.query(statement, values));
    this.door = { query, connect: () => Promise.resolve({ query, release: () => undefined }) } as unknown as EnginePool;
  }

  get pid(): number { return this.#pid; }
  begin(): Promise<unknown> { return this.#client.query('BEGIN'); }
  commit(): Promise<unknown> { return this.#client.query('COMMIT'); }
  rollBack(): Promise<unknown> { return this.#client.query('ROLLBACK'); }
  query(text: string, values: unknown[]): Promise<unknown> { return this.#client.query(text, values); }
  release(): void { this.#client.release(); }
}

interface Running { readonly answer: Promise<string>; readonly session: Session; done: boolean }

export class TwoSessions {
  readonly #a: Session;
  readonly #b: Session;
  readonly #gate: Session;
  readonly #watch: pg.PoolClient;

  private constructor(a: Session, b: Session, gate: Session, watch: pg.PoolClient) { this.#a = a; this.#b = b; this.#gate = gate; this.#watch = watch; }

  static async open(pool: EnginePool): Promise<TwoSessions> {
    const session = async (): Promise<Session> => {
      const client = await pool.connect();
      const { rows } = await client.query<{ pid: number }>('SELECT pg_backend_pid() AS pid');
      return new Session(client, rows[0]?.pid ?? 0);
    };
    return new TwoSessions(await session(), await session(), await session(), await pool.connect());
  }

  close(): void {
    for (const session of [this.#a, this.#b, this.#gate]) session.release();
    this.#watch.release();
  }

  async play(order: Order, tenant: string, run: string, first: Statement, second: Statement): Promise<Played> {
    if (order === 'gate') return this.#behindGate(tenant, run, first, second);
    await this.#a.begin();
    const answer = await this.#start(this.#a, first).answer;
    if (order === 'serial') await this.#a.commit();
    await this.#b.begin();
    const other = this.#start(this.#b, second);
    const waited = order !== 'serial' && await this.#waits(other);
    if (order === 'overlap') await this.#a.commit();
    if (order === 'rolled back') await this.#a.rollBack();
    const answers = [answer, await other.answer] as const;
    await this.#b.commit();
    return { answers, waited };
  }

  async #behindGate(tenant: string, run: string, first: Statement, second: Statement): Promise<Played> {
    await this.#gate.begin();
    await this.#gate.query('SELECT FROM agent_runs WHERE tenant_id = $1 AND id = $2 FOR UPDATE', [tenant, run]);
    await Promise.all([this.#a.begin(), this.#b.begin()]);
    const a = this.#start(this.#a, first);
    const waited = await this.#waits(a);
    const other = this.#start(this.#b, second);
    const otherWaited = await this.#waits(other);
    await this.#gate.commit();
    const winner = await Promise.race([a.answer.then(() => a), other.answer.then(() => other)]);
    await winner.session.commit();
    const loser = winner === a ? other : a;
    await loser.answer;
    await loser.session.commit();
    return { answers: [await a.answer, await other.answer], waited: waited || otherWaited };
  }

  #start(session: Session, statement: Statement): Running {
    const running: Running = { session, done: false, answer: statement(session.door).catch((error: unknown) => `threw ${String(error)}`) };
    void running.answer.then(() => { running.done = true; });
    return running;
  }

  /** True once the session waits for another's lock, false once its statement has ended. */
  async #waits(running: Running): Promise<boolean> {
    while (!running.done) {
      const { rows } = await this.#watch.query<{ waits: boolean }>({ name: 'waits', text: 'SELECT cardinality(pg_blocking_pids($1)) > 0 AS waits', values: [running.session.pid] });
      if (rows[0]?.waits) return true;
    }
    return false;
  }
}
