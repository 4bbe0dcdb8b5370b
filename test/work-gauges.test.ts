// What a sweep of maintenance shows of the work there is: by pool, by version, and by tenant with an end to how many are named; and
// the slot time a worker served each tenant.
import { expect, test } from '@jest/globals';
import { Maintenance } from '../src/run/maintain.ts';
import { echo, makeHeld } from './support/api-machines.ts';
import { startFleet } from './support/fleet.ts';
import { plantMemories } from './support/memories.ts';
import { useStack } from './support/stack.ts';

const stack = await useStack();
const held = makeHeld();
const fleet = await startFleet(stack, [echo, held.machine]);
const { engine, queues, metrics, log } = fleet.base;
/** A maintenance of its own each time: one counts anew only every GAUGES_MS. */
const sweep = (): Promise<void> => new Maintenance({ engine, queues, metrics, log, fire: () => Promise.resolve(), remember: () => Promise.resolve(), index: () => Promise.resolve(0) }).sweep();
const shown = async (name: string): Promise<Record<string, number>> => {
  const lines = (await metrics.registry.metrics()).split('\n').filter((line) => line.startsWith(`mainstay_${name}{`));
  return Object.fromEntries(lines.map((line) => [/tenant="([^"]*)"/.exec(line)?.[1] ?? /pool="([^"]*)"/.exec(line)?.[1] ?? '', Number(line.split(' ').at(-1))]));
};
const due = (tenant: string, runs: number, ageS: number, agent = 'echo'): Promise<object[]> => fleet.rows(
  `INSERT INTO agent_runs (tenant_id, id, agent, version, pool, status, wake_at, request_hash, input, next_step) SELECT $1, gen_random_uuid(), $4, 1, 'agent', 'queued', now() - $3 * interval '1 second', '\\xab', '{"word":"w"}', 'say' FROM generate_series(1, $2::int)`, [tenant, runs, ageS, agent]);

test('the largest tenants are named, the others are one, and who has nothing more has no series', async () => {
  for (let n = 1; n <= 25; n++) await due(`t${n}`, n, n * 100);
  await sweep();
  const depth = await shown('tenant_due_runs');
  expect(Object.keys(depth)).toHaveLength(21);
  expect(depth).toMatchObject({ t25: 25, t6: 6, _other: 15 }); // t1 to t5
  const oldest = await shown('tenant_oldest_due_run_seconds');
  expect([oldest['t25'], oldest['_other']].map((seconds) => Math.round(Number(seconds) / 100))).toEqual([25, 5]);
  expect(await shown('runnable_runs')).toEqual({ agent: 325, memory: 0 });
  expect(Math.round(Number((await shown('oldest_ready_run_seconds'))['agent']) / 100)).toBe(25);
  await fleet.rows(`UPDATE agent_runs SET status = 'cancelled', finished_at = now() WHERE tenant_id <> 't3'`);
  await sweep();
  expect(await shown('tenant_due_runs')).toEqual({ t3: 3 });
});

test('runs of a version that no living worker has are blocked, and counted with their tenant', async () => {
  await fleet.rows(`UPDATE agent_runs SET status = 'cancelled', finished_at = now() WHERE finished_at IS NULL`);
  await fleet.worker();
  await due('acme', 2, 10, 'nobodys');
  await sweep();
  expect([await shown('blocked_runs'), await shown('runnable_runs'), await shown('tenant_due_runs')]).toEqual([{ agent: 2, memory: 0 }, { agent: 0, memory: 0 }, { acme: 2 }]);
  expect(await metrics.registry.metrics()).toContain('mainstay_runs{status="queued",process="test"} 2');
});

test('what memory owes is shown: rows the index does not hold, with the age of the oldest that could be found, and candidates in quarantine', async () => {
  const [old, closed] = await plantMemories((text, values) => fleet.rows(text, values), 'acme', [{ user: 'ada', statement: 'one' }, { user: 'ada', statement: 'two', to: '2020-01-02', from: '2020-01-01' }, { user: 'ada', statement: 'three' }]);
  await fleet.rows(`UPDATE memories SET created_at = now() - CASE id WHEN $1 THEN interval '2000 s' ELSE interval '9000 s' END, last_seen_at = now() - CASE id WHEN $1 THEN interval '1000 s' ELSE interval '9000 s' END WHERE id IN ($1, $2)`, [old, closed]);
  for (const [at, decision] of ['QUARANTINE', 'QUARANTINE', 'QUARANTINE', 'REJECT'].entries()) {
    await fleet.rows(`INSERT INTO memory_candidates (tenant_id, run_id, gate_version, index, user_id, candidate, decision, stage, reason, confidence, scores) VALUES ('acme', gen_random_uuid(), 1, $1::int, 'ada', '{}', $2::verdict_decision, 'confidence', 'UNSURE', 0.6, '{}')`, [at, decision]);
  }
  await fleet.rows(`UPDATE memory_candidates SET promoted_at = now(), promoted_by = 'key:test' WHERE index = 2`);
  await fleet.rows(`INSERT INTO documents (tenant_id, id, title, hash, bytes, chunks, added_by) VALUES ('acme', '00000000-0000-7000-8000-000000000001', 'One', '\\x01', 8, 2, 'key:test')`);
  await fleet.rows(`INSERT INTO document_chunks (tenant_id, id, document_id, ordinal, start_at, end_at, text, hash) SELECT 'acme', gen_random_uuid(), '00000000-0000-7000-8000-000000000001', n, n * 4, n * 4 + 4, 'text', '\\x02' FROM generate_series(0, 1) n`);
  await sweep();
  const text = await metrics.registry.metrics();
  expect(text).toContain('mainstay_index_owed_rows{table="memories",process="test"} 3');
  expect(text).toContain('mainstay_index_owed_rows{table="run_summaries",process="test"} 0');
  expect(text).toContain('mainstay_index_owed_rows{table="document_chunks",process="test"} 2');
  expect(text).toContain('mainstay_quarantined_candidates{process="test"} 2');
  const seconds = Number(/index_owed_seconds\{table="memories"[^}]*\} (\S+)/.exec(text)?.[1]);
  expect([seconds >= 1_000, seconds < 2_000]).toEqual([true, true]);
});

test('slot time is counted for whom it was served', async () => {
  const { id } = await fleet.base.submit({ tenant: 'globex', door: 'test', agent: 'held', input: { word: 'slow' } });
  await held.begun('slow');
  held.letGo('slow');
  await fleet.ended('globex', id);
  const served = await shown('slot_seconds_total');
  expect([Object.keys(served), Number(served['globex']) > 0]).toEqual([['globex'], true]); // nothing of acme ran
});
