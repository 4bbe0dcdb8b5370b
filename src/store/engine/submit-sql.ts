// What submission by SQL needs besides its function: the machines it may pin runs to, the logins that may use it, and the news
// of commits. The function itself is in the migration; a run it made is a row like any other.
import type { Machine } from '../../domain/machine.ts';
import type { EnginePool } from './pool.ts';

export async function announceMachines(pool: EnginePool, machines: readonly Machine[], defaultModel: string): Promise<void> {
  const rows = machines.map(({ name, version, pool: runPool, start, model, budgetMicroUsd, visible }) => ({ name, version, pool: runPool, start_step: start, model: model ?? defaultModel, budget_micro_usd: budgetMicroUsd?.toString() ?? null, visible }));
  await pool.query(`
    INSERT INTO machines (name, version, pool, start_step, model, budget_micro_usd, visible)
    SELECT * FROM json_to_recordset($1::json) AS m(name text, version int, pool text, start_step text, model text, budget_micro_usd bigint, visible boolean) ORDER BY name, version
    ON CONFLICT (name, version) DO UPDATE SET pool = excluded.pool, start_step = excluded.start_step, model = excluded.model, budget_micro_usd = excluded.budget_micro_usd, visible = excluded.visible, announced_at = now()`, [JSON.stringify(rows)]);
}

/** Lets a database login submit for a tenant. The login itself, and its role mainstay_submit, are the operator's to make. */
export async function allowLogin(pool: EnginePool, login: string, tenant: string): Promise<void> {
  await pool.query(`INSERT INTO submit_logins (login, tenant) VALUES ($1, $2) ON CONFLICT DO NOTHING`, [login, tenant]);
}

/** False: it was not allowed. */
export async function forbidLogin(pool: EnginePool, login: string, tenant: string): Promise<boolean> {
  return (await pool.query(`DELETE FROM submit_logins WHERE login = $1 AND tenant = $2`, [login, tenant])).rowCount === 1;
}

/** Calls `heard` for every run whose submission by SQL has committed; ends when the connection is lost or `signal` aborts. */
export async function listenForSubmissions(pool: EnginePool, heard: (tenant: string, run: string) => void, signal: AbortSignal): Promise<void> {
  const client = await pool.connect();
  try {
    const ended = new Promise<void>((resolve) => {
      client.once('end', resolve);
      client.once('error', () => resolve());
      signal.addEventListener('abort', () => resolve(), { once: true });
    });
    client.on('notification', ({ payload }) => { heard(...(JSON.parse(payload ?? '[]') as [string, string])); });
    await client.query('LISTEN mainstay_submitted');
    if (!signal.aborted) await ended;
  } finally {
    client.release(true); // a connection that listens is of no use to anybody else
  }
}
