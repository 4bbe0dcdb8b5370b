// A tenant says how many memories there may be. Where that many are, a new one comes in only in the place of a weaker one of the same
// owner, which its verdict names; what is pinned, what a user laid down as a constraint and what is another's never goes for it.
import { beforeAll, beforeEach, expect, test } from '@jest/globals';
import { Mainstay } from '../../src/client/client.ts';
import { SCOPES } from '../../src/domain/status.ts';
import { newId, publicId } from '../../src/ids.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { startAll } from '../../src/service.ts';
import { createKey, createTenant } from '../../src/store/engine/api-keys.ts';
import { replayVerdicts } from '../../src/memory/replay-verdicts.ts';
import { POLICY } from '../../src/domain/gate-policy.ts';
import { openAppStore } from '../../src/store/app-store.ts';
import { assembleApi } from '../../workers/assemble-api.ts';
import { proposing } from '../support/extraction.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

let proposed: object[] = [];
const stack = await useStack();
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer shortly.' })], { scripts: [proposing(() => proposed)], change: { PORT: '0' } });
const api = assembleApi(fleet.base, {});
const stop = await startAll(api.services, fleet.base.log);
const store = openAppStore({ url: stack.databaseUrl, asRole: true, log: fleet.base.log });
atFileEnd(async () => { await stop(); await api.close(); await store.close(); });
let client: Mainstay;
beforeAll(async () => {
  await createTenant(fleet.base.engine.pool, 'acme');
  const { key } = await createKey(fleet.base.engine.pool, { tenant: 'acme', user: undefined, name: 'test', scopes: [...SCOPES], expiresAt: undefined }, 'test');
  client = new Mainstay({ baseUrl: `http://127.0.0.1:${api.server.port}`, apiKey: key });
});
let [user, users] = ['', 0];
beforeEach(() => { user = `u${++users}`; });

/** A live fact of the user that was last said so many days ago. */
async function known(value: string, idleDays: number, { type = 'fact', of = user }: { type?: string; of?: string } = {}): Promise<string> {
  const id = newId();
  await fleet.rows(`INSERT INTO memories (tenant_id, id, scope, user_id, type, subject, attribute, value, statement, hash, source_role, confidence, evidence, run_id, gate_version, valid_from, last_seen_at)
    VALUES ('acme', $1::uuid, 'user', $2, $3::memory_type, $4, 'state', 'open', $5, sha256(convert_to($5::text || $2, 'UTF8')), 'user', 0.9, '[{"event_id":"e1","quote":"x"}]', $1::uuid, 1, now() - interval '900 days', now() - $6::int * interval '1 day')`,
  [id, of, type, value, `The ${value} is open.`, idleDays]);
  return id;
}
const candidate = (subject: string, over: Record<string, unknown> = {}) => ({
  type: 'fact', subject, attribute: 'state', value: 'closed', statement: `The ${subject} is closed.`, valid_from: null, evidence: [{ event_id: 'e1', quote: `The ${subject} is closed.` }], source_role: 'user', stated_or_inferred: 'stated', confidence: 'high', scope: 'user', ...over,
});
async function tell(...candidates: ReturnType<typeof candidate>[]): Promise<string> {
  proposed = candidates;
  return (await fleet.talk('talker', candidates.map(({ statement }) => statement).join(' '), { tenant: 'acme', user, session: newId() })).id;
}
const verdictsOf = async (run: string) => (await client.runs.memories(publicId('run', run))).verdicts;
const live = async (of = user) => (await fleet.rows<{ id: string }>(`SELECT id FROM memories WHERE user_id = $1 AND valid_to IS NULL ORDER BY id`, [of])).map(({ id }) => id);

test('over the cap of a user the weakest goes, closed and not deleted, and the verdict names it and the settings it was decided under', async () => {
  const { version } = await client.memories.setPolicy({ gate: { caps: { user: 3 } } });
  const [older, old, fresh] = [await known('lab', 600), await known('desk', 300), await known('shop', 1)];
  const [verdict] = await verdictsOf(await tell(candidate('gate')));
  expect(verdict).toMatchObject({ decision: 'ADMIT', stage: 'caps', reason: 'EVICT', target: publicId('memory', older), policy: expect.stringMatching(new RegExp(`^[0-9a-f]{12}\\.${version}$`)), scores: { cap: 'user' } });
  expect(await live()).toEqual([old, fresh, expect.any(String)]);
  const gone = await client.memories.get(publicId('memory', older));
  expect(gone).toMatchObject({ statement: 'The lab is open.', validTo: expect.any(String), supersededBy: null });
  expect((await client.memories.list({ user })).data.map(({ id }) => id)).not.toContain(gone.id);
});

test('two of one run push out two; a third that is no stronger than what is left is refused', async () => {
  await client.memories.setPolicy({ gate: { caps: { user: 3 } } });
  const weak = [await known('lab', 600), await known('desk', 700)];
  const strong = await known('shop', 0);
  await fleet.rows(`UPDATE memories SET confidence = 1, seen_count = 50 WHERE id = $1`, [strong]);
  const verdicts = await verdictsOf(await tell(candidate('gate'), candidate('yard'), candidate('roof')));
  expect(verdicts.map(({ reason, target }) => [reason, target])).toEqual([...weak.reverse().map((id) => ['EVICT', publicId('memory', id)]), ['CAP', null]]);
  expect(await live()).toHaveLength(3);
});

test('pinned memories, constraints of the user and what belongs to another stay, however weak', async () => {
  await client.memories.setPolicy({ gate: { caps: { user: 2 } } });
  const [other, pinned, constraint] = [await known('lab', 900, { of: 'somebody' }), await known('desk', 800), await known('shop', 700, { type: 'constraint' })];
  await client.memories.pin(publicId('memory', pinned), true);
  expect(await verdictsOf(await tell(candidate('gate')))).toMatchObject([{ decision: 'REJECT', stage: 'caps', reason: 'CAP', scores: { cap: 'user' } }]);
  expect(await live()).toEqual([pinned, constraint].sort());
  expect(await live('somebody')).toEqual([other]);
  await client.memories.pin(publicId('memory', pinned), false);
  expect(await verdictsOf(await tell(candidate('gate')))).toMatchObject([{ reason: 'EVICT', target: publicId('memory', pinned) }]);
});

test('a cap of a type counts that type alone; of the tenant everybody, and still only the own weakest goes', async () => {
  await client.memories.setPolicy({ gate: { caps: { user: null, types: { fact: 1 } } } });
  const [decision, fact] = [await known('lab', 900, { type: 'decision' }), await known('desk', 100)];
  expect(await verdictsOf(await tell(candidate('gate')))).toMatchObject([{ reason: 'EVICT', target: publicId('memory', fact), scores: { cap: 'type' } }]);
  const [row] = await fleet.rows<{ n: number }>(`SELECT count(*)::int AS n FROM memories WHERE tenant_id = 'acme' AND valid_to IS NULL`);
  await client.memories.setPolicy({ gate: { caps: { tenant: row?.n ?? 0, types: null } } });
  expect(await verdictsOf(await tell(candidate('yard')))).toMatchObject([{ reason: 'EVICT', target: publicId('memory', decision), scores: { cap: 'tenant' } }]);
  user = 'newcomer';
  expect(await verdictsOf(await tell(candidate('yard')))).toMatchObject([{ reason: 'CAP', scores: { cap: 'tenant' } }]);
});

test('what the run itself says again is not pushed out by what it says next', async () => {
  await client.memories.setPolicy({ gate: { caps: { tenant: null, user: 2 } } });
  const [said, other] = [await known('lab', 800), await known('desk', 200)];
  await fleet.rows(`UPDATE memories SET value = 'closed', statement = 'The lab is closed.' WHERE id = $1`, [said]);
  const verdicts = await verdictsOf(await tell(candidate('lab'), candidate('gate')));
  expect(verdicts.map(({ decision, target }) => [decision, target])).toEqual([['REINFORCE', publicId('memory', said)], ['ADMIT', publicId('memory', other)]]);
});

test('judged again nothing changes under the caps of then, and room makes them unneeded', async () => {
  const policy = (await client.memories.policy()).gate;
  expect(await replayVerdicts(store, { tenant: 'acme', user }, policy, 10)).toMatchObject({ changes: [], otherInputs: [] });
  const capped = await replayVerdicts(store, { tenant: 'acme', user: 'u3' }, { ...POLICY, caps: { ...POLICY.caps, user: 2 } }, 10);
  expect(capped).toMatchObject({ runs: 2, changes: [], otherInputs: [] });
  const open = await replayVerdicts(store, { tenant: 'acme', user: 'u3' }, POLICY, 10);
  expect(open.changes.map(({ was, now }) => [was.reason, now.reason])).toEqual([['EVICT', 'NEW'], ['CAP', 'NEW']]);
});

test('a policy that contradicts itself, or of no such field, changes nothing', async () => {
  const before = await client.memories.policy();
  await expect(client.memories.setPolicy({ gate: { admitFrom: 0.5 } })).rejects.toMatchObject({ code: 'bad_request', status: 400 });
  await expect(client.memories.setPolicy({ gate: { caps: { everybody: 1 } } } as object)).rejects.toMatchObject({ code: 'bad_request', status: 400 });
  await expect(client.memories.setPolicy({ gate: { caps: { user: -1 } } })).rejects.toMatchObject({ code: 'bad_request', status: 400 });
  expect(await client.memories.policy()).toEqual(before);
  expect(await client.memories.setPolicy({ gate: { caps: { user: 2 } } })).toEqual(before); // the same again is no new version
});
