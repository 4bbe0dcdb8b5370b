// Two users of one tenant, each with a key bound to them, in sessions of the same name. Neither sees a word of the other, by
// no endpoint and not in the agent's own recall; what the team shares both see; a key of the tenant without `users:any`
// sees neither, and one with it sees both.
import { beforeAll, expect, test } from '@jest/globals';
import { SCOPES } from '../../src/domain/status.ts';
import { ACTS_ON_A_RUN, askEverything, converse, until, type Ids, type Party } from '../support/meet.ts';
import { startRealFleet } from '../support/real-fleet.ts';
import { openTestIndex } from '../support/test-index.ts';
import { useStack } from '../support/stack.ts';

const stack = await useStack();
const fleet = await startRealFleet(stack);
const party = async (user: string, canary: string): Promise<Party> => ({ tenant: 'acme', canary, user, session: 'same', key: await fleet.makeKey({ tenant: 'acme', user }) });
const ada = await party('ada', 'Quokkaberg');
const bob = await party('bob', 'Narwhalton');
const pairs: [name: string, mine: Party, other: Party][] = [['ada', ada, bob], ['bob', bob, ada]];
const ids = new Map<Party, Ids>();
beforeAll(async () => { for (const one of [ada, bob]) ids.set(one, await converse(fleet, one)); }, 90_000);
const ownIds = (one: Party): Ids => ids.get(one) ?? {};

test.each(pairs)('every read endpoint answers %s with their own words only, also when asked for the other’s', async (_name, mine, other) => {
  const own = await askEverything(fleet, mine.key, ownIds(mine));
  const foreign = await askEverything(fleet, mine.key, ownIds(other));
  for (const { what, text } of [...own, ...foreign]) if (text.includes(other.canary)) throw new Error(`${what} shows ${other.user}'s words to ${mine.user}`);
  expect(own.filter(({ text }) => text.includes(mine.canary)).length).toBeGreaterThanOrEqual(10);
  for (const { what, status } of foreign.filter(({ what }) => /\{(run|memory|approval|document)\}/.test(what))) expect([what, status]).toEqual([what, 404]);
  for (const { what, status } of foreign.filter(({ what }) => what.includes('?user'))) expect([what, status]).toEqual([what, 403]); // naming another is refused, not emptied
});

test.each(pairs)('%s can neither act for the other nor on what is theirs', async (_name, mine, other) => {
  const send = async (method: string, path: string, body?: unknown) => (await fetch(`${fleet.url}${path}`, { method, headers: { authorization: `Bearer ${mine.key}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) }, ...(body === undefined ? {} : { body: JSON.stringify(body) }) })).status;
  const keyOfOther = (await fleet.rows<{ id: string }>(`SELECT id FROM api_keys WHERE user_id = $1`, [other.user]))[0]?.id ?? '';
  const count = async () => (await fleet.rows<{ n: number }>(`SELECT count(*)::int AS n FROM agent_runs WHERE user_id = $1`, [other.user]))[0]?.n;
  const before = await count();
  expect(await send('POST', '/v1/runs', { agent: 'support-agent', input: { message: 'as the other' }, user: other.user })).toBe(403);
  for (const [path, body] of ACTS_ON_A_RUN) expect([path, await send('POST', `/v1/runs/${ownIds(other)['run']}${path}`, body)]).toEqual([path, 404]);
  expect(await send('POST', `/v1/approvals/${ownIds(other)['approval']}/decide`, { approved: true })).toBe(404);
  expect(await send('POST', '/v1/runs/bulk', { action: 'cancel', filter: { user: other.user }, dryRun: false })).toBe(403);
  expect(await send('DELETE', `/v1/keys/${keyOfOther}`)).toBe(404);
  expect(await send('POST', '/v1/keys', { name: 'x', scopes: ['runs:read'], user: other.user })).toBe(403);
  expect(await send('PUT', `/v1/permissions/${mine.user}`, { scopes: ['everything'] })).toBe(403);
  expect(await count()).toBe(before);
});

test('an agent recalls for its own user only; what the team defined, for everybody', async () => {
  const share = await fleet.client(ada.key).runs.create({ agent: 'support-agent', input: { message: 'A premium customer means one with a Zuora contract.' } });
  await fleet.client(ada.key).runs.wait(share.id, { timeoutMs: 30_000 });
  await until('the shared memory', async () => (await fleet.rows(`SELECT 1 FROM memories WHERE scope = 'workspace' AND indexed_generation IS NOT NULL`)).length === 1);
  const asked = await fleet.client(bob.key).runs.create({ agent: 'support-agent', input: { message: 'What does premium customer mean, and which billing system do I have?' } });
  await fleet.client(bob.key).runs.wait(asked.id, { timeoutMs: 30_000 });
  const [trace] = (await fleet.client(bob.key).runs.traces(asked.id)).data;
  const shown = trace?.injected.map(({ statement }) => statement).join('\n') ?? '';
  expect([shown.includes('remium customer'), shown.includes(bob.canary), shown.includes(ada.canary)]).toEqual([true, true, false]);
});

test('a key of the tenant without `users:any` sees neither; with it, both', async () => {
  const nobody = await askEverything(fleet, await fleet.makeKey({ tenant: 'acme', scopes: SCOPES.filter((scope) => scope !== 'users:any') }), ownIds(ada));
  for (const { what, text } of nobody) for (const { canary } of [ada, bob]) if (text.includes(canary)) throw new Error(`${what} shows a user's words to a key of nobody`);
  const everybody = await askEverything(fleet, await fleet.makeKey({ tenant: 'acme' }), {});
  const all = everybody.map(({ text }) => text).join('\n');
  expect([all.includes(ada.canary), all.includes(bob.canary)]).toEqual([true, true]);
});

test('the index gives neither the other’s vectors, and no log line holds words of either', async () => {
  const index = await openTestIndex(stack);
  for (const [, mine, other] of pairs) {
    const search = async (text: string) => (await index.search('memories', { tenant: 'acme', user: mine.user, agent: 'support-agent', text, limit: 50, timeoutMs: 5_000 })).sparse.length;
    expect([await search(mine.canary) > 0, await search(other.canary)]).toEqual([true, 0]);
    expect(fleet.logs().split('\n').filter((line) => line.includes(mine.canary))).toEqual([]);
  }
});
