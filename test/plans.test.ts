// The plans of the hot statements, on empty tables and on full ones, as Postgres makes them for the values at hand and as it
// keeps them for any values. A wrong index is silent: everything works, a hundred times slower. So every statement names the
// indexes it may use, and none may read a table of runs from end to end.
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import pg from 'pg';
import { makeLog } from '../src/log.ts';
import { BOARD_LISTS, boardLog, boardRun, countBoard, listBoard } from '../src/store/engine/board.ts';
import { claimDue, claimRuns } from '../src/store/engine/claim.ts';
import { commitRunsIfHeld } from '../src/store/engine/commit.ts';
import { fillToolResult, openToolCallIfHeld, recordedCalls, recordResultIfHeld } from '../src/store/engine/ledger.ts';
import { takeSteersIfHeld } from '../src/store/engine/multitask.ts';
import { refusedRun, seatRunning } from '../src/store/engine/permits.ts';
import { openEnginePool, type EnginePool } from '../src/store/engine/pool.ts';
import { submitDebounced, submitRuns } from '../src/store/engine/submit.ts';
import { abandonedRuns, duePage, FIRST_DUE, latestDue, readyRuns, stillDue } from '../src/store/engine/sweeps.ts';
import { sendSignal } from '../src/store/engine/waits.ts';
import { statusCounts, workOf } from '../src/store/engine/work.ts';
import { registerWorker, renewLeaseIfHeld, retireWorker } from '../src/store/engine/workers.ts';
import { CALL, commitOf, HASH, MACHINES, newRun, newWorker, placeOf, RESULT, STEP, TENANT } from './support/run-bench.ts';
import { useStack } from './support/stack.ts';

const RUNS = 100_000;
const stack = await useStack();
const pool = openEnginePool(stack.databaseUrl, true, 2, makeLog('silent', 'test'));
const owner = new pg.Pool({ connectionString: stack.databaseUrl, max: 1 });
afterAll(async () => { await Promise.all([pool.end(), owner.end()]); });

/** Tables that grow with every run. */
const GROWING = ['agent_runs', 'run_steps', 'run_events', 'tool_calls', 'model_calls', 'step_records', 'signals'];
const KEY = 'agent_runs_pkey';
/** Who is under a limit reads them up to that limit; a claim without one does not. */
const PERMITS = ['agent_runs_tenant_permit', 'agent_runs_agent_permit', 'agent_runs_key_permit'];
/** What each statement may use of them. */
const ALLOWED = {
  'submit': [],
  'submit in session': [],
  'submit debounced': [],
  'ready runs': [KEY, 'agent_runs_session'],
  'still due': [KEY, 'agent_runs_session'],
  'claim fresh': [KEY],
  'claim by id': [KEY, 'agent_runs_session', 'run_steps_pkey'],
  'claim with permits': [KEY, 'agent_runs_session', 'run_steps_pkey', ...PERMITS],
  'claim due': [KEY, 'agent_runs_due', 'agent_runs_held', 'agent_runs_session', 'run_steps_pkey', ...PERMITS],
  'claim after a dead worker': ['run_steps_pkey', 'model_calls_open'],
  'refused': [KEY, 'agent_runs_session'],
  'seat': [KEY, 'agent_runs_held'],
  'due page': [KEY, 'agent_runs_due', 'agent_runs_session'],
  'latest due': [KEY, 'agent_runs_due', 'agent_runs_session'],
  'abandoned': [KEY, 'agent_runs_held'],
  'tool intent': [KEY],
  'fill result': [KEY, 'tool_calls_pkey'],
  'record': [KEY],
  'steers': ['agent_runs_steers'],
  'recorded calls': ['step_records_pkey', 'tool_calls_pkey', 'model_calls_pkey'],
  'signal': [KEY],
  'renew': ['agent_runs_held'],
  'checkpoint': [KEY],
  'completion': [KEY, 'model_calls_pkey'],
  'commit': [KEY, 'model_calls_pkey'],
  'commit in session': [KEY, 'model_calls_pkey'],
  'work': ['agent_runs_due', 'agent_runs_held'],
  'status counts': ['agent_runs_due', 'agent_runs_held', 'agent_runs_untimed'],
  'board counts': ['agent_runs_due', 'agent_runs_held', 'agent_runs_untimed', 'agent_runs_ended_well', 'agent_runs_ended_badly'],
  'board active': [KEY, 'agent_runs_idempotency', 'agent_runs_held'],
  'board waiting': [KEY, 'agent_runs_idempotency', 'agent_runs_due'],
  'board delayed': [KEY, 'agent_runs_idempotency', 'agent_runs_due'],
  'board paused': [KEY, 'agent_runs_idempotency', 'agent_runs_untimed'],
  'board completed': [KEY, 'agent_runs_idempotency', 'agent_runs_ended_well'],
  'board failed': [KEY, 'agent_runs_idempotency', 'agent_runs_ended_badly'],
  'board log': [KEY, 'run_events_pkey', 'run_steps_pkey'],
} as const;
type Name = keyof typeof ALLOWED;

interface Statement { readonly text: string; readonly values: unknown[] | undefined }
const sent = new Map<Name, Statement>();

/** Sends each hot statement once, as the product does, and keeps what was sent. */
beforeAll(async () => {
  const door = (name: Name): EnginePool => {
    const query = (given: string | { text: string; values: unknown[] }, values?: unknown[]): unknown => {
      const one = typeof given === 'string' ? { text: given, values } : given;
      sent.set(name, one);
      return pool.query(one.text, one.values);
    };
    return { query } as unknown as EnginePool;
  };
  const holder = randomUUID();
  await registerWorker(pool, { incarnation: holder, name: 'w', pool: 'agent', machines: MACHINES, leaseMs: 600_000 });
  const run = newRun({ user: 'ann', session: 's1', idempotencyKey: 'k1' });
  await submitRuns(door('submit in session'), [run]);
  await submitRuns(door('submit'), [newRun({ user: 'ann', idempotencyKey: 'k2' })]);
  await submitDebounced(door('submit debounced'), newRun({ debounceKey: HASH, delayMs: 600_000 }));
  await readyRuns(door('ready runs'), TENANT, [run.id]);
  const [claimed] = await claimRuns(door('claim by id'), [{ tenant: TENANT, id: run.id }], holder, MACHINES, 60_000);
  const fresh = newRun({ user: 'ann' });
  await submitRuns(pool, [fresh]);
  const [first] = await claimRuns(door('claim fresh'), [{ tenant: TENANT, id: fresh.id }], holder, MACHINES, 60_000);
  const held = { id: run.id, holder, fence: claimed?.fence ?? 0n, inboxRead: 0 };
  await openToolCallIfHeld(door('tool intent'), placeOf(held, '0'), CALL);
  await fillToolResult(door('fill result'), placeOf(held, '0'), RESULT);
  await recordResultIfHeld(door('record'), placeOf(held, '1'), 'r', HASH, { json: '1', blob: null });
  await recordedCalls(door('recorded calls'), [{ tenant: TENANT, run: run.id, stepSeq: 1 }]);
  await takeSteersIfHeld(door('steers'), placeOf(held, '2'), { user: 'ann', session: 's1', agent: 'still' }, HASH);
  await sendSignal(door('signal'), { tenant: TENANT, run: run.id, user: undefined, id: randomUUID(), name: 'go', payload: '1', sentBy: 'key:1', idempotencyKey: undefined });
  await renewLeaseIfHeld(door('renew'), holder, 60_000);
  const limited = newRun({ concurrencyKey: 'k', concurrencyLimit: 2 });
  await submitRuns(pool, [limited]);
  await claimRuns(door('claim with permits'), [{ tenant: TENANT, id: limited.id }], holder, MACHINES, 60_000);
  const left = newRun();
  const dead = await newWorker(pool);
  await submitRuns(pool, [left]);
  await claimRuns(pool, [{ tenant: TENANT, id: left.id }], dead, MACHINES, 60_000);
  await retireWorker(pool, dead);
  await claimRuns(door('claim after a dead worker'), [{ tenant: TENANT, id: left.id }], holder, MACHINES, 60_000); // its last statement is kept
  await refusedRun(door('refused'), TENANT, limited.id, MACHINES);
  await seatRunning(door('seat'));
  await commitRunsIfHeld(door('checkpoint'), [commitOf(held, { step: STEP })]);
  await commitRunsIfHeld(door('commit in session'), [commitOf(held, { inSession: true, stepSeq: 1, status: 'completed', step: { ...STEP, next: null } })]);
  await commitRunsIfHeld(door('completion'), [commitOf({ ...held, id: fresh.id, fence: first?.fence ?? 0n }, { status: 'completed', step: { ...STEP, next: null }, event: { type: 'run.completed', data: '{}' } })]);
  await commitRunsIfHeld(door('commit'), [commitOf(held, { stepSeq: 1, status: 'completed', step: { ...STEP, next: null } })]);
  await duePage(door('due page'), 'agent', FIRST_DUE, 100);
  await latestDue(door('latest due'), 'agent', 100);
  await stillDue(door('still due'), [{ tenant: TENANT, id: run.id }]);
  await abandonedRuns(door('abandoned'), 'agent');
  await claimDue(door('claim due'), 'agent', 10, holder, MACHINES, 60_000);
  await workOf(door('work'), 'agent');
  await statusCounts(door('status counts'));
  await countBoard(door('board counts'), 'agent');
  for (const list of BOARD_LISTS) await listBoard(door(`board ${list}`), 'agent', list, 0, 49);
  await boardLog(door('board log'), { tenant: TENANT, id: run.id });
});

interface Node { 'Node Type': string; 'Actual Rows': number; 'Actual Loops': number; 'Rows Removed by Filter'?: number; 'Relation Name'?: string; 'Index Name'?: string; 'Index Cond'?: string; Plans?: Node[] }

async function plan(name: Name, kind: 'for these values' | 'for any values'): Promise<Node[]> {
  const one = sent.get(name);
  if (!one) throw new Error(`${name} was not sent`);
  const { rows } = await (kind === 'for any values' ? pool.query<{ 'QUERY PLAN': { Plan: Node }[] }>(`EXPLAIN (GENERIC_PLAN, FORMAT JSON) ${one.text}`) : pool.query<{ 'QUERY PLAN': { Plan: Node }[] }>(`EXPLAIN (FORMAT JSON) ${one.text}`, one.values));
  const flat = (node: Node): Node[] => [node, ...(node.Plans ?? []).flatMap(flat)];
  return flat(rows[0]?.['QUERY PLAN'][0]?.Plan as Node);
}

/** Words for every scan of a growing table that is none of those allowed; a key counts only with all of it. */
function faultsOf(name: Name, nodes: readonly Node[]): string[] {
  const allowed: readonly string[] = ALLOWED[name];
  return nodes.flatMap((node) => {
    const [table, index] = [node['Relation Name'], node['Index Name']];
    if (node['Node Type'] === 'Seq Scan' && table !== undefined && GROWING.includes(table)) return [`reads all of ${table}`];
    if (index === undefined || !GROWING.some((one) => index.startsWith(`${one}_`))) return [];
    if (!allowed.includes(index)) return [`uses ${index}`];
    return index.endsWith('_pkey') && !/\b(run_)?id = /.test(node['Index Cond'] ?? '') ? [`uses ${index} by ${node['Index Cond'] ?? 'nothing'}`] : [];
  });
}

const NAMES = Object.keys(ALLOWED) as Name[];
const KINDS = ['for these values', 'for any values'] as const;

/** A page of the board is planned anew each time it is asked for; the plans of the rest may be as old as their connection. */
const KEPT = NAMES.filter((name) => !BOARD_LISTS.some((list) => name === `board ${list}`));

describe.each(KINDS)('on empty tables, %s', (kind) => {
  test.each(KEPT)('%s', async (name) => { expect(faultsOf(name, await plan(name, kind))).toEqual([]); });
});

describe('on full tables', () => {
  beforeAll(fill, 60_000);

  describe.each(KINDS)('%s', (kind) => {
    test.each(NAMES)('%s', async (name) => { expect(faultsOf(name, await plan(name, kind))).toEqual([]); });
  });

  test('the fallback reads the index of due runs in its order, and stops', async () => {
    const ordered = (await plan('claim due', 'for any values')).filter((node) => node['Index Name'] === 'agent_runs_due');
    expect(ordered.map((node) => node['Node Type'])).toEqual(['Index Scan']); // a bitmap would collect and sort the whole backlog
  });
});

test('a run of the board is found by its id alone, at a look under each tenant', async () => {
  const { rows } = await owner.query<{ id: string }>(`SELECT id FROM agent_runs WHERE tenant_id = 't7' LIMIT 1`);
  const id = rows[0]?.id ?? '';
  let text = '';
  const door = { query: (one: { text: string; values: unknown[] }) => { text = one.text; return pool.query(one.text, one.values); } } as unknown as EnginePool;
  expect(await boardRun(door, 'agent', id)).toMatchObject({ tenant: 't7', id });
  const { rows: [explained] } = await pool.query<{ 'QUERY PLAN': { Plan: Node }[] }>(`EXPLAIN (ANALYZE, FORMAT JSON) ${text}`, ['agent', id]);
  const reads = (node: Node): number => ((node['Relation Name'] === 'agent_runs' ? node['Actual Rows'] * node['Actual Loops'] + (node['Rows Removed by Filter'] ?? 0) : 0) + (node.Plans ?? []).reduce((sum, one) => sum + reads(one), 0));
  expect(reads(explained?.['QUERY PLAN'][0]?.Plan as Node)).toBeLessThan(150); // of 100,000 runs of 46 tenants
});

test('a plan that reads a table from end to end is found', async () => {
  sent.set('renew', { text: 'SELECT FROM agent_runs WHERE agent = $1', values: ['x'] });
  expect(faultsOf('renew', await plan('renew', 'for these values'))).not.toEqual([]);
});

/** 100,000 runs of 50 tenants with their steps and calls: most have ended, a backlog is due, some wait, some run. */
async function fill(): Promise<void> {
  await owner.query(`INSERT INTO workers (id, incarnation, name, pool, machines, lease_until)
    SELECT nextval('worker_seq'), gen_random_uuid(), 'w', 'agent', '{still@1}', now() + interval '1 hour' FROM generate_series(1, 50)`);
  await owner.query(`INSERT INTO agent_runs (tenant_id, id, agent, version, pool, user_id, session_id, session_seq, status, wait_reason, wake_at, request_hash, input, next_step, started_at, finished_at, claimed_by, step_seq, event_seq, idempotency_key)
    SELECT CASE WHEN n % 5 = 0 THEN '${TENANT}' ELSE 't' || n % 50 END, gen_random_uuid(), 'still', 1, 'agent', 'u' || n % 1000, CASE WHEN n % 3 = 0 THEN 's' || n END, CASE WHEN n % 3 = 0 THEN 1 END, status, CASE WHEN status = 'waiting' THEN 'signal'::wait_reason END,
      CASE WHEN status <> 'waiting' THEN now() - n * interval '1 second' END, '\\xab', '{}', 'one', now(), CASE WHEN status = 'completed' THEN now() END, CASE WHEN status = 'running' THEN worker END, 2, 4, CASE WHEN n % 2 = 0 THEN 'key' || n END
    FROM generate_series(1, ${RUNS}) n, LATERAL (SELECT (ARRAY['completed', 'completed', 'completed', 'queued', 'waiting'])[1 + n / 7 % 5]::run_status AS ended) e,
      LATERAL (SELECT CASE WHEN n % 100 = 0 THEN 'running'::run_status ELSE ended END AS status) s, LATERAL (SELECT incarnation AS worker FROM workers ORDER BY id OFFSET n / 100 % 50 LIMIT 1) w`);
  await owner.query(`INSERT INTO run_steps (tenant_id, run_id, seq, event_seq, fence, name, duration_ms) SELECT tenant_id, id, s, s + 1, 1, 'one', 1 FROM agent_runs, generate_series(1, 2) s ON CONFLICT DO NOTHING`);
  await owner.query(`INSERT INTO tool_calls (tenant_id, run_id, step_seq, path, key, fence, tool, tool_version, effect, status, args_hash, request, finished_at)
    SELECT tenant_id, id, 1, '0', id::text, 1, 't', 1, 'read', 'succeeded', '\\xab', '{}', now() FROM agent_runs ON CONFLICT DO NOTHING`);
  await owner.query('ANALYZE');
}
