// What was rolled up and is erased afterwards is in no roll-up any more: not in its words, its evidence, its vector, the index or a cache, also
// when the row it came from went long ago. What others have brought stays, in a roll-up made of what is left; where nothing is left, none stays.
import { beforeEach, expect, test } from '@jest/globals';
import { newId } from '../../src/ids.ts';
import { erase, type EraseDeps } from '../../src/run/erase.ts';
import { openErasures, requestErasure, type ErasureKind } from '../../src/store/engine/erase.ts';
import { retain } from '../../src/store/engine/retention.ts';
import { startOutcomes } from '../support/outcomes.ts';
import { useStack } from '../support/stack.ts';

const stack = await useStack();
const { fleet, index, run, outcome, memories, indexed, find } = await startOutcomes(stack);
const { base } = fleet;
const deps: EraseDeps = { pool: base.pool, redis: base.redis, keys: base.keys, blobs: base.blobs, index, fingerprint: fleet.memory.embedder.fingerprint, signingKey: undefined, log: base.log };
let tenant = '';
let tenants = 0;
beforeEach(() => { tenant = `t${++tenants}`; });

async function erased(kind: ErasureKind, subject: string): Promise<Record<string, Record<string, number>>> {
  const id = newId();
  expect(await requestErasure(base.pool, { tenant, id, kind, subject }, 'test')).toBe(true);
  for (let one; (one = (await openErasures(base.pool, 100)).find((erasure) => erasure.id === id));) await erase(deps, one);
  const [row] = await fleet.rows<{ receipt: Record<string, Record<string, number>> }>(`SELECT receipt FROM erasures WHERE id = $1`, [id]);
  return row!.receipt;
}

/** Names of cached vectors. */
async function vectorsCached(): Promise<Set<string>> {
  const found = new Set<string>();
  for await (const names of base.redis.scanStream({ match: `*${stack.redisPrefix}*:embedding:*`, count: 500 }) as AsyncIterable<string[]>) for (const name of names) found.add(name);
  return found;
}

const CANARY = 'quillfeather';
/** Two outcomes, one of them with the canary, rolled up and indexed; answers their ids, their runs and the roll-up. */
async function rolledUp(user: string | null = 'ada') {
  const runs = [await run(tenant, user ?? 'ada'), await run(tenant, user ?? 'bob')];
  const ids = [await outcome(tenant, { value: `${CANARY} failed`, user, runs: [runs[0]!] }), await outcome(tenant, { value: 'the others went through', user, runs: [runs[1]!] })];
  const before = await vectorsCached();
  await retain(base.pool, tenant, 'test');
  await indexed();
  const [roll] = (await memories(tenant)).filter(({ rolls }) => rolls);
  expect(roll?.statement).toContain(CANARY);
  const [vector] = [...await vectorsCached()].filter((name) => !before.has(name));
  return { ids, runs, roll: roll!.id, vector: vector! };
}

async function expectGone(roll: string, vector: string): Promise<void> {
  expect(await fleet.tablesWith(CANARY)).toEqual([]);
  expect((await index.versions('memories', tenant, [roll])).size).toBe(0);
  expect(await vectorsCached()).not.toContain(vector);
  await indexed();
  expect((await index.search('memories', { tenant, user: 'ada', agent: 'helper', text: CANARY, limit: 10, timeoutMs: 10_000 })).sparse).toEqual([]);
}
const rolls = async () => (await memories(tenant)).filter((one) => one.rolls);

test.each([['memory', 'ids'], ['run', 'runs']] as const)('a %s: what is left of the roll-up is made of the others', async (kind, of) => {
  const made = await rolledUp();
  const receipt = await erased(kind, made[of][0]!);
  expect(receipt).toMatchObject({ erased: { rollUps: 1 }, found: { memory_lineage: 0 } });
  const [left, ...more] = await rolls();
  expect(more).toEqual([]);
  expect(left).toMatchObject({ live: true, statement: expect.stringMatching(/^1 outcome of invoice export from .*: result: the others went through$/) });
  expect(left!.id).not.toBe(made.roll);
  expect((await memories(tenant)).filter(({ id }) => made.ids.includes(id)).map(({ id, by }) => [id, by])).toEqual([[made.ids[1], left!.id]]);
  expect(await fleet.rows(`SELECT run_id AS run, evidence FROM memories WHERE id = $1`, [left!.id])).toEqual([{ run: made.runs[1], evidence: [{ run_id: made.runs[1], memory_id: made.ids[1] }] }]);
  await expectGone(made.roll, made.vector);
  expect(await find(tenant, 'What came of the invoice export?')).toEqual([left!.statement]);
  await erased(kind, made[of][1]!);
  expect(await rolls()).toEqual([]); // nothing is left of it
});

test('long after its row was deleted, by its run and by its name', async () => {
  for (const [kind, of] of [['run', 'runs'], ['memory', 'ids']] as const) {
    tenant = `t${++tenants}`;
    const made = await rolledUp();
    await fleet.rows(`UPDATE memories SET valid_to = now() - interval '91 days' WHERE tenant_id = $1 AND id = ANY ($2)`, [tenant, made.ids]);
    await retain(base.pool, tenant, 'test');
    expect((await memories(tenant)).map(({ id }) => id)).toEqual([made.roll]);
    await erased(kind, made[of][0]!);
    await expectGone(made.roll, made.vector);
    expect((await rolls()).map(({ statement }) => statement)).toEqual([expect.stringContaining('the others went through')]);
  }
});

test('the roll-ups before it lose the line too, and keep their time', async () => {
  const made = await rolledUp();
  for (const value of ['three', 'four']) await outcome(tenant, { value });
  await retain(base.pool, tenant, 'test');
  await indexed();
  const before = await fleet.rows(`SELECT valid_from, valid_to FROM memories WHERE tenant_id = $1 AND rolls_up ORDER BY valid_from`, [tenant]);
  expect(before).toHaveLength(2);
  await erased('run', made.runs[0]!);
  await expectGone(made.roll, made.vector);
  const after = await rolls();
  expect(after.map(({ live, statement }) => [live, statement.slice(0, 10)]).sort()).toEqual([[false, '1 outcome '], [true, '3 outcomes']]);
  expect(after.find(({ live }) => !live)!.by).toBe(after.find(({ live }) => live)!.id);
  expect(await fleet.rows(`SELECT valid_from, valid_to FROM memories WHERE tenant_id = $1 AND rolls_up ORDER BY valid_from`, [tenant])).toEqual(before);
});

test('a user takes their words out of what everybody shares, and all of their own', async () => {
  const shared = await rolledUp(null); // the first run is ada's, the second bob's
  const own = [await outcome(tenant, { value: `${CANARY} broke`, runs: [shared.runs[0]!] }), await outcome(tenant, { value: `${CANARY} broke again`, runs: [shared.runs[0]!] })];
  await retain(base.pool, tenant, 'test');
  await indexed();
  expect(own).toHaveLength(2);
  await fleet.rows(`UPDATE agent_runs SET user_id = 'bob' WHERE id = $1`, [shared.runs[1]]);
  await erased('user', 'ada');
  await expectGone(shared.roll, shared.vector);
  expect((await rolls()).map(({ statement }) => statement)).toEqual([expect.stringContaining('the others went through')]);
  await erased('tenant', tenant);
  expect(await memories(tenant)).toEqual([]);
  expect(await fleet.rows(`SELECT FROM memory_lineage WHERE tenant_id = $1`, [tenant])).toEqual([]);
});

test('a line that another run has said as well stays when one of them goes', async () => {
  const [one, other] = [await run(tenant, 'ada'), await run(tenant, 'ada')];
  const twice = await outcome(tenant, { value: 'failed twice', runs: [one, other] });
  const candidate = { type: 'outcome', subject: 'invoice export', attribute: 'result', value: 'failed twice', statement: 'It failed twice.', evidence: [{ event_id: 'e1', quote: 'failed twice' }], source_role: 'tool', stated_or_inferred: 'stated', confidence: 'high', scope: 'user' };
  await fleet.rows(`INSERT INTO memory_candidates (tenant_id, run_id, gate_version, index, user_id, candidate, decision, stage, reason, confidence, scores, target_id) VALUES ($1, $2, 1, 0, 'ada', $3, 'REINFORCE', 'exact_duplicate', 'SAID_AGAIN', 0.8, '{}', $4)`, [tenant, other, JSON.stringify(candidate), twice]);
  await outcome(tenant, { value: 'went through', runs: [other] });
  await retain(base.pool, tenant, 'test');
  const [before] = await rolls();
  await erased('run', one);
  const [after] = await rolls();
  expect(after).toMatchObject({ id: before!.id, statement: before!.statement });
  expect((await fleet.tablesWith(one)).filter((table) => table.startsWith('memor'))).toEqual([]);
});
