// The plans of the hot statements, on empty tables and on full ones, as Postgres makes them for the values at hand and as it
// keeps them for any values. A wrong index is silent: everything works, a hundred times slower. So every statement names the
// indexes it may use, and none may read a table of runs from end to end.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { makeLog } from '../src/log.ts';
import { claimDue, claimRuns } from '../src/store/engine/claim.ts';
import { commitRunsIfHeld } from '../src/store/engine/commit.ts';
import { fillToolResult, openToolCallIfHeld, recordedCalls, recordResultIfHeld } from '../src/store/engine/ledger.ts';
import { openEnginePool, type EnginePool } from '../src/store/engine/pool.ts';
import { submitRuns } from '../src/store/engine/submit.ts';
import { sendSignal } from '../src/store/engine/waits.ts';
import { registerWorker, renewLeaseIfHeld } from '../src/store/engine/workers.ts';
import { CALL, commitOf, HASH, MACHINES, newRun, placeOf, RESULT, STEP, TENANT } from './support/run-bench.ts';
import { freshDatabase, useStack } from './support/stack.ts';

const RUNS = 100_000;
const stack = await useStack();

interface Statement { readonly text: string; readonly values: unknown[] }
interface Node { 'Node Type': string; 'Relation Name'?: string; 'Index Name'?: string; Plans?: Node[] }

/** Each hot statement as the product sends it, with the values it had. */
async function statements(pool: EnginePool): Promise<Map<string, Statement>> {
  const sent = new Map<string, Statement>();
  let naming = '';
  const query = (given: string | { text: string; values: unknown[] }, values: unknown[] = []): unknown => {
    const one = typeof given === 'string' ? { text: given, values } : given;
    if (!sent.has(naming)) sent.set(naming, { text: one.text, values: one.values });
    return pool.query(one.text, one.values);
  };
  const door = { query } as unknown as EnginePool;
  const note = async <T>(name: string, work: Promise<T>): Promise<T> => work;
  const holder = randomUUID();
  await registerWorker(pool, { incarnation: holder, name: 'w', pool: 'agent', machines: MACHINES, leaseMs: 600_000 });
  const run = newRun({ user: 'ann', session: 's1', idempotencyKey: 'k1' });
  void note;
  naming = 'submit'; await submitRuns(door, [run]);
  naming = 'claim'; const [claimed] = await claimRuns(door, [{ tenant: TENANT, id: run.id }], holder, MACHINES, 60_000);
  const held = { id: run.id, holder, fence: claimed?.fence ?? 0n, inboxRead: 0 };
  naming = 'tool intent'; await openToolCallIfHeld(door, placeOf(held, '0'), CALL);
  naming = 'fill result'; await fillToolResult(door, placeOf(held, '0'), RESULT);
  naming = 'record'; await recordResultIfHeld(door, placeOf(held, '1'), 'r', HASH, { json: '1', blob: null });
  naming = 'recorded calls'; await recordedCalls(door, TENANT, run.id, 1);
  naming = 'signal'; await sendSignal(door, { tenant: TENANT, run: run.id, user: undefined, id: randomUUID(), name: 'go', payload: '1', sentBy: 'key:1', idempotencyKey: undefined });
  naming = 'renew'; await renewLeaseIfHeld(door, holder, 60_000);
  naming = 'commit'; await commitRunsIfHeld(door, [commitOf(held, { step: STEP })]);
  naming = 'claim due'; await claimDue(door, 'agent', 10, holder, MACHINES, 60_000);
  return sent;
}
test('look', async () => {
  const url = await freshDatabase();
  const pool = openEnginePool(url, true, 2, makeLog('silent', 'test'));
  const sent = await statements(pool);
  const owner = new pg.Client({ connectionString: url }); await owner.connect();
  const show = async (title: string) => {
    for (const [name, one] of sent) {
      for (const kind of ['custom', 'generic']) {
      const client = await pool.connect();
      const { rows } = kind === 'custom' ? await client.query<{ 'QUERY PLAN': any }>(`EXPLAIN (FORMAT JSON) ${one.text}`, one.values) : await client.query<{ 'QUERY PLAN': any }>(`EXPLAIN (GENERIC_PLAN, FORMAT JSON) ${one.text}`);
      client.release();
      const uses: string[] = [];
      const walk = (n: any): void => { if (n['Relation Name'] && n['Node Type'] !== 'ModifyTable') uses.push(`${n['Node Type']} ${n['Relation Name']}`); if (n['Index Name']) uses.push(`   ${n['Node Type']} ${n['Index Name']} ${n['Index Cond'] ?? ''}`); for (const p of n.Plans ?? []) walk(p); };
      walk(rows[0]!['QUERY PLAN'][0].Plan);
      process.stderr.write(`${title} ${name} ${kind}: cost ${rows[0]!['QUERY PLAN'][0].Plan['Total Cost']}\n  ${uses.join('\n  ')}\n`);
      }
    }
  };
  await show('EMPTY');
  await owner.query(`INSERT INTO workers (id, incarnation, name, pool, machines, lease_until) SELECT nextval('worker_seq'), gen_random_uuid(), 'w', 'agent', '{still@1}', now() + interval '1 hour' FROM generate_series(1, 50)`);
  await owner.query(`INSERT INTO agent_runs (tenant_id, id, agent, version, pool, user_id, session_id, session_seq, status, wait_reason, wake_at, request_hash, input, next_step, started_at, finished_at, claimed_by, step_seq, event_seq, idempotency_key)
    SELECT CASE WHEN n % 10 = 0 THEN 'acme' ELSE 't' || n % 50 END, gen_random_uuid(), 'still', 1, 'agent', 'u' || n % 1000, CASE WHEN n % 3 = 0 THEN 's' || n END, CASE WHEN n % 3 = 0 THEN 1 END,
      (ARRAY['completed', 'completed', 'completed', 'completed', 'completed', 'completed', 'completed', 'queued', 'waiting', 'running'])[1 + n % 10]::run_status, CASE WHEN n % 10 = 8 THEN 'signal'::wait_reason END,
      CASE WHEN n % 10 = 8 THEN NULL ELSE now() - n * interval '1 second' END, '\\xab', '{}', 'one', now(), CASE WHEN n % 10 < 7 THEN now() END, CASE WHEN n % 10 = 9 THEN (SELECT incarnation FROM workers ORDER BY id OFFSET n % 50 LIMIT 1) END, 2, 4, CASE WHEN n % 2 = 0 THEN 'key' || n END
    FROM generate_series(1, ${RUNS}) n`);
  await owner.query(`INSERT INTO run_steps (tenant_id, run_id, seq, event_seq, fence, name, duration_ms) SELECT tenant_id, id, s, s + 1, 1, 'one', 1 FROM agent_runs, generate_series(1, 2) s WHERE step_seq = 2`);
  await owner.query(`INSERT INTO tool_calls (tenant_id, run_id, step_seq, path, key, fence, tool, tool_version, effect, status, args_hash, request, finished_at) SELECT tenant_id, id, 1, '0', id::text, 1, 't', 1, 'read', 'succeeded', '\\xab', '{}', now() FROM agent_runs`);
  await owner.query('ANALYZE');
  await show('LARGE');
  await owner.end(); await pool.end();
}, 120000);
