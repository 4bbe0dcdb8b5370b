// Stored verdicts judged again: under the policy they were made by nothing changes; under another one exactly what follows from it;
// and where a run's grounds are no longer what they were, that is said instead of judging on others.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { POLICY, policyVersion } from '../src/domain/gate-policy.ts';
import { gatePolicyOf, policyNameOf } from '../src/domain/memory-settings.ts';
import { replayVerdicts } from '../src/memory/replay-verdicts.ts';
import { defineAgent } from '../src/run/define-agent.ts';
import { openAppStore } from '../src/store/app-store.ts';
import { setMemoryPolicy } from '../src/store/memory-policies.ts';
import { proposing } from './support/extraction.ts';
import { startMemoryFleet } from './support/fleet.ts';
import { spawnCli } from './support/spawn-cli.ts';
import { atFileEnd, useStack } from './support/stack.ts';

let proposed: Record<string, unknown>[] = [];
const stack = await useStack();
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer shortly.' })], { scripts: [proposing(() => proposed)] });
const store = openAppStore({ url: stack.databaseUrl, asRole: true, log: fleet.base.log });
atFileEnd(() => store.close());
const folder = mkdtempSync(join(tmpdir(), 'mainstay-replay-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const scope = { tenant: 'acme', user: 'ada' };
const candidate = (attribute: string, value: string, statement: string, quote: string, over: Record<string, unknown> = {}) => ({
  type: 'fact', subject: 'user', attribute, value, statement, valid_from: null, evidence: [{ event_id: 'e1', quote }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user', ...over,
});
let runs: string[];
beforeAll(async () => {
  const talk = async (session: string, message: string, ...candidates: Record<string, unknown>[]): Promise<string> => {
    proposed = candidates;
    const run = await fleet.talk('talker', message, { tenant: 'acme', user: session.length > 1 ? 'bob' : 'ada', session });
    await fleet.indexed('acme');
    return run.id;
  };
  runs = [
    await talk('a', 'We are on the Basic plan and ship to Norway.', candidate('plan', 'Basic', 'The user is on the Basic plan.', 'We are on the Basic plan'), candidate('ships to', 'Norway', 'The user ships to Norway.', 'ship to Norway')),
    await talk('b', 'We are on the Pro plan. My password is Xk29sdf!q', candidate('plan', 'Pro', 'The user is on the Pro plan.', 'We are on the Pro plan'), candidate('password', 'Xk29sdf!q', 'The password is Xk29sdf!q.', 'My password is Xk29sdf!q')),
  ];
  const unsure = candidate('speed', 'slower', 'The upload seems slower.', 'The upload seems slower', { type: 'outcome', stated_or_inferred: 'inferred', confidence: 'low' });
  for (const session of ['b1', 'b2']) await talk(session, 'The upload seems slower.', unsure);
});

test('every verdict names its policy and a digest of its inputs; the inputs stand once a run, and hold no words', async () => {
  const rows = await fleet.rows<{ policy: string; inputs_hash: string; inputs: unknown; index: number }>(`SELECT policy, inputs_hash, inputs, index FROM memory_candidates ORDER BY run_id, index`);
  expect(rows).toHaveLength(6);
  expect(new Set(rows.map(({ policy }) => policy))).toEqual(new Set([policyVersion(POLICY)]));
  for (const row of rows) { expect(row.inputs_hash).toMatch(/^[0-9a-f]{64}$/); expect(row.inputs === null).toBe(row.index > 0); }
  expect(JSON.stringify(rows.map(({ inputs }) => inputs))).not.toMatch(/Basic|Norway/);
});

test('under the policy they were made by nothing changes', async () => {
  expect(await replayVerdicts(store, scope, POLICY, 100)).toEqual({ runs: 2, verdicts: 4, changes: [], otherInputs: [] });
});

test('a promotion by another sighting is judged again on the candidate it stood on', async () => {
  const bob = { tenant: 'acme', user: 'bob' };
  expect((await fleet.rows<{ reason: string }>(`SELECT reason FROM memory_candidates WHERE user_id = 'bob' ORDER BY run_id`)).map(({ reason }) => reason)).toEqual(['UNSURE', 'SEEN_AGAIN']);
  expect(await replayVerdicts(store, bob, POLICY, 100)).toEqual({ runs: 2, verdicts: 2, changes: [], otherInputs: [] });
  expect((await replayVerdicts(store, bob, { ...POLICY, quarantineFrom: 0.7 }, 100)).changes.map(({ now }) => now.reason)).toEqual(['LOW_CONFIDENCE', 'LOW_CONFIDENCE']);
});

test('under another one what follows from it changes, and nothing is written', async () => {
  const before = await fleet.rows(`SELECT * FROM memory_candidates ORDER BY run_id, index`);
  const { changes } = await replayVerdicts(store, scope, { ...POLICY, admitFrom: 0.99 }, 100);
  expect(changes.map(({ run, was, now }) => [run, was.decision, now.decision])).toEqual([[runs[1], 'SUPERSEDE', 'QUARANTINE'], [runs[0], 'ADMIT', 'QUARANTINE'], [runs[0], 'ADMIT', 'QUARANTINE']]);
  expect(await fleet.rows(`SELECT * FROM memory_candidates ORDER BY run_id, index`)).toEqual(before);
});

test('for one type alone, by a tenant for itself: its verdicts say so, replay goes by it, and other types and tenants are as they were', async () => {
  const judged = async (tenant: string) => {
    proposed = [candidate('depot', 'Graz', 'The depot of the user is in Graz.', 'Our depot is in Graz'), candidate('door', 'east', 'The user takes in goods at the east door.', 'we take in goods at the east door', { type: 'decision' })];
    const { id } = await fleet.talk('talker', 'Our depot is in Graz and we take in goods at the east door.', { tenant, user: 'dora', session: 's' });
    return fleet.rows<{ decision: string; reason: string; policy: string }>(`SELECT decision::text, reason, policy FROM memory_candidates WHERE run_id = $1 ORDER BY index`, [id]);
  };
  const { policy } = await store.withTenant({ tenant: 'picky' }, (tx) => setMemoryPolicy(tx, { gate: { byType: { fact: { admitFrom: 0.99 } } } }, 'test'));
  const [fact, decision] = await judged('picky');
  expect([fact, decision]).toMatchObject([{ decision: 'QUARANTINE', reason: 'UNSURE' }, { decision: 'ADMIT' }]);
  expect(fact?.policy).toBe(policyNameOf(gatePolicyOf(policy), 1));
  expect(fact?.policy).not.toBe(policyNameOf(POLICY, 1));
  expect(await judged('plain')).toMatchObject([{ decision: 'ADMIT', policy: policyVersion(POLICY) }, { decision: 'ADMIT' }]);
  expect((await replayVerdicts(store, { tenant: 'picky' }, gatePolicyOf(policy), 10)).changes).toEqual([]);
  expect((await replayVerdicts(store, { tenant: 'picky' }, POLICY, 10)).changes.map(({ now }) => now.decision)).toEqual(['ADMIT']);
  const refused = { code: 'bad_request', message: expect.stringContaining('gate.byType.fact.admitFrom') as unknown };
  for (const fact of [{ admitFrom: 0.5 }, { admitFrom: 0.8, quarantineFrom: 0.9 }]) await expect(store.withTenant({ tenant: 'picky' }, (tx) => setMemoryPolicy(tx, { gate: { byType: { fact } } }, 'test'))).rejects.toMatchObject(refused);
});

test('page by page, and no further than the limit; another user or tenant has nothing to replay', async () => {
  expect(await replayVerdicts(store, scope, POLICY, 1)).toMatchObject({ runs: 1 });
  expect(await replayVerdicts(store, { tenant: 'acme', user: 'cem' }, POLICY, 100)).toMatchObject({ runs: 0 });
  expect(await replayVerdicts(store, { tenant: 'other' }, POLICY, 100)).toMatchObject({ runs: 0 });
});

test('on the command line: what would change, and a policy that is wrong is refused with its place', async () => {
  const file = join(folder, 'policy.json');
  const env = { DATABASE_URL: stack.databaseUrl, REDIS_URL: stack.redisUrl, MILVUS_ADDRESS: stack.milvusAddress };
  writeFileSync(file, JSON.stringify({ maxAdmits: 1, weights: { evidence: 0.35 } }));
  const said = await spawnCli(['memories', 'replay', '--tenant', 'acme', '--user', 'ada', '--policy', file], { cwd: folder, env });
  expect(said.out).toMatch(/run_\w+ 1: ADMIT \(.*\) would be REJECT \(caps CAP\): The user ships to Norway\.\n4 verdicts of 2 runs .* 1 would change/s);
  writeFileSync(file, JSON.stringify({ admitFrom: 7 }));
  const refused = await spawnCli(['memories', 'replay', '--tenant', 'acme', '--policy', file], { cwd: folder, env });
  expect(refused.code).not.toBe(0);
  expect(refused.err).toMatch(/admitFrom/);
});

test('a run whose grounds have changed is counted, not judged', async () => {
  await fleet.rows(`UPDATE memories SET statement = 'The user was on the Basic plan.' WHERE statement LIKE '%Basic%'`);
  expect(await replayVerdicts(store, scope, POLICY, 100)).toMatchObject({ runs: 1, otherInputs: [runs[1]] });
});
