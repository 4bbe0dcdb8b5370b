// A service submits in its own transaction, by SQL, with a login that can do only that: the run exists exactly when the
// transaction commits, once per key; everything else is refused with a stable code first.
import { beforeAll, expect, test } from '@jest/globals';
import pg from 'pg';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { parseId } from '../../src/ids.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { hearSubmissions } from '../../src/run/hear-submissions.ts';
import { allowLogin, announceMachines, forbidLogin } from '../../src/store/engine/submit-sql.ts';
import { startFleet } from '../support/fleet.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

const machine = defineMachine({ name: 'shout', version: 3, input: z.strictObject({ text: z.string() }), start: 'go', remembers: false, steps: { go: (step: Step<{ text: string }>) => Promise.resolve(step.done(step.input.text.toUpperCase())) } });
const stack = await useStack();
const fleet = await startFleet(stack, [machine]);
const { base } = fleet;
const ear = hearSubmissions(base);
const login = `crm_${stack.redisPrefix.replaceAll('-', '_')}`;
const url = new URL(stack.databaseUrl);
url.username = login;
url.password = 'only-for-this-test';
const caller = new pg.Pool({ connectionString: url.href, max: 4 });
atFileEnd(async () => {
  await caller.end();
  await ear.stop();
  await fleet.rows(`DROP TABLE orders`);
  await fleet.rows(`DROP OWNED BY ${login}`);
  await fleet.rows(`DROP ROLE ${login}`);
});

beforeAll(async () => {
  await fleet.rows(`CREATE ROLE ${login} LOGIN PASSWORD 'only-for-this-test' IN ROLE mainstay_submit`);
  await fleet.rows(`CREATE TABLE orders (id int PRIMARY KEY, run text)`);
  await fleet.rows(`GRANT SELECT, INSERT ON orders TO ${login}`);
  await announceMachines(base.pool, [machine], 'claude-sonnet-5-5');
  await allowLogin(base.pool, login, 'acme');
  await ear.start();
  await fleet.worker();
});

/** Inserts an order and submits its run, in one transaction. */
async function order(id: number, { commit = true, text = 'hello', key = `order-${id}` } = {}): Promise<string> {
  const client = await caller.connect();
  try {
    await client.query('BEGIN');
    const { rows } = await client.query<{ run: string }>(`INSERT INTO orders SELECT $1, mainstay.submit('acme', 'shout', json_build_object('text', $2::text), $3, 'ada', 's') RETURNING run`, [id, text, key]);
    await client.query(commit ? 'COMMIT' : 'ROLLBACK');
    return rows[0]?.run ?? '';
  } finally {
    client.release();
  }
}
const count = async (): Promise<number> => (await fleet.rows<{ n: number }>(`SELECT count(*)::int AS n FROM agent_runs`))[0]?.n ?? -1;

test('with the commit the run is there, is offered at once, and runs', async () => {
  const id = parseId('run', await order(1)) ?? '';
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', output: 'HELLO' });
  const [row] = await fleet.rows(`SELECT user_id, session_id, session_seq::int AS seq, version FROM agent_runs WHERE id = $1`, [id]);
  expect(row).toEqual({ user_id: 'ada', session_id: 's', seq: 1, version: 3 });
});

test('with a rollback there was never a run', async () => {
  const before = await count();
  const id = parseId('run', await order(2, { commit: false })) ?? '';
  expect([await count(), await fleet.rows(`SELECT 1 FROM agent_runs WHERE id = $1`, [id])]).toEqual([before, []]);
});

test('the same key is the same run, also from ten transactions at once; with another body it is refused', async () => {
  const submit = (text: string) => caller.query<{ run: string }>(`SELECT mainstay.submit('acme', 'shout', json_build_object('text', $1::text), 'same') AS run`, [text]).then(({ rows }) => rows[0]?.run);
  expect(new Set(await Promise.all(Array.from({ length: 10 }, () => submit('one')))).size).toBe(1);
  await expect(submit('two')).rejects.toThrow(/^idempotency_conflict: /);
});

test('ids sort by the time they were made', async () => {
  const ids = [];
  for (let n = 0; n < 5; n++) { ids.push((await caller.query<{ run: string }>(`SELECT mainstay.submit('acme', 'shout', '{"text":"x"}') AS run`)).rows[0]?.run ?? ''); await caller.query('SELECT pg_sleep(0.002)'); }
  expect([...ids].sort()).toEqual(ids);
  expect(ids.every((id) => parseId('run', id)?.[14] === '7')).toBe(true);
});

test.each<[string, string, RegExp]>([
  ['another tenant', `SELECT mainstay.submit('globex', 'shout', '{"text":"x"}')`, /^forbidden: /],
  ['an unknown agent', `SELECT mainstay.submit('acme', 'nobody', '{"text":"x"}')`, /^agent_unknown: /],
  ["the product's own machine", `SELECT mainstay.submit('acme', 'mainstay.remember', '{"run":"x"}')`, /^agent_unknown: /],
  ['a session without a user', `SELECT mainstay.submit('acme', 'shout', '{"text":"x"}', session => 's')`, /^bad_request: /],
  ['a control character', `SELECT mainstay.submit('acme', 'shout', '{"text":"x"}', "user" => E'a\\x1f')`, /^bad_request: /],
  ['metadata that is no object', `SELECT mainstay.submit('acme', 'shout', '{"text":"x"}', metadata => '[]')`, /^data_not_storable: /],
  ['input that is too large', `SELECT mainstay.submit('acme', 'shout', json_build_object('text', repeat('x', 300000)))`, /^data_not_storable: /],
  ['reading runs', `SELECT * FROM agent_runs`, /permission denied/],
  ['writing runs', `UPDATE agent_runs SET priority = 1`, /permission denied/],
  ['allowing itself more', `INSERT INTO submit_logins VALUES (session_user, 'globex')`, /permission denied/],
  ['another role', `SET ROLE mainstay_engine`, /permission denied/],
])('%s is refused, and nothing changes', async (_what, sql, says) => {
  const before = await count();
  await expect(caller.query(sql)).rejects.toThrow(says);
  expect(await count()).toBe(before);
});

test('a login that is forbidden again submits nothing', async () => {
  expect(await forbidLogin(base.pool, login, 'acme')).toBe(true);
  await expect(caller.query(`SELECT mainstay.submit('acme', 'shout', '{"text":"x"}')`)).rejects.toThrow(/^forbidden: /);
  await allowLogin(base.pool, login, 'acme');
});
