// A person says what a memory should say: from then on that is recalled, what held before is kept as such, and who has not seen the present
// version changes nothing. Memories are looked for as a recall does, within the same walls.
import { beforeEach, expect, test } from '@jest/globals';
import { Mainstay } from '../../src/client/client.ts';
import { SCOPES } from '../../src/domain/status.ts';
import { parseId, publicId } from '../../src/ids.ts';
import { erase } from '../../src/run/erase.ts';
import { createKey, createTenant } from '../../src/store/engine/api-keys.ts';
import { openErasures } from '../../src/store/engine/erase.ts';
import { plantMemories } from '../support/memories.ts';
import { spawnCli } from '../support/spawn-cli.ts';
import { startDocuments } from '../support/documents.ts';
import { useStack } from '../support/stack.ts';
import { openTestIndex } from '../support/test-index.ts';

const stack = await useStack();
const { api, memory: parts, index: fill } = await startDocuments(stack);
const { fleet } = api;
const { base } = fleet;
const index = await openTestIndex(stack);
let [tenant, tenants] = ['', 0];
let client: Mainstay;
async function keyOf(user?: string, scopes: readonly (typeof SCOPES)[number][] = SCOPES): Promise<string> {
  return (await createKey(base.pool, { tenant, user, name: 'test', scopes: [...scopes], expiresAt: undefined }, 'test')).key;
}
const clientOf = (apiKey: string): Mainstay => new Mainstay({ baseUrl: api.url, apiKey });
let key = '';
beforeEach(async () => {
  tenant = `t${++tenants}`;
  await createTenant(base.pool, tenant);
  key = await keyOf();
  client = clientOf(key);
});

const ZUORA = 'Our billing system is Zuora.';
const STRIPE = 'Our billing system is Stripe.';
/** A fact about the billing system; answers its public id. */
async function planted(statement = ZUORA, user: string | null = 'ada', subject = 'billing system'): Promise<string> {
  const [id] = await plantMemories((text, values) => fleet.rows(text, values), tenant, [{ user, statement, subject }]);
  await fleet.rows(`UPDATE memories SET attribute = 'name', value = 'Zuora', confidence = 0.8, source_role = 'tool' WHERE id = $1`, [id]);
  return publicId('memory', id!);
}
const found = async (q = 'Which billing system do we have?', over = {}) => (await client.memories.search({ q, user: 'ada', ...over })).data.map(({ statement }) => statement);

test('what the person says is recalled from then on, and what held before is kept as such', async () => {
  const old = await planted();
  await fill();
  expect(await found()).toEqual([ZUORA]);
  const [{ ms: beforeMs }] = await fleet.rows<{ ms: number }>(`SELECT (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS ms`) as [{ ms: number }];
  const corrected = await client.memories.correct(old, { version: 1, statement: STRIPE, value: 'Stripe' });
  expect(corrected).toMatchObject({ statement: STRIPE, value: 'Stripe', subject: 'billing system', version: 1, confidence: 1, sourceRole: 'user', validTo: null, pinned: false });
  expect(await client.memories.get(old)).toMatchObject({ statement: ZUORA, validTo: expect.any(String), supersededBy: corrected.id });
  expect(await found()).toEqual([STRIPE]); // not yet indexed
  await fill();
  expect(await found()).toEqual([STRIPE]);
  expect(await found(undefined, { asOf: new Date(beforeMs).toISOString() })).toEqual([ZUORA]);
  expect((await index.ids('memories', tenant)).map(({ id }) => publicId('memory', id))).toEqual([corrected.id]);
  expect(await fleet.rows(`SELECT action, object_id AS object, details FROM audit_events WHERE tenant_id = $1 AND action = 'memory.corrected'`, [tenant])).toEqual([{ action: 'memory.corrected', object: corrected.id, details: { was: old, version: 1, fields: ['statement', 'value'] } }]);
});

test('who has not seen the present version changes nothing', async () => {
  const id = await planted();
  const change = { statement: STRIPE, value: 'Stripe' };
  await expect(client.memories.correct(id, { version: 2, ...change })).rejects.toMatchObject({ code: 'memory_changed', status: 412 });
  await expect(client.memories.correct(id, change)).rejects.toMatchObject({ code: 'bad_request', status: 400 });
  const both = await Promise.allSettled(['Stripe', 'Chargebee'].map((value) => client.memories.correct(id, { version: 1, statement: `Our billing system is ${value}.`, value })));
  expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']); // of two who saw the same one is told
  expect(both.find((one) => one.status === 'rejected')).toMatchObject({ reason: { code: 'memory_changed' } });
  await expect(client.memories.correct(id, { version: 2, ...change })).rejects.toMatchObject({ code: 'memory_closed', status: 409 });
  expect(await fleet.rows(`SELECT count(*)::int AS n FROM memories WHERE tenant_id = $1`, [tenant])).toEqual([{ n: 2 }]);
  const other = await planted('The harbour opens at six.', 'ada', 'harbour');
  const sent = (headers: Record<string, string>) => api.call<{ statement: string }>('PATCH', `/v1/memories/${other}`, { key, headers, body: { statement: 'The harbour opens at seven.', value: 'seven' } });
  expect((await sent({ 'if-match': '"7"' })).status).toBe(412);
  expect(await sent({ 'if-match': '"1"' })).toMatchObject({ status: 200, body: { statement: 'The harbour opens at seven.' } });
});

test('bad corrections are refused with what is wrong', async () => {
  const id = await planted();
  const { id: twin } = await client.memories.correct(await planted('We bill with Stripe or Zuora.'), { version: 1, statement: STRIPE, value: 'Stripe' });
  for (const [change, code] of [
    [{ statement: STRIPE, value: 'Stripe' }, 'memory_exists'], [{ statement: 'Our billing system is Chargebee.' }, 'bad_request'], [{}, 'bad_request'], [{ statement: 'x'.repeat(301) }, 'bad_request'],
    [{ statement: 'Our billing system is Zuora, key sk-ant-api03-abcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-abcdefghijklmno.' }, 'bad_request'], [{ statement: 'Our billing system is Zu\u200bora.', value: 'x' }, 'bad_request'],
    [{ statement: 'Our billing system is paid with 4111 1111 1111 1111.', value: '4111 1111 1111 1111' }, 'bad_request'], [{ statement: 'Zuora', confidence: 1 }, 'bad_request'],
  ] as const) await expect(client.memories.correct(id, { version: 1, ...change })).rejects.toMatchObject({ code });
  expect(await client.memories.get(id)).toMatchObject({ statement: ZUORA, version: 1, validTo: null });
  expect(await client.memories.correct(twin, { version: 1, pinned: true })).toMatchObject({ id: twin, pinned: true, version: 1 }); // the pin alone makes no version
  await fleet.rows(`UPDATE memories SET rolls_up = true WHERE id = $1`, [parseId('memory', id)]);
  await expect(client.memories.correct(id, { version: 1, statement: 'Zuora.' })).rejects.toMatchObject({ code: 'bad_request' });
});

test('a key of one user corrects and finds what is theirs alone', async () => {
  const [mine, theirs, shared] = [await planted(ZUORA, 'ada'), await planted('Our billing system of bob is Zuora.', 'bob'), await planted('Everybody bills with Zuora.', null)];
  const ada = clientOf(await keyOf('ada'));
  expect((await ada.memories.search({ q: 'billing system Zuora' })).data.map(({ id }) => id).sort()).toEqual([mine, shared].sort());
  await expect(ada.memories.search({ q: 'billing', user: 'bob' })).rejects.toMatchObject({ code: 'forbidden' });
  await expect(ada.memories.correct(theirs, { version: 1, statement: 'x Zuora' })).rejects.toMatchObject({ code: 'not_found' });
  await expect(ada.memories.correct(shared, { version: 1, statement: 'x Zuora' })).rejects.toMatchObject({ code: 'forbidden' });
  expect(await ada.memories.correct(mine, { version: 1, statement: 'We bill with Zuora.' })).toMatchObject({ statement: 'We bill with Zuora.', user: 'ada' });
  const nobody = clientOf(await keyOf(undefined, SCOPES.filter((scope) => scope !== 'users:any')));
  expect((await nobody.memories.search({ q: 'billing system Zuora' })).data.map(({ id }) => id)).toEqual([shared]);
});

test('who erases one version erases all of them', async () => {
  const first = await planted('Our billing system is Quillfeather Zuora.');
  const second = await client.memories.correct(first, { version: 1, statement: 'Our billing system is Quillfeather Stripe.', value: 'Stripe' });
  await client.memories.correct(second.id, { version: 1, statement: 'Our billing system is Quillfeather Adyen.', value: 'Adyen' });
  await planted('The harbour opens at six.');
  await fill();
  await client.erasures.create({ memory: second.id });
  for (let one; (one = (await openErasures(base.pool, 10))[0]);) await erase({ pool: base.pool, redis: base.redis, keys: base.keys, blobs: base.blobs, index, fingerprint: parts.embedder.fingerprint, signingKey: undefined, log: base.log }, one);
  expect((await fleet.rows<{ statement: string }>(`SELECT statement FROM memories WHERE tenant_id = $1`, [tenant])).map(({ statement }) => statement)).toEqual(['The harbour opens at six.']);
  expect(await fleet.rows(`SELECT FROM memory_lineage WHERE tenant_id = $1`, [tenant])).toEqual([]);
  expect((await index.ids('memories', tenant))).toHaveLength(1);
});

test('the command line searches and corrects', async () => {
  const id = await planted();
  const env = { MAINSTAY_URL: api.url, MAINSTAY_API_KEY: key };
  expect((await spawnCli(['memories', 'search', 'billing system', '--user', 'ada'], { env })).out).toContain(ZUORA);
  expect((await spawnCli(['memories', 'correct', id, '--statement', STRIPE, '--value', 'Stripe'], { env })).out).toContain(STRIPE);
  expect(await spawnCli(['memories', 'correct', id, '--statement', STRIPE, '--value', 'Stripe', '--if-version', '1'], { env })).toMatchObject({ code: 1, err: expect.stringContaining('memory_changed') });
});
