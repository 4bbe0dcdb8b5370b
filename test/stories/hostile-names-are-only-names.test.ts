// Ids, names and filters with quotes, operators and braces in them, at every route of memory and in what a model asks its memory:
// each is refused with a code of ours, or is a name nobody has; no filter is widened, and another tenant's rows, vectors and words
// stay where they are.
import { beforeAll, expect, test } from '@jest/globals';
import type { StubScript } from '../../src/dev/model-stub/wire.ts';
import { ERRORS } from '../../src/domain/errors.ts';
import { SCOPES } from '../../src/domain/status.ts';
import { defineAgent } from '../../src/run/define-agent.ts';
import { startAll } from '../../src/service.ts';
import { createKey, createTenant } from '../../src/store/engine/api-keys.ts';
import { assembleApi } from '../../workers/assemble-api.ts';
import { eventually } from '../support/agent-process.ts';
import { startMemoryFleet } from '../support/fleet.ts';
import { atFileEnd, useStack } from '../support/stack.ts';
import { openTestIndex } from '../support/test-index.ts';

const HOSTILE = ['a"] or tenant_id != "x', `mem_${'0'.repeat(31)}"`, "x' OR '1'='1", '" or true or "', '{tenant}', '%', 'a\\"', 'x) or (1==1', '*', '../globex'];
const SECRET = 'The vault of Globex is in Narwhalton.';
const stack = await useStack();
/** Asks its memory with what stands between the marks. */
const looking: StubScript = {
  name: 'looks-into-memory', matches: ({ messages, tools }) => (tools ?? []).some(({ name }) => name === 'recall_memory') && JSON.stringify(messages).includes('<<'),
  reply: ({ messages }) => (JSON.stringify(messages.at(-1)).includes('tool_result') ? { text: `Told: ${JSON.stringify(messages.at(-1))}` }
    : { toolUses: [{ name: 'recall_memory', input: JSON.parse(decodeURIComponent(/<<(.*?)>>/.exec(JSON.stringify(messages))?.[1] ?? '')) as unknown }] }),
};
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'seeker', version: 1, instructions: 'Answer shortly.', recallTool: true })], { change: { PORT: '0', RATE_LIMIT: '100000' }, scripts: [looking] });
const api = assembleApi(fleet.base, {});
const stop = await startAll(api.services, fleet.base.log);
atFileEnd(async () => { await stop(); await api.close(); });
const index = await openTestIndex(stack);
const url = `http://127.0.0.1:${api.server.port}`;
const { pool } = fleet.base.engine;
for (const tenant of ['acme', 'globex']) await createTenant(pool, tenant);
const { key } = await createKey(pool, { tenant: 'acme', user: undefined, name: 'test', scopes: SCOPES, expiresAt: undefined }, 'test');

let [run, session] = ['', 0];
beforeAll(async () => {
  await fleet.talk('seeker', `Our billing system is Zuora. ${SECRET}`, { tenant: 'globex', user: 'ada', session: 's' });
  run = (await fleet.talk('seeker', 'Our billing system is Stripe.', { tenant: 'acme', user: 'ada', session: 's' })).id;
  for (const tenant of ['acme', 'globex']) await fleet.indexed(tenant);
  await eventually('nothing of Globex moves any more', async () => (await fleet.rows(`SELECT 1 FROM agent_runs WHERE tenant_id = 'globex' AND finished_at IS NULL`)).length === 0);
}, 60_000);

const tables = (await fleet.rows<{ name: string }>(`SELECT c.relname AS name FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace ORDER BY 1`)).map(({ name }) => name);
/** Everything of the other tenant, and every memory of the asking one. */
async function kept(): Promise<unknown> {
  const rows = await Promise.all(tables.map(async (table) => [table, await fleet.rows(`SELECT md5(string_agg(t::text, '|' ORDER BY t::text)) AS digest FROM ${table} t WHERE tenant_id = 'globex'`)]));
  return { rows, mine: await fleet.rows(`SELECT id, version, statement, valid_to, erased_at, confidence FROM memories WHERE tenant_id = 'acme' ORDER BY id`), vectors: await Promise.all(['acme', 'globex'].map((tenant) => index.ids('memories', tenant))), erasures: await fleet.rows(`SELECT id FROM erasures`) };
}

interface Operation { readonly tags?: readonly string[]; readonly parameters?: readonly { readonly name: string; readonly in: string }[] }
interface Call { readonly what: string; readonly method: string; readonly path: string; readonly body?: unknown }
/** Each place of each route of memory with this text in it; the others filled with what is right. */
async function callsWith(text: string): Promise<Call[]> {
  const { paths } = await (await fetch(`${url}/openapi.json`)).json() as { paths: Record<string, Record<string, Operation>> };
  const [memory] = await fleet.rows<{ id: string }>(`SELECT id FROM memories WHERE tenant_id = 'acme'`);
  const right: Readonly<Record<string, string>> = { run: `run_${run.replaceAll('-', '')}`, memory: `mem_${memory!.id.replaceAll('-', '')}`, index: '0', erasure: `era_${'0'.repeat(32)}` };
  const bodies: Readonly<Record<string, { readonly right: object; readonly wrong: readonly object[] }>> = {
    '/v1/memories/{memory}/feedback': { right: { verdict: 'useful' }, wrong: [{ verdict: text }, { verdict: 'useful', run: text }] },
    '/v1/runs/{run}/memories/{index}/promote': { right: {}, wrong: [{ scope: text }] },
    '/v1/runs/{run}/feedback': { right: { resolved: true }, wrong: [{ resolved: text }] },
    '/v1/erasures': { right: {}, wrong: [{ memory: text }, { run: text }, { tenant: text }, { memory: [text] }] },
  };
  const fill = (path: string, hostile?: string) => path.replace(/\{(\w+)\}/g, (_whole, name: string) => encodeURIComponent(name === hostile ? text : right[name] ?? 'x'));
  return Object.entries(paths).flatMap(([path, methods]) => Object.entries(methods).flatMap(([method, { tags = [], parameters = [] }]): Call[] => {
    if (!tags.some((tag) => tag === 'memories' || tag === 'erasures') && !/memor|feedback/.test(path)) return [];
    const { right: taken, wrong } = bodies[path] ?? { right: {}, wrong: [{ id: text }, [text]] };
    const body = method === 'get' ? undefined : taken;
    return [
      ...parameters.filter((one) => one.in === 'path').map(({ name }): Call => ({ what: `${method} ${path} ${name}`, method, path: fill(path, name), body })),
      ...parameters.filter((one) => one.in === 'query').map(({ name }): Call => ({ what: `${method} ${path} ?${name}`, method, path: `${fill(path)}?${name}=${encodeURIComponent(text)}`, body })),
      ...(method === 'get' ? [] : wrong).map((given): Call => ({ what: `${method} ${path} ${JSON.stringify(given)}`, method, path: fill(path), body: given })),
    ];
  }));
}

test.each(HOSTILE)('R42: %s', async (text) => {
  const before = await kept();
  const calls = await callsWith(text);
  expect(calls.length).toBeGreaterThan(20);
  for (const { what, method, path, body } of calls) {
    const answer = await fetch(url + path, { method: method.toUpperCase(), headers: { authorization: `Bearer ${key}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }) }, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
    const said = await answer.text();
    expect([what, said.includes('Narwhalton')]).toEqual([what, false]);
    const { code, data } = JSON.parse(said) as { code?: string; data?: unknown[] };
    // A user or an agent may be called anything, and anything may be looked for: nobody of that name has a memory, and nothing of that name is here to be erased.
    if (answer.status === 200) expect([what, data ?? []]).toEqual([expect.stringMatching(/\?(user|agent|q)$/), []]);
    else expect([what, answer.status, Object.keys(ERRORS).includes(code ?? '')]).toEqual([what, answer.status === 404 ? 404 : 400, true]);
  }
  expect(await kept()).toEqual(before);
});

test.each(HOSTILE)('R42: a model that asks its memory for %s', async (text) => {
  const before = await kept();
  for (const [args, told] of [[{ query: `${text} vault` }, /Told/], [{ query: 'vault', as_of: text }, /invalid_arguments/], [{ query: 'vault', tenant: 'globex', filter: text }, /invalid_arguments/]] as const) {
    const { status, output } = await fleet.talk('seeker', `Good morning <<${encodeURIComponent(JSON.stringify(args))}>>`, { tenant: 'acme', user: text, session: `s${++session}` });
    expect([status, JSON.stringify(output)]).toEqual(['completed', expect.stringMatching(told)]);
    expect(JSON.stringify(output)).not.toContain('Narwhalton');
  }
  expect(await kept()).toEqual(before);
});
