// Old outcomes of one owner and subject become one memory, without a model: it says how many there were, when, and what came of the newest.
// What was rolled is closed and points at it; a look into the past finds what held then; never is an outcome found beside its roll-up.
import { beforeEach, expect, test } from '@jest/globals';
import { rollUpText } from '../../src/domain/roll-up.ts';
import { keepRetention } from '../../src/run/keep-retention.ts';
import { dueRetention, retain } from '../../src/store/engine/retention.ts';
import { setMemoryPolicy } from '../../src/store/memory-policies.ts';
import { liveMemories } from '../../src/store/remember-run.ts';
import { startOutcomes } from '../support/outcomes.ts';
import { useStack } from '../support/stack.ts';

const stack = await useStack();
const { fleet, index, store, outcome, memories, indexed, find } = await startOutcomes(stack);
const { pool, log } = fleet.base;
let tenant = '';
let tenants = 0;
beforeEach(() => { tenant = `t${++tenants}`; });

const rolled = async () => (await memories(tenant)).filter(({ rolls }) => rolls);

test('those of one owner and subject become one; younger ones, pinned ones, one alone and those of others stay', async () => {
  const old = [await outcome(tenant, { value: 'failed with error 504', idleDays: 120 }), await outcome(tenant, { value: 'failed with error 504', idleDays: 110 }), await outcome(tenant, { value: 'went through after a restart', idleDays: 100 })];
  const stay = [
    await outcome(tenant, { value: 'went through', idleDays: 10 }), await outcome(tenant, { value: 'is being watched', pinned: true }), await outcome(tenant, { value: 'sent', subject: 'welcome letter' }),
    await outcome(tenant, { value: 'failed for bob', user: 'bob' }), await outcome(tenant, { value: 'failed for all', user: null }),
  ];
  expect(await dueRetention(pool, tenant)).toMatchObject([{ memories: 8, closes: 0, rolls: 3, deletes: 0, takes: [{ rule: 'rollUpDays', days: 90, memories: 3 }] }]);
  await keepRetention(pool, log);
  const [one, ...more] = await rolled();
  expect(more).toEqual([]);
  const [days] = await fleet.rows<{ first: string; last: string }>(`SELECT to_char(min(valid_from) AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS first, to_char(max(valid_from) AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS last FROM memories WHERE id = ANY ($1)`, [old]);
  expect(one).toMatchObject({ live: true, statement: `3 outcomes of invoice export from ${days?.first} to ${days?.last}: result: went through after a restart; result: failed with error 504 (2 times)` });
  const all = await memories(tenant);
  expect(all.filter(({ live, rolls }) => live && !rolls).map(({ id }) => id)).toEqual(stay);
  expect(all.filter(({ live }) => !live).map(({ id, by }) => [id, by])).toEqual(old.map((id) => [id, one!.id]));
  expect(await fleet.rows(`SELECT type::text, scope::text, user_id AS user, subject, confidence, source_role::text AS role, json_array_length(evidence) AS evidence FROM memories WHERE id = $1`, [one!.id]))
    .toEqual([{ type: 'outcome', scope: 'user', user: 'ada', subject: 'invoice export', confidence: expect.closeTo(0.8), role: 'tool', evidence: 3 }]);
  expect(await fleet.rows(`SELECT details FROM audit_events WHERE tenant_id = $1 AND action = 'memory.retention'`, [tenant])).toEqual([{ details: { closed: 0, rolled: 3, deleted: 0, settings: 0, took: [{ rule: 'rollUpDays', days: 90, memories: 3 }] } }]);
  expect(await dueRetention(pool, tenant)).toEqual([]);
});

test('an outcome is found before and its roll-up afterwards, in the index and in the gate’s list too, and never both; as of then, what held then', async () => {
  const values = ['broke at the third file', 'broke at the ninth file'];
  const old: string[] = [];
  for (const value of values) old.push(await outcome(tenant, { value, subject: 'nightly copy' }));
  await indexed();
  const asked = 'What came of the nightly copy?';
  expect((await find(tenant, asked)).filter((one) => one.includes('broke at'))).toHaveLength(2);
  const beforeMs = (await fleet.rows<{ ms: number }>(`SELECT (extract(epoch FROM now()) * 1000)::float8 AS ms`))[0]!.ms;
  await retain(pool, tenant, 'test');
  const [made] = await rolled();
  const { id, statement } = made!;
  expect(await find(tenant, asked)).toEqual([statement]); // while the index still holds the old ones
  await indexed();
  expect(await find(tenant, asked)).toEqual([statement]);
  expect((await index.ids('memories', tenant)).map((one) => one.id)).toEqual([id]);
  const known = await store.withTenant({ tenant }, (tx) => liveMemories(tx, { user: 'ada', agent: 'helper', hashes: [], subjects: ['nightly copy'], ids: old, generation: index.generation }));
  expect(known.map((one) => one.id)).toEqual([id]);
  expect((await find(tenant, asked, { asOfMs: beforeMs })).sort()).toEqual(values.map((value) => `The nightly copy came to this: ${value}.`).sort());
  const [{ at }] = await fleet.rows<{ at: number }>(`SELECT (extract(epoch FROM valid_from) * 1000)::float8 AS at FROM memories WHERE id = $1`, [id]) as [{ at: number }];
  for (const asOfMs of [at - 1, at, at + 1]) expect((await find(tenant, asked, { asOfMs })).length).toBe(asOfMs < at ? 2 : 1);
});

test('later ones join it: one roll-up holds, of all lines, and the one before it is its past', async () => {
  for (const value of ['one', 'two']) await outcome(tenant, { value, idleDays: 130 });
  await retain(pool, tenant, 'test');
  for (const value of ['three', 'four']) await outcome(tenant, { value, idleDays: 120 });
  await retain(pool, tenant, 'test');
  const [first, second, ...more] = await rolled();
  expect(more).toEqual([]);
  expect([first, second]).toMatchObject([{ live: false, by: second!.id, statement: expect.stringContaining('2 outcomes') }, { live: true, by: null, statement: expect.stringContaining('4 outcomes') }]);
  for (const value of ['one', 'two', 'three', 'four']) expect(second!.statement).toContain(`result: ${value}`);
  await outcome(tenant, { value: 'five', idleDays: 110 });
  await retain(pool, tenant, 'test');
  expect((await rolled()).length).toBe(2); // one alone waits for another
});

test('the settings of a tenant say when, or never', async () => {
  await store.withTenant({ tenant }, (tx) => setMemoryPolicy(tx, { retention: { rollUpDays: 'never' } }, 'test'));
  for (const value of ['one', 'two']) await outcome(tenant, { value });
  await retain(pool, tenant, 'test');
  expect(await rolled()).toEqual([]);
  await store.withTenant({ tenant }, (tx) => setMemoryPolicy(tx, { retention: { rollUpDays: 100, idleDays: { outcome: 95 } } }, 'test'));
  expect(await dueRetention(pool, tenant)).toMatchObject([{ closes: 0, rolls: 2 }]); // rolled up rather than closed
  await store.withTenant({ tenant }, (tx) => setMemoryPolicy(tx, { retention: { rollUpDays: 101 } }, 'test'));
  expect(await dueRetention(pool, tenant)).toMatchObject([{ closes: 2, rolls: 0 }]);
});

test('the same lines are the same words, whatever their order, within the length of a statement', () => {
  const lines = Array.from({ length: 40 }, (_, n) => ({ source: `s${n}`, line: `result: ${n % 3 === 0 ? 'failed' : `went through in ${n} s`}`, saidMs: Date.UTC(2026, 0, 1 + n) }));
  const text = rollUpText('nightly copy', lines);
  expect(rollUpText('nightly copy', [...lines].reverse())).toEqual(text);
  expect(text).toMatchObject({ value: '40 outcomes', statement: expect.stringMatching(/^40 outcomes of nightly copy from 2026-01-01 to 2026-02-09: result: failed \(14 times\); result: went through in 38 s; .*; and \d+ more$/) });
  expect(text.statement.length).toBeLessThanOrEqual(300);
  expect(rollUpText('x'.repeat(120), [{ source: 's', line: 'y'.repeat(300), saidMs: 0 }]).statement).toHaveLength(300);
});
