// The migrations as docs/deploy.md has them run: by an owner who is no superuser, on a server where another installation made
// the roles before.
import { expect, test } from '@jest/globals';
import { migrate, withClient } from '../src/dev/servers/migrate.ts';
import { atFileEnd, useStack } from './support/stack.ts';

const stack = await useStack();
const own = `owner_${process.pid}_${Date.now()}`;
const admin = new URL(stack.databaseUrl);
admin.pathname = '/postgres';
const asAdmin = (sql: string): Promise<unknown> => withClient(admin.href, (client) => client.query(sql));

test('an owner with CREATEROLE migrates, and what it made works under its roles', async () => {
  await asAdmin(`CREATE ROLE ${own} LOGIN CREATEROLE PASSWORD 'x'`);
  await asAdmin(`CREATE DATABASE ${own} OWNER ${own}`);
  atFileEnd(async () => { await asAdmin(`DROP DATABASE ${own} WITH (FORCE)`); await asAdmin(`DROP OWNED BY ${own}`); await asAdmin(`DROP ROLE ${own}`); });
  await asAdmin(`GRANT mainstay_engine, mainstay_app, mainstay_submit TO ${own} WITH ADMIN OPTION`);
  const url = new URL(admin.href);
  [url.username, url.password, url.pathname] = [own, 'x', `/${own}`];
  await migrate(url.href);
  await withClient(url.href, async (client) => {
    await client.query('SET ROLE mainstay_engine');
    expect((await client.query('SELECT count(*)::int AS n FROM agent_runs')).rows).toEqual([{ n: 0 }]);
    await client.query('RESET ROLE');
    await client.query('SET ROLE mainstay_submit');
    await expect(client.query(`SELECT mainstay.submit('acme', 'support-agent', '{}')`)).rejects.toThrow(/^forbidden: /);
    await expect(client.query('SELECT 1 FROM agent_runs')).rejects.toThrow(/permission denied/);
  });
});
