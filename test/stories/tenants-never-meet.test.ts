// Two tenants with the same user, session and idempotency names. Whatever one asks, by whatever door, the other's words are in
// no reply, no row, no key, no vector and no log line. Each also finds its own words: a door that shows nothing proves nothing.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { beforeAll, expect, test } from '@jest/globals';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { redisKeys } from '../../src/redis.ts';
import { ACTS_ON_A_RUN, askEverything, converse, redisDump, until, type Ids, type Party } from '../support/meet.ts';
import { startRealFleet } from '../support/real-fleet.ts';
import { openTestIndex } from '../support/test-index.ts';
import { useStack } from '../support/stack.ts';

const stack = await useStack();
const fleet = await startRealFleet(stack, { INTAKE: 'crm-a=acme,crm-b=globex' });
const party = async (tenant: string, canary: string): Promise<Party> => ({ tenant, canary, user: 'ada', session: 'same', key: await fleet.makeKey({ tenant }) });
const acme = await party('acme', 'Quokkaberg');
const globex = await party('globex', 'Narwhalton');
const pairs: [name: string, mine: Party, other: Party][] = [['acme', acme, globex], ['globex', globex, acme]];
const ids = new Map<Party, Ids>();
beforeAll(async () => { for (const one of [acme, globex]) ids.set(one, await converse(fleet, one)); }, 90_000);

const ownIds = (one: Party): Ids => ids.get(one) ?? {};

test.each(pairs)('every read endpoint answers %s with its own words only, also when asked for the other’s ids', async (_name, mine, other) => {
  const own = await askEverything(fleet, mine.key, ownIds(mine));
  const foreign = await askEverything(fleet, mine.key, ownIds(other));
  for (const { what, text } of [...own, ...foreign]) if (text.includes(other.canary)) throw new Error(`${what} shows ${other.tenant}'s words to ${mine.tenant}`);
  expect(own.filter(({ text }) => text.includes(mine.canary)).map(({ what }) => what)).toEqual(expect.arrayContaining([
    'GET /v1/runs', 'GET /v1/runs/{run}', 'GET /v1/runs/{run}/steps', 'GET /v1/runs/{run}/tool-calls', 'GET /v1/runs/{run}/model-calls', 'GET /v1/runs/{run}/memories', 'GET /v1/runs/{run}/traces',
    'GET /v1/memories', 'GET /v1/memories/{memory}', 'GET /v1/documents', 'GET /v1/documents/{document}', 'GET /v1/documents/{document}/chunks', 'GET /v1/documents/search?q&user', 'GET /v1/approvals', 'GET /v1/approvals/{approval}', 'GET /v1/sessions/{session}/messages?user',
  ]));
  // what belongs to the other by its id is as if it were not there
  for (const { what, status } of foreign.filter(({ what }) => /\{(run|memory|approval|document)\}/.test(what))) expect([what, status]).toEqual([what, 404]);
});

test.each(pairs)('%s can neither cancel, revoke nor change what is the other’s', async (_name, mine, other) => {
  const send = (method: string, path: string, body?: unknown) => fetch(`${fleet.url}${path}`, { method, headers: { authorization: `Bearer ${mine.key}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) }, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  const keyOfOther = (await fleet.rows<{ id: string }>(`SELECT id FROM api_keys WHERE tenant_id = $1`, [other.tenant]))[0]?.id ?? '';
  const before = await fleet.rows(`SELECT * FROM permissions WHERE tenant_id = $1`, [other.tenant]);
  for (const [path, body] of ACTS_ON_A_RUN) expect([path, (await send('POST', `/v1/runs/${ownIds(other)['run']}${path}`, body)).status]).toEqual([path, 404]);
  expect((await send('POST', `/v1/approvals/${ownIds(other)['approval']}/decide`, { approved: true })).status).toBe(404);
  expect(await (await send('POST', '/v1/runs/bulk', { action: 'retry', filter: {}, all: true, dryRun: false })).json()).toMatchObject({ matched: 0 });
  expect((await send('DELETE', `/v1/keys/${keyOfOther}`)).status).toBe(404);
  expect((await send('PUT', '/v1/permissions/ada', { datasets: ['sales'] })).status).toBe(200); // its own ada
  expect(await fleet.rows(`SELECT * FROM permissions WHERE tenant_id = $1`, [other.tenant])).toEqual(before);
  expect(await fleet.client(other.key).agents.list()).toBeDefined(); // the key lives
});

test('the same idempotency key is two runs, one in each tenant', async () => {
  const made = await Promise.all(pairs.map(([, mine]) => fleet.client(mine.key).runs.create({ agent: 'support-agent', input: { message: `again, ${mine.canary}` } }, { idempotencyKey: 'the-same' })));
  expect(new Set(made.map(({ id }) => id)).size).toBe(2);
});

test('a plain BullMQ job belongs to the tenant of its queue, whatever it says', async () => {
  const redis = new Redis(stack.redisUrl, { maxRetriesPerRequest: null });
  const queues = ['crm-a', 'crm-b'].map((source) => new Queue(`intake-${source}`, { connection: redis, prefix: redisKeys(stack.redisPrefix).bull }));
  try {
    const [crmA, crmB] = queues as [Queue, Queue];
    const add = (queue: Queue, { canary }: Party) => queue.add('run', { agent: 'support-agent', input: { message: `by queue, ${canary}` }, user: 'ada' }, { jobId: 'job-same' });
    const forged = await crmA.add('run', { agent: 'support-agent', input: { message: 'x' }, tenant: 'globex' });
    const jobs = [await add(crmA, acme), await add(crmB, globex), forged];
    for (const job of jobs) await until('an answer', async () => (await job.isCompleted()) || (await job.isFailed()));
    expect(await forged.isFailed()).toBe(true);
    const tenants = await fleet.rows<{ tenant_id: string; words: string }>(`SELECT tenant_id, input ->> 'message' AS words FROM agent_runs WHERE input ->> 'message' LIKE 'by queue,%' ORDER BY 1`);
    expect(tenants).toEqual([{ tenant_id: 'acme', words: `by queue, ${acme.canary}` }, { tenant_id: 'globex', words: `by queue, ${globex.canary}` }]);
  } finally {
    await Promise.all(queues.map((queue) => queue.close()));
    redis.disconnect();
  }
});

test.each(pairs)('the command line shows %s its own and not the other’s', async (_name, mine, other) => {
  const cli = async (...words: string[]) => promisify(execFile)(process.execPath, ['src/cli/main.ts', ...words], { env: { ...process.env, NODE_OPTIONS: '', MAINSTAY_URL: fleet.url, MAINSTAY_API_KEY: mine.key } }).then(({ stdout }) => stdout, (error: { stderr: string; stdout: string }) => error.stdout + error.stderr);
  const said = await Promise.all([cli('runs', 'list', '--json'), cli('runs', 'get', ownIds(mine)['run'] ?? '', '--json'), cli('memories', 'list', '--json'), cli('sessions', 'messages', 'same', '--user', 'ada', '--json'), cli('runs', 'get', ownIds(other)['run'] ?? '')]);
  expect(said.join('\n')).not.toContain(other.canary);
  expect(said.slice(0, 4).map((text) => text.includes(mine.canary))).toEqual([true, true, true, true]);
  expect(said[4]).toContain('not_found');
});

test('no row, no Redis key and no vector of one holds words of the other', async () => {
  const tables = (await fleet.rows<{ name: string }>(`SELECT c.relname AS name FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace`)).map(({ name }) => name);
  for (const [, mine, other] of pairs) {
    const holding: string[] = [];
    for (const table of tables) {
      const found = await fleet.rows<{ tenant_id: string }>(`SELECT DISTINCT tenant_id FROM ${table} t WHERE t::text LIKE '%' || $1 || '%'`, [mine.canary]);
      if (found.length > 0) holding.push(table);
      expect([table, found.filter(({ tenant_id }) => tenant_id !== mine.tenant)]).toEqual([table, []]);
    }
    expect(holding.sort()).toEqual(expect.arrayContaining(['agent_runs', 'memories', 'memory_candidates', 'messages', 'model_calls', 'run_summaries', 'tool_calls']));
    const dump = await redisDump(stack.redisUrl, stack.redisPrefix);
    expect(dump.length).toBeGreaterThan(0);
    const source = mine === acme ? 'intake-crm-a' : 'intake-crm-b';
    expect(dump.filter(({ key, value }) => value.includes(mine.canary) && !key.includes(`:${mine.tenant}:`) && !key.includes(source)).map(({ key }) => key)).toEqual([]);
    expect(dump.filter(({ key, value }) => (key.includes(`:${mine.tenant}:`) || key.includes(source)) && value.includes(other.canary)).map(({ key }) => key)).toEqual([]);
  }
  const index = await openTestIndex(stack);
  const idsOf = async (tenant: string) => new Set((await index.ids('memories', tenant)).map(({ id }) => id));
  const [a, b] = [await idsOf('acme'), await idsOf('globex')];
  expect([a.size > 0, b.size > 0, [...a].filter((id) => b.has(id))]).toEqual([true, true, []]);
  const owned = await fleet.rows<{ tenant_id: string; id: string }>(`SELECT tenant_id, id FROM memories`);
  expect(owned.filter(({ tenant_id, id }) => (tenant_id === 'acme' ? b : a).has(id))).toEqual([]);
  for (const [, mine, other] of pairs) {
    const { sparse } = await index.search('memories', { tenant: mine.tenant, user: 'ada', agent: 'support-agent', text: other.canary, limit: 50, timeoutMs: 5_000 });
    expect(sparse).toEqual([]);
    expect((await index.search('memories', { tenant: mine.tenant, user: 'ada', agent: 'support-agent', text: mine.canary, limit: 50, timeoutMs: 5_000 })).sparse.length).toBeGreaterThan(0);
  }
});

test('no log line of any process holds words of either', () => {
  const logs = fleet.logs();
  expect(logs.length).toBeGreaterThan(1_000);
  for (const { canary } of [acme, globex]) expect(logs.split('\n').filter((line) => line.includes(canary))).toEqual([]);
});
