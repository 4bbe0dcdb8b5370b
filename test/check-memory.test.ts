// The checker of memory finds each thing that must not be, and nothing where all is well: what it passes is worth something.
import { expect, test } from '@jest/globals';
import { defineAgent } from '../src/run/define-agent.ts';
import { indexHolds, memoriesHaveOrigin, memoryFaults, tenantsApart, type MemoryWitness } from './support/check-memory.ts';
import { proposing } from './support/extraction.ts';
import { startMemoryFleet } from './support/fleet.ts';
import { plantMemories } from './support/memories.ts';
import { useStack } from './support/stack.ts';
import { openTestIndex } from './support/test-index.ts';

const statement = 'The head office is in Porto.';
const stack = await useStack();
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer shortly.' })], {
  scripts: [proposing(() => [{ type: 'fact', subject: 'head office', attribute: 'city', value: 'Porto', statement, valid_from: null, evidence: [{ event_id: 'e1', quote: statement }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user' }])],
});
const index = await openTestIndex(stack);
let keys: { key: string; value: string }[] = [];
const witness: MemoryWitness = { rows: (text, values) => fleet.rows(text, values), index, keys: () => Promise.resolve(keys) };
const sql = (text: string, values: unknown[] = []) => fleet.rows(text, values);
for (const tenant of ['acme', 'globex']) await fleet.talk('talker', statement, { tenant, user: 'ada', session: 's' });
while (await fleet.memory.indexPending(200) > 0);
const [mine, theirs] = await Promise.all(['acme', 'globex'].map(async (tenant) => (await fleet.rows<{ id: string; run: string; evidence: unknown }>(`SELECT id, run_id AS run, evidence FROM memories WHERE tenant_id = $1`, [tenant]))[0]!));

test('where all is well it finds nothing', async () => {
  keys = [{ key: 'p:tool:acme:user:ada', value: statement }];
  expect(await memoryFaults(witness)).toEqual([]);
});

const vector = async (id: string): Promise<Parameters<typeof index.upsert>[1][number]> => ({ id, tenant: 'acme', user: 'ada', agent: null, scope: 'user', type: 'fact', version: 1, text: 'x', vector: (await fleet.memory.embedder.embed(['Something else.'], 'document'))[0]! });
const I13 = (): Promise<{ wrong: readonly string[] }> => memoriesHaveOrigin(witness.rows);
const I14 = (): Promise<{ wrong: readonly string[] }> => indexHolds(witness);
const I15 = (): Promise<{ wrong: readonly string[] }> => tenantsApart(witness);
const set = (column: string, to: string, back: string) => [() => sql(`UPDATE memories SET ${column} = ${to} WHERE id = $1`, [mine!.id]), () => sql(`UPDATE memories SET ${column} = ${back} WHERE id = $1`, [mine!.id])] as const;

test.each<[what: string, look: () => Promise<{ wrong: readonly string[] }>, says: RegExp, breaks: () => Promise<unknown>, mends: () => Promise<unknown>]>([
  ['a memory without a run', I13, /has no run/, ...set('run_id', 'gen_random_uuid()', `'${mine!.run}'`)],
  ['one of a run whose verdicts do not stand', I13, /do not stand: due/, () => sql(`UPDATE agent_runs SET memory_state = 'due' WHERE id = $1`, [mine!.run]), () => sql(`UPDATE agent_runs SET memory_state = 'done' WHERE id = $1`, [mine!.run])],
  ['one without a verdict', I13, /no verdict/, () => sql(`UPDATE memory_candidates SET decision = 'REJECT' WHERE memory_id = $1`, [mine!.id]), () => sql(`UPDATE memory_candidates SET decision = 'ADMIT' WHERE memory_id = $1`, [mine!.id])],
  ['one of a step that was not committed', I13, /no committed step/, ...set('gate_version', '99', '(SELECT gate_version FROM memory_candidates LIMIT 1)')],
  ['one nobody trusts', I13, /confidence/, ...set('confidence', '0', '0.8')],
  ['one whose evidence says nothing', I13, /evidence/, ...set('evidence', `'[{"quote":""}]'`, `'${JSON.stringify(mine!.evidence)}'`)],
  ['a live row without a vector', I14, /in the index it is not/, () => index.delete('memories', 'acme', [mine!.id]), async () => { await sql(`UPDATE memories SET indexed_generation = NULL`); await fleet.memory.indexPending(200); }],
  ['a vector of no live row', I14, /not live/, ...set('valid_to', 'now()', 'NULL')],
  ['a vector of an older version', I14, /at version 2, in the index 1/, ...set('version', '2', '1')],
  ['a vector that stands for something else', I14, /another vector/, async () => { await index.upsert('memories', [await vector(mine!.id)]); }, async () => { await sql(`UPDATE memories SET indexed_generation = NULL`); await fleet.memory.indexPending(200); }],
  ['a vector of another tenant’s row', I15, /another tenant's/, async () => { await index.upsert('memories', [await vector(theirs!.id)]); }, () => index.delete('memories', 'acme', [theirs!.id])],
  ['a memory that names another tenant’s', I15, /gave way to: acme names/, ...set('superseded_by', `'${theirs!.id}'`, 'NULL')],
  ['a key that holds what another said', I15, /the key p:tool:initech/, async () => { await plantMemories(sql, 'initech', [{ statement: 'Ours.' }]); keys = [{ key: 'p:tool:initech:user:x', value: statement }]; }, async () => { keys = []; await sql(`DELETE FROM memories WHERE tenant_id = 'initech'`); }],
])('%s', async (_what, look, says, breaks, mends) => {
  await breaks();
  const { wrong } = await look();
  await mends();
  expect(wrong.filter((one) => says.test(one))).not.toEqual([]);
  expect((await look()).wrong).toEqual([]);
});
