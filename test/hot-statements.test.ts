// The statements every run goes through find its row by the primary key, whatever the planner believes of the table: on one
// that has just been created, whose plans a connection keeps, and on a large one with thousands of due runs. A plan that
// reads what is due, or held, or a tenant's users costs what the backlog is long, and nothing but the time it takes shows it.
import { randomUUID } from 'node:crypto';
import { afterAll, describe, expect, test } from '@jest/globals';
import { withClient } from '../src/dev/servers/migrate.ts';
import { makeLog } from '../src/log.ts';
import { claimRuns } from '../src/store/engine/claim.ts';
import { commitRunsIfHeld } from '../src/store/engine/commit.ts';
import { openEnginePool, type EnginePool } from '../src/store/engine/pool.ts';
import { submitRuns, type NewRun } from '../src/store/engine/submit.ts';
import { useStack } from './support/stack.ts';

const stack = await useStack();
const pool = openEnginePool(stack.databaseUrl, true, 1, makeLog('silent', 'test'));
afterAll(() => pool.end());

interface Node { 'Node Type': string; 'Relation Name'?: string; 'Index Name'?: string; Alias?: string; Plans?: Node[] }
const nodesOf = (node: Node): Node[] => [node, ...(node.Plans ?? []).flatMap(nodesOf)];

/** How each table is read in the generic plan of a statement; what is never read is not there. */
async function readsOf(text: string): Promise<string[]> {
  const { rows } = await pool.query<{ 'QUERY PLAN': { Plan: Node }[] }>(`EXPLAIN (GENERIC_PLAN, FORMAT JSON) ${text}`);
  const nodes = nodesOf((rows[0]?.['QUERY PLAN'][0] as { Plan: Node }).Plan).filter((node) => node['Node Type'].includes('Scan') && (node['Relation Name'] ?? node['Index Name']) !== undefined);
  return [...new Set(nodes.map((node) => `${node['Relation Name'] ?? ''} ${node.Alias ?? ''}: ${node['Index Name'] ?? node['Node Type']}`))];
}

/** The texts of submit, claim and commit, as the modules send them. */
async function hotStatements(): Promise<Map<string, string>> {
  const texts = new Map<string, string>();
  const noting = { query: (query: { name: string; text: string; values: unknown[] }) => { texts.set(query.name, query.text); return pool.query(query); } } as unknown as EnginePool;
  const run = { tenant: 't', id: randomUUID(), agent: 'a', version: 1, pool: 'agent', visible: true, user: 'u', session: null, parent: null, parentStepSeq: null, parentPath: null, expiresInMs: null, start: 's', priority: 0, idempotencyKey: randomUUID(), requestHash: 'ab', metadata: '{}', input: '{}', model: null, budgetMicroUsd: null, startAt: null, delayMs: 0 } satisfies NewRun;
  const incarnation = randomUUID();
  await submitRuns(noting, [run]);
  const [claimed] = await claimRuns(noting, [{ tenant: 't', id: run.id }], incarnation, ['a@1'], 60_000);
  expect(claimed?.id).toBe(run.id);
  await commitRunsIfHeld(noting, [{
    tenant: 't', id: run.id, parent: null, fence: claimed?.fence ?? 0n, claimedBy: incarnation, stepSeq: 0, step: { name: 's', next: null, data: null, dataBlob: null, durationMs: 1 }, version: 1, status: 'completed', waitReason: null, wakeInMs: null, stepMs: 0,
    failedAttempt: false, inboxSeq: 0, event: { type: 'run.completed', data: '{}' }, output: 'null', outputBlob: null, errorCode: null, errorMessage: null, remember: false, sessionState: null, messages: null,
  }]);
  return texts;
}

async function expectKeyedReads(): Promise<void> {
  const texts = await hotStatements();
  expect([...texts.keys()].sort()).toEqual(['claim', 'commit', 'submit']);
  for (const [name, text] of texts) {
    const reads = await readsOf(text);
    const runs = reads.filter((read) => read.startsWith('agent_runs ') && !read.startsWith('agent_runs o')); // `o`: the others of a session
    if (name !== 'submit') expect(runs.length).toBeGreaterThan(0);
    expect(runs.filter((read) => !read.endsWith(': agent_runs_pkey'))).toEqual([]);
    expect(reads.filter((read) => read.endsWith(': Seq Scan'))).toEqual([]);
  }
}

describe('submit, claim and commit find runs by their key', () => {
  test('on tables just created', expectKeyedReads);

  test('on a large table with many due runs', async () => {
    await withClient(stack.databaseUrl, async (client) => {
      await client.query(`INSERT INTO agent_runs (tenant_id, id, agent, version, pool, request_hash, input, next_step, wake_at, user_id)
        SELECT 't' || n % 20, gen_random_uuid(), 'a', 1, 'agent', '\\xab', '{}', 's', now(), 'u' || n % 50 FROM generate_series(1, 20000) AS n`);
      await client.query('VACUUM ANALYZE');
    });
    await expectKeyedReads();
  });
});
