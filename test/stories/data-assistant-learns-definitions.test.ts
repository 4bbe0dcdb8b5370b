// The data assistant example: a definition one colleague gave is a memory of the workspace, another colleague's question is
// answered with it; a dataset its user may not read is refused; every access, allowed or not, leaves an audit row.
import { expect, test } from '@jest/globals';
import { dataAssistant } from '../../examples/data-assistant.ts';
import { startDataSource } from '../../examples/data-source.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

const stack = await useStack();
const source = await startDataSource();
atFileEnd(() => source.stop());
const fleet = await startMemoryFleet(stack, [dataAssistant(source.url)]);
await fleet.rows(`INSERT INTO permissions (tenant_id, user_id, datasets) VALUES ('acme', 'ada', '{sales}'), ('acme', 'bob', '{sales,payroll}'), ('globex', 'ada', '{sales}')`);
const ask = (user: string, message: string, tenant = 'acme') => fleet.talk('data-assistant', message, { tenant, user, session: 'q' });
const answerOf = (run: { output: unknown }): string => (run.output as { answer: string }).answer;
const queries = (run: string) => fleet.rows<{ sql: string; status: string; rows: Record<string, number>[] }>(`SELECT request ->> 'sql' AS sql, status::text, response -> 'rows' AS rows FROM tool_calls WHERE run_id = $1 AND tool = 'run_query'`, [run]);
const accesses = (run: string) => fleet.rows<{ user_id: string; object_id: string; allowed: boolean }>(`SELECT user_id, object_id, allowed FROM audit_events WHERE actor = 'run:' || $1 AND object_type = 'dataset' ORDER BY id`, [run]);

test('a definition is learnt as a memory of the workspace', async () => {
  const run = await ask('ada', "An active customer means customer_status = 'active'.");
  expect(run.status).toBe('completed');
  expect(await fleet.rows(`SELECT scope::text, subject, attribute, source_role::text FROM memories WHERE tenant_id = 'acme'`)).toEqual([{ scope: 'workspace', subject: 'active customer', attribute: 'definition', source_role: 'user' }]);
  await fleet.indexed('acme');
});

test("a colleague's question is answered with it, cited, and each access is on record", async () => {
  const run = await ask('bob', 'How many sales come from an active customer? Use dataset sales.');
  expect(await queries(run.id)).toEqual([{ sql: "SELECT count(*) FROM sales WHERE customer_status = 'active'", status: 'succeeded', rows: [{ 'count(*)': 72 }] }]);
  expect(answerOf(run)).toMatch(/72.*\[m:[0-9a-f]{32}\]/s);
  expect(await accesses(run.id)).toEqual([{ user_id: 'bob', object_id: 'sales', allowed: true }, { user_id: 'bob', object_id: 'sales', allowed: true }]);
});

test('a dataset the user may not read is refused before the call, said plainly, and on record', async () => {
  const run = await ask('ada', 'How much is the total salary in dataset payroll?');
  expect(run.status).toBe('completed');
  expect(answerOf(run)).toContain('tool_denied');
  expect(await queries(run.id)).toEqual([]);
  expect(await accesses(run.id)).toEqual([{ user_id: 'ada', object_id: 'payroll', allowed: false }]);
});

test('another tenant knows nothing of the definition', async () => {
  const run = await ask('ada', 'How many sales come from an active customer? Use dataset sales.', 'globex');
  expect((await queries(run.id)).map(({ sql }) => sql)).toEqual(['SELECT count(*) FROM sales']);
  expect(answerOf(run)).not.toContain('[m:');
});
