// Who may ask the API for what, what it answers when something is wrong, what it documents, and what it leaves on record.
import { describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import { SCOPES, type Scope } from '../src/domain/status.ts';
import { MAX_BODY_BYTES } from '../src/domain/tunables.ts';
import type { ApiKey, Approval, AuditLine, CreatedKey, Memory, Message, Limits, Page, Permission, Problem, RetrievalTrace, Run, RunItem, RunMemories, Session, Usage } from '../src/domain/wire.ts';
import { newId, parseId, publicId } from '../src/ids.ts';
import { echo } from './support/api-machines.ts';
import { startApi } from './support/api.ts';
import { useStack } from './support/stack.ts';

const stack = await useStack();
const METRICS_TOKEN = 'metrics-token';
const api = await startApi(stack, [echo], { config: { METRICS_TOKEN } });
await api.fleet.worker();
const { pool } = api.fleet.base.engine;
const all = await api.makeKey();
const problem = (method: string, path: string, options: Parameters<typeof api.call>[2] = {}) => api.call<Problem>(method, path, { key: all, ...options });
const finished = async (user: string, session: string): Promise<Run> =>
  (await api.call<Run>('POST', '/v1/runs?wait=15', { key: all, body: { agent: 'echo', input: { word: `canary of ${user}` }, user, session } })).body;
const runs = { ada: await finished('ada', 's'), bob: await finished('bob', 's') };

/** What remembering would have left: one memory of ada's run, recalled once; and a message. */
const memoryId = newId();
const runId = parseId('run', runs.ada.id)!;
await pool.query('SET ROLE NONE'); // the owner's login: these rows are written by other processes
await pool.query(`INSERT INTO memories (tenant_id, id, scope, user_id, type, subject, attribute, value, statement, hash, confidence, source_role, evidence, run_id, gate_version, valid_from)
  VALUES ('acme', $1, 'user', 'ada', 'preference', 'ada', 'tea', 'green', 'Ada drinks green tea.', decode(repeat('00', 32), 'hex'), 0.9, 'user', '[{"message":1}]', $2, 1, now())`, [memoryId, runId]);
/** What ada's run would have asked. */
const approvalId = newId();
await pool.query(`INSERT INTO approvals (tenant_id, id, run_id, user_id, step_seq, path, args_hash, subject, request) VALUES ('acme', $1, $2, 'ada', 1, '0', '', 'send', '{"to":"bob"}')`, [approvalId, runId]);
await pool.query(`INSERT INTO messages (tenant_id, user_id, session_id, run_id, role, content) SELECT 'acme', 'ada', 's', $1, 'user', 'message ' || n FROM generate_series(1, 5) n`, [runId]);

describe('access', () => {
  const BODIES: Record<string, unknown> = { signals: { name: 'go' }, fork: { fromStep: 0 }, outcomes: { stepSeq: 1, path: '0', outcome: 'succeeded' } };
  const routes: [scope: Scope, method: string, path: string, body?: unknown][] = [
    ['runs:write', 'POST', '/v1/runs', { agent: 'echo', input: { word: 'x' } }], ['runs:write', 'POST', `/v1/runs/${runs.ada.id}/cancel`], ['runs:read', 'GET', '/v1/runs'], ['runs:read', 'GET', `/v1/runs/${runs.ada.id}`],
    ['runs:read', 'GET', `/v1/runs/${runs.ada.id}/steps`], ['runs:read', 'GET', `/v1/runs/${runs.ada.id}/tool-calls`], ['runs:read', 'GET', `/v1/runs/${runs.ada.id}/model-calls`], ['runs:read', 'GET', `/v1/runs/${runs.ada.id}/events`],
    ...['signals', 'pause', 'resume', 'retry', 'fork', 'outcomes'].map((what): [Scope, string, string, unknown?] => ['runs:write', 'POST', `/v1/runs/${runs.ada.id}/${what}`, BODIES[what]]),
    ['runs:write', 'POST', '/v1/runs/many', { runs: [{ agent: 'echo', input: { word: 'x' } }] }], ['runs:write', 'POST', '/v1/runs/bulk', { action: 'cancel', filter: {}, all: true }], ['runs:read', 'GET', `/v1/runs/${runs.ada.id}/unsettled`], ['runs:read', 'GET', `/v1/runs/${runs.ada.id}/explain`],
    ['runs:read', 'GET', '/v1/approvals'], ['runs:read', 'GET', `/v1/approvals/${publicId('approval', approvalId)}`], ['runs:write', 'POST', `/v1/approvals/${publicId('approval', approvalId)}/decide`, { approved: true }],
    ['runs:write', 'POST', '/v1/schedules', { name: 'x', agent: 'echo', input: { word: 'x' }, everyMs: 60_000 }], ...['pause', 'resume', 'run'].map((what): [Scope, string, string] => ['runs:write', 'POST', `/v1/schedules/sch_1/${what}`]),
    ['runs:write', 'DELETE', '/v1/schedules/sch_1'], ['runs:read', 'GET', '/v1/schedules'], ['runs:read', 'GET', '/v1/schedules/sch_1'], ['runs:read', 'GET', '/v1/schedules/sch_1/occurrences'],
    ['memories:read', 'GET', `/v1/runs/${runs.ada.id}/memories`], ['memories:write', 'POST', `/v1/runs/${runs.ada.id}/memories/0/promote`, {}], ['memories:read', 'GET', `/v1/runs/${runs.ada.id}/traces`], ['memories:read', 'GET', '/v1/memories'], ['memories:read', 'GET', `/v1/memories/${publicId('memory', memoryId)}`],
    ['memories:read', 'GET', `/v1/memories/${publicId('memory', memoryId)}/uses`], ['memories:write', 'POST', `/v1/memories/${publicId('memory', memoryId)}/feedback`, { verdict: 'useful' }], ['runs:write', 'POST', `/v1/runs/${runs.ada.id}/feedback`, { resolved: true }], ['usage:read', 'GET', '/v1/memory-worth'],
    ['memories:write', 'POST', '/v1/documents', { title: 'x', text: 'x' }], ['memories:read', 'GET', '/v1/documents'], ['memories:read', 'GET', '/v1/documents/search?q=x'], ['memories:read', 'GET', '/v1/documents/doc_1'], ['memories:read', 'GET', '/v1/documents/doc_1/chunks'], ['memories:write', 'DELETE', '/v1/documents/doc_1'],
    ['memories:read', 'GET', '/v1/memories/search?q=x'], ['memories:read', 'GET', '/v1/summaries/search?q=x&user=ada'], ['memories:write', 'PATCH', `/v1/memories/${publicId('memory', memoryId)}`, { version: 1, pinned: false }],
    ['memories:read', 'GET', '/v1/memory-policy'], ['keys:write', 'PATCH', '/v1/memory-policy', { gate: { maxAdmits: 8 } }], ['memories:write', 'PUT', `/v1/memories/${publicId('memory', memoryId)}/pin`, { pinned: false }],
    ['sessions:read', 'GET', '/v1/sessions'], ['sessions:read', 'GET', '/v1/sessions/s?user=ada'], ['sessions:read', 'GET', '/v1/sessions/s/messages?user=ada'], ['usage:read', 'GET', '/v1/usage'], ['audit:read', 'GET', '/v1/audit'],
    ['keys:write', 'GET', '/v1/keys'], ['keys:write', 'POST', '/v1/keys', { name: 'x', scopes: ['runs:read'] }], ['keys:write', 'DELETE', '/v1/keys/0123456789abcdef'], ['keys:write', 'GET', '/v1/permissions/ada'], ['keys:write', 'PUT', '/v1/permissions/ada', {}],
    ['usage:read', 'GET', '/v1/budgets'], ['keys:write', 'PUT', '/v1/budgets', { limitMicroUsd: 1 }], ['usage:read', 'GET', '/v1/quotas'], ['keys:write', 'PUT', '/v1/quotas', { subject: 'tenant', kind: 'requests', per: 'day', most: 1_000_000 }],
    ['erasures:write', 'POST', '/v1/erasures', { user: 'nobody-of-this-name' }], ['erasures:write', 'GET', '/v1/erasures'], ['erasures:write', 'GET', '/v1/erasures/era_1'],
    ['usage:read', 'GET', '/v1/limits'], ['keys:write', 'PUT', '/v1/limits/agents/echo', { maxRunning: 1 }],
  ];

  test.each(routes)('without %s: %s %s is forbidden, and on record', async (...[scope, method, path, body]) => { // a missing last place would be taken for `done`
    const lacking = await api.makeKey({ scopes: SCOPES.filter((one) => one !== scope) });
    const answer = await problem(method, path, { key: lacking, body });
    expect([answer.status, answer.body.code]).toEqual([403, 'forbidden']);
    expect(answer.body.detail).toContain(scope);
    const { rows } = await pool.query<{ object: string }>(`SELECT object_id AS object FROM audit_events WHERE actor = $1 AND NOT allowed`, [`key:${lacking.split('_')[1]}`]);
    expect(rows).toHaveLength(1);
    expect(rows[0]?.object.startsWith(`${method} /v1/`)).toBe(true);
  });

  test('every route of the product is in this table, with the scope its document names', async () => {
    const { body: document } = await api.call<{ paths: Record<string, Record<string, { description?: string }>> }>('GET', '/openapi.json');
    const patternOf = (path: string): RegExp => new RegExp(`^${path.replaceAll(/\{\w+\}/g, '[^/?]+')}(\\?.*)?$`);
    for (const [path, methods] of Object.entries(document.paths)) {
      for (const [method, { description }] of Object.entries(methods)) {
        const needs = /Needs the scope `(.+)`/.exec(description ?? '')?.[1];
        const scopes = routes.filter((route) => route[1] === method.toUpperCase() && patternOf(path).test(route[2])).map(([scope]) => scope);
        expect([method, path, needs === undefined ? [] : scopes]).toEqual([method, path, needs === undefined ? [] : expect.arrayContaining([needs])]);
      }
    }
  });

  test('without a key, with a wrong, an expired or a revoked one: 401, all alike', async () => {
    const expired = await api.makeKey({ expiresAt: new Date(0) });
    const { body: made } = await api.call<CreatedKey>('POST', '/v1/keys', { key: all, body: { name: 'short', scopes: ['runs:read'] } });
    expect((await api.call('GET', '/v1/runs', { key: made.key })).status).toBe(200);
    expect((await api.call('DELETE', `/v1/keys/${made.id}`, { key: all })).status).toBe(204);
    for (const key of [undefined, 'mk_nothing', `${all.slice(0, -1)}${all.endsWith('0') ? '1' : '0'}`, expired, made.key]) {
      const answer = await api.call<Problem>('GET', '/v1/runs', key === undefined ? {} : { key });
      expect([answer.status, answer.body.code, answer.headers.get('www-authenticate')]).toEqual([401, 'unauthenticated', 'Bearer realm="mainstay"']);
    }
  });

  test('a key that is bound to a user sees that user alone, and acts for no other', async () => {
    const ada = await api.makeKey({ user: 'ada' });
    const { data } = (await api.call<Page<RunItem>>('GET', '/v1/runs', { key: ada })).body;
    expect(data.map(({ id }) => id)).toEqual([runs.ada.id]);
    for (const path of ['', '/steps', '/events', '/tool-calls', '/model-calls', '/memories', '/traces', '/unsettled']) expect((await problem('GET', `/v1/runs/${runs.bob.id}${path}`, { key: ada })).body.code).toBe('not_found');
    for (const what of ['cancel', 'signals', 'pause', 'resume', 'retry', 'fork', 'outcomes']) expect((await problem('POST', `/v1/runs/${runs.bob.id}/${what}`, { key: ada, body: BODIES[what] })).body.code).toBe('not_found');
    expect((await api.call<Page<Approval>>('GET', '/v1/approvals', { key: ada })).body.data.map(({ id }) => id)).toEqual([publicId('approval', approvalId)]);
    for (const path of ['/v1/runs?user=bob', '/v1/memories?user=bob', '/v1/documents?user=bob', '/v1/documents/search?q=x&user=bob', '/v1/sessions?user=bob', '/v1/sessions/s?user=bob', '/v1/usage?user=bob', '/v1/audit?user=bob', '/v1/permissions/bob']) expect((await problem('GET', path, { key: ada })).body.code).toBe('forbidden');
    expect((await problem('POST', '/v1/runs', { key: ada, body: { agent: 'echo', input: { word: 'x' }, user: 'bob' } })).body.code).toBe('forbidden');
    expect((await problem('PUT', '/v1/permissions/ada', { key: ada, body: { roles: ['admin'] } })).body.code).toBe('forbidden');
    expect((await api.call<Session>('GET', '/v1/sessions/s', { key: ada })).body.user).toBe('ada');
    const implied = (await api.call<Run>('POST', '/v1/runs', { key: ada, body: { agent: 'echo', input: { word: 'x' } } })).body;
    expect(implied.user).toBe('ada');
  });

  test('a key of nobody and a key of another tenant see none of it', async () => {
    for (const key of [await api.makeKey({ scopes: SCOPES.filter((scope) => scope !== 'users:any') }), await api.makeKey({ tenant: 'globex' })]) {
      for (const path of ['/v1/runs', '/v1/memories', '/v1/sessions', '/v1/approvals']) expect((await api.call<Page<unknown>>('GET', path, { key })).body.data).toEqual([]);
      for (const path of [`/v1/runs/${runs.ada.id}`, `/v1/memories/${publicId('memory', memoryId)}`, `/v1/approvals/${publicId('approval', approvalId)}`]) expect((await problem('GET', path, { key })).body.code).toBe('not_found');
      expect((await api.call<Usage>('GET', '/v1/usage', { key })).body.data).toEqual([]);
    }
  });

  test('a key hands on only what it has, and revokes only what it sees', async () => {
    const small = await api.makeKey({ scopes: ['keys:write', 'runs:read'] });
    expect((await problem('POST', '/v1/keys', { key: small, body: { name: 'x', scopes: ['runs:write'] } })).body.code).toBe('forbidden');
    expect((await problem('POST', '/v1/keys', { key: small, body: { name: 'x', scopes: ['runs:read'], user: 'ada' } })).body.code).toBe('forbidden');
    const short = await api.makeKey({ expiresAt: new Date(Date.now() + 60_000) });
    expect((await problem('POST', '/v1/keys', { key: short, body: { name: 'x', scopes: ['runs:read'] } })).body.code).toBe('forbidden'); // it would outlive its maker
    const { body: adas } = await api.call<CreatedKey>('POST', '/v1/keys', { key: all, body: { name: 'of ada', scopes: ['runs:read'], user: 'ada' } });
    expect((await problem('DELETE', `/v1/keys/${adas.id}`, { key: small })).body.code).toBe('not_found');
    const listed = (await api.call<Page<ApiKey>>('GET', '/v1/keys', { key: small })).body.data;
    expect(listed.every(({ user }) => user === null)).toBe(true);
    expect((await api.call<Page<ApiKey>>('GET', '/v1/keys', { key: all })).body.data.map(({ id }) => id)).toContain(adas.id);
    const past = await problem('POST', '/v1/keys', { body: { name: 'x', scopes: ['runs:read'], expiresAt: '2020-01-01T00:00:00Z' } });
    expect(past.body.code).toBe('bad_request');
  });

  test('beyond its rate a key is told when to come back; submissions of a user are counted too', async () => {
    const slow = await startApi(stack, [echo], { config: { RATE_LIMIT: '4', SUBMIT_RATE_LIMIT: '1', REDIS_PREFIX: `${stack.redisPrefix}r` } });
    const key = await slow.makeKey({ tenant: 'busy' });
    const post = () => slow.call<Problem>('POST', '/v1/runs', { key, body: { agent: 'echo', input: { word: 'x' }, user: 'ada', delayMs: 60_000 } });
    const first = await post();
    expect([first.status, first.headers.get('ratelimit-policy')]).toEqual([202, '"key";q=4;w=60, "user";q=1;w=60']);
    expect(first.headers.get('ratelimit')).toMatch(/^"key";r=3;t=\d+, "user";r=0;t=\d+$/);
    expect((await post()).body.code).toBe('rate_limited');
    await slow.call('GET', '/v1/runs', { key });
    await slow.call('GET', '/v1/runs', { key });
    const over = await slow.call<Problem>('GET', '/v1/runs', { key });
    expect([over.status, over.body.code]).toEqual([429, 'rate_limited']);
    expect(Number(over.headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await slow.call('GET', '/healthz')).status).toBe(200);
  });
});

test('a retry and a fork count as submissions of the run’s user, whoever asks', async () => {
  const slow = await startApi(stack, [echo], { config: { SUBMIT_RATE_LIMIT: '3', REDIS_PREFIX: `${stack.redisPrefix}f` } });
  const key = await slow.makeKey({ tenant: 'forks' });
  const send = async (path: string, body?: unknown): Promise<[number, string | undefined, string]> => {
    const { status, headers, body: answer } = await slow.call<{ id: string; code?: string }>('POST', path, { key, body });
    return [status, /"user";r=(\d+)/.exec(headers.get('ratelimit') ?? '')?.[1], answer.code ?? answer.id];
  };
  const [, , run] = await send('/v1/runs', { agent: 'echo', input: { word: 'x' }, user: 'ada', delayMs: 60_000 });
  await send(`/v1/runs/${run}/cancel`);
  expect((await send(`/v1/runs/${run}/retry`)).slice(0, 2)).toEqual([202, '1']);
  expect((await send(`/v1/runs/${run}/fork`, { fromStep: 0 })).slice(0, 2)).toEqual([202, '0']);
  expect(await send(`/v1/runs/${run}/retry`)).toEqual([429, '0', 'rate_limited']);
  expect(await send(`/v1/runs/${run}/fork`, { fromStep: 0 })).toEqual([429, '0', 'rate_limited']);
  expect((await send('/v1/runs', { agent: 'echo', input: { word: 'x' }, user: 'bob', delayMs: 60_000 })).slice(0, 2)).toEqual([202, '2']);
});

describe('problems', () => {
  const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
  const json = { 'content-type': 'application/json' };
  const deep = `{"agent":"echo","input":${'['.repeat(80)}${']'.repeat(80)}}`;
  test.each<[string, string, string, number, Parameters<typeof api.call>[2]?]>([
    ['GET', '/v1/nothing', 'not_found', 404], ['GET', '/', 'not_found', 404], ['GET', '/v1/runs/run_x', 'not_found', 404], ['GET', `/v1/runs/${publicId('run', newId())}`, 'not_found', 404],
    ['GET', '/v1/memories/mem_1', 'not_found', 404], ['GET', '/v1/sessions/%00?user=ada', 'not_found', 404], ['GET', '/v1/sessions/none?user=ada', 'not_found', 404], ['GET', '/v1/permissions/%00', 'not_found', 404], ['DELETE', '/v1/keys/x', 'not_found', 404],
    ['DELETE', '/v1/runs', 'method_not_allowed', 405], ['POST', `/v1/runs/${runs.ada.id}`, 'method_not_allowed', 405, { body: 'x', headers: { 'content-type': 'text/plain' } }], ['HEAD', '/v1/runs', 'method_not_allowed', 405],
    ['POST', '/v1/runs', 'bad_json', 400, { body: '{' }], ['POST', '/v1/runs', 'bad_json', 400, { body: '{"agent":"a","agent":"b"}' }], ['POST', '/v1/runs', 'bad_json', 400, { body: '{"__proto__":{}}' }],
    ['POST', '/v1/runs', 'bad_json', 400, { body: new Uint8Array([0x22, 0xff, 0x22]), headers: json }], ['POST', '/v1/runs', 'data_not_storable', 422, { body: deep }], ['POST', '/v1/runs', 'bad_request', 400],
    ['POST', '/v1/runs', 'body_too_large', 413, { body: bytes(`"${'x'.repeat(MAX_BODY_BYTES)}"`), headers: json }], ['POST', '/v1/runs', 'unsupported_media_type', 415, { body: 'agent=echo', headers: { 'content-type': 'application/x-www-form-urlencoded' } }],
    ['POST', '/v1/runs', 'bad_request', 400, { body: { agent: 'echo', input: { word: 'x' }, tenant: 'globex' } }], ['POST', '/v1/runs', 'bad_request', 400, { body: { agent: 'echo', input: { word: 'x' }, user: 'a\u0000b' } }],
    ['POST', '/v1/runs', 'agent_unknown', 404, { body: { agent: 'nobody', input: {} } }], ['POST', '/v1/runs', 'input_invalid', 422, { body: { agent: 'echo', input: { word: 7 } } }], ['POST', '/v1/runs', 'data_not_storable', 422, { body: { agent: 'echo', input: { word: 'a\u0000' } } }],
    ['POST', '/v1/runs?wait=61', 'bad_request', 400, { body: { agent: 'echo', input: { word: 'x' } } }], ['POST', '/v1/runs', 'bad_request', 400, { body: { agent: 'echo', input: { word: 'x' }, session: 's' } }],
    ['GET', '/v1/runs?statuss=queued', 'bad_request', 400], ['GET', '/v1/agents?x=1', 'bad_request', 400], ['GET', '/v1/runs?limit=0', 'bad_request', 400], ['GET', '/v1/runs?user=a&user=b', 'bad_request', 400], ['GET', '/v1/runs?user=%00', 'bad_request', 400], ['GET', '/v1/runs?user=%1f', 'bad_request', 400],
    ['GET', '/v1/runs?cursor=zzz', 'bad_cursor', 400], ['GET', '/v1/audit?cursor=WyJhdWRpdCIsIngiXQ', 'bad_cursor', 400], ['GET', '/v1/sessions/s', 'bad_request', 400], ['GET', '/v1/usage?from=yesterday', 'bad_request', 400],
    ['GET', '/v1/usage?from=2026-02-01&to=2026-01-01', 'bad_request', 400], ['POST', `/v1/runs/${runs.ada.id}/cancel`, 'run_finished', 409], ['POST', `/v1/runs/${runs.ada.id}/cancel`, 'bad_request', 400, { body: { force: true } }], ['GET', '/v1/%zz', 'bad_request', 400],
  ])('%s %s is %s', async (...[method, path, code, status, options]) => {
    const answer = await problem(method, path, options);
    expect(answer.status).toBe(status);
    expect(answer.headers.get('content-type')).toBe('application/problem+json; charset=utf-8');
    expect(answer.headers.get('x-request-id')).toBeTruthy();
    if (method === 'HEAD') return;
    expect(answer.body).toMatchObject({ code, status, type: `urn:mainstay:problem:${code}`, requestId: answer.headers.get('x-request-id') });
    expect(answer.body.detail.length).toBeGreaterThan(5);
    expect(JSON.stringify(answer.body)).not.toMatch(/postgres|prisma|select /i);
  });

  test('a wrong method names the right ones', async () => {
    expect((await problem('PATCH', '/v1/runs')).headers.get('allow')).toBe('GET, POST');
    expect((await problem('POST', '/v1/permissions/ada')).headers.get('allow')).toBe('GET, PUT');
  });
});

describe('what is documented', () => {
  interface Operation { security?: unknown; description?: string; responses: Record<string, { content?: Record<string, { schema: object }> }> }
  interface Document { openapi: string; paths: Record<string, Record<string, Operation>>; components: { schemas: Record<string, object> } }

  test('every route, with its scope; and what is served has the documented shape', async () => {
    const { body: document } = await api.call<Document>('GET', '/openapi.json');
    expect(document.openapi).toBe('3.1.0');
    const operations = Object.entries(document.paths).flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method.toUpperCase()} ${path}`));
    expect(operations.sort()).toEqual([
      'DELETE /v1/keys/{key}', 'GET /healthz', 'GET /metrics', 'GET /metrics/scale', 'GET /openapi.json', 'GET /readyz', 'GET /v1/agents', 'GET /v1/approvals', 'GET /v1/approvals/{approval}', 'GET /v1/audit', 'GET /v1/keys', 'GET /v1/memories', 'GET /v1/memories/{memory}', 'GET /v1/permissions/{user}',
      'GET /v1/runs', 'GET /v1/runs/{run}', 'GET /v1/runs/{run}/events', 'GET /v1/runs/{run}/memories', 'GET /v1/runs/{run}/model-calls', 'GET /v1/runs/{run}/steps', 'GET /v1/runs/{run}/tool-calls', 'GET /v1/runs/{run}/traces', 'GET /v1/sessions',
      'GET /v1/sessions/{session}', 'GET /v1/sessions/{session}/messages', 'GET /v1/usage', 'POST /v1/keys', 'POST /v1/runs', 'POST /v1/runs/{run}/cancel', 'GET /v1/runs/{run}/explain', 'GET /v1/runs/{run}/unsettled', 'POST /v1/approvals/{approval}/decide', 'POST /v1/runs/bulk', 'POST /v1/runs/many',
      'POST /v1/runs/{run}/fork', 'POST /v1/runs/{run}/memories/{index}/promote', 'POST /v1/runs/{run}/outcomes', 'POST /v1/runs/{run}/pause', 'POST /v1/runs/{run}/resume', 'POST /v1/runs/{run}/retry', 'POST /v1/runs/{run}/signals',
      'GET /v1/schedules', 'POST /v1/schedules', 'GET /v1/schedules/{schedule}', 'DELETE /v1/schedules/{schedule}', 'GET /v1/schedules/{schedule}/occurrences', ...['pause', 'resume', 'run'].map((what) => `POST /v1/schedules/{schedule}/${what}`), 'PUT /v1/permissions/{user}', 'GET /v1/limits', 'PUT /v1/limits/agents/{agent}',
      'GET /v1/budgets', 'PUT /v1/budgets', 'GET /v1/quotas', 'PUT /v1/quotas', 'POST /v1/erasures', 'GET /v1/erasures', 'GET /v1/erasures/{erasure}',
      'POST /v1/documents', 'GET /v1/documents', 'GET /v1/documents/search', 'GET /v1/summaries/search', 'GET /v1/documents/{document}', 'GET /v1/documents/{document}/chunks', 'DELETE /v1/documents/{document}',
      'GET /v1/memories/{memory}/uses', 'POST /v1/memories/{memory}/feedback', 'POST /v1/runs/{run}/feedback', 'GET /v1/memory-worth', 'GET /v1/memory-policy', 'PATCH /v1/memory-policy', 'PUT /v1/memories/{memory}/pin', 'GET /v1/memories/search', 'PATCH /v1/memories/{memory}',
    ].sort());
    expect(document.paths['/v1/audit']?.['get']).toMatchObject({ security: [{ apiKey: [] }], description: 'Needs the scope `audit:read`.' });
    const { body: schedule } = await api.call<{ id: string }>('POST', '/v1/schedules', { key: all, body: { name: 'yearly', agent: 'echo', input: { word: 'x' }, cron: '0 9 1 1 *', zone: 'UTC' } });
    const { body: erasure } = await api.call<{ id: string }>('POST', '/v1/erasures', { key: all, body: { user: 'nobody-of-this-name' } });
    const { body: added } = await api.call<{ id: string }>('POST', '/v1/documents', { key: all, body: { title: 'Plan', text: 'The plan is short.', source: 'plan.md' } });
    const names: Record<string, string> = { document: added.id, erasure: erasure.id, run: runs.ada.id, memory: publicId('memory', memoryId), approval: publicId('approval', approvalId), session: 's', user: 'ada', schedule: schedule.id };
    const schemas = JSON.parse(JSON.stringify(document.components.schemas).replaceAll('#/components/schemas/', '#/$defs/')) as object;
    for (const [path, methods] of Object.entries(document.paths)) {
      const schema = methods['get']?.responses['200']?.content?.['application/json']?.schema;
      if (!schema || path.startsWith('/metrics')) continue;
      const shape = z.fromJSONSchema({ ...(JSON.parse(JSON.stringify(schema).replaceAll('#/components/schemas/', '#/$defs/')) as object), $defs: schemas } as Parameters<typeof z.fromJSONSchema>[0]);
      const { status, body } = await api.call('GET', path.replaceAll(/\{(\w+)\}/g, (_, name: string) => names[name]!) + (path.startsWith('/v1/sessions/') ? '?user=ada' : path.startsWith('/v1/summaries') ? '?q=plan&user=ada' : path.endsWith('/search') ? '?q=plan' : ''), { key: all });
      expect([path, status]).toEqual([path, 200]);
      expect([path, shape.safeParse(body).error]).toEqual([path, undefined]);
      expect([path, shape.safeParse({ unlike: body }).success && path !== '/openapi.json']).toEqual([path, false]);
    }
  });

  test('health is open, metrics have their token, and count by route', async () => {
    expect((await api.call('GET', '/healthz')).body).toEqual({ status: 'ok' });
    expect((await api.call('GET', '/readyz')).body).toEqual({ status: 'ok' });
    expect((await problem('GET', '/metrics')).body.code).toBe('unauthenticated');
    const { body, headers } = await api.call<string>('GET', '/metrics', { key: METRICS_TOKEN });
    expect(headers.get('content-type')).toContain('text/plain');
    expect(body).toMatch(/http_request_seconds_count\{.*route="\/v1\/runs\/:run".*status="200".*\} [1-9]/);
    expect(body).not.toContain(runs.ada.id);
    expect((await api.call('GET', '/metrics/scale?pool=agent', { key: METRICS_TOKEN })).body).toMatchObject({ pool: 'agent', running: 0, work: expect.any(Number) as unknown });
    expect((await problem('GET', '/metrics/scale?pool=none', { key: METRICS_TOKEN })).status).toBe(404);
  });

  test('answers are not kept by caches nor taken for something else', async () => {
    const { headers } = await api.call('GET', '/v1/runs', { key: all, headers: { 'x-request-id': 'of-the-caller' } });
    expect([headers.get('cache-control'), headers.get('x-content-type-options'), headers.get('x-request-id')]).toEqual(['no-store', 'nosniff', 'of-the-caller']);
  });
});

describe('what is read', () => {
  test('memories, verdicts, traces, sessions and messages; each read is on record', async () => {
    const key = await api.makeKey();
    const get = async <T>(path: string): Promise<T> => (await api.call<T>('GET', path, { key })).body;
    const memory = publicId('memory', memoryId);
    expect((await get<Page<Memory>>('/v1/memories?user=ada&type=preference&scope=user')).data.map(({ id }) => id)).toEqual([memory]);
    expect((await get<Page<Memory>>(`/v1/memories?run=${runs.bob.id}`)).data).toEqual([]);
    expect(await get<Memory>(`/v1/memories/${memory}`)).toMatchObject({ statement: 'Ada drinks green tea.', run: runs.ada.id, indexed: false });
    expect(await get<RunMemories>(`/v1/runs/${runs.ada.id}/memories`)).toEqual({ memoryState: 'none', skipped: null, summary: null, verdicts: [] });
    expect(await get<Page<RetrievalTrace>>(`/v1/runs/${runs.ada.id}/traces`)).toEqual({ data: [], nextCursor: null });
    expect((await get<Page<Session>>('/v1/sessions')).data.map(({ user, id }) => `${user}/${id}`).sort()).toEqual(['ada/s', 'bob/s']);
    expect((await get<Session>('/v1/sessions/s?user=ada')).version).toBe(1);
    const newest = await get<Page<Message>>('/v1/sessions/s/messages?user=ada&limit=3');
    const older = await get<Page<Message>>(`/v1/sessions/s/messages?user=ada&limit=3&cursor=${newest.nextCursor}`);
    expect([...newest.data, ...older.data].map(({ content }) => content)).toEqual(['message 5', 'message 4', 'message 3', 'message 2', 'message 1']);
    const lines: AuditLine[] = [];
    for (let path: string | undefined = '/v1/audit?limit=7'; path !== undefined;) {
      const { data, nextCursor }: Page<AuditLine> = await get<Page<AuditLine>>(path);
      lines.push(...data);
      path = nextCursor === null ? undefined : `/v1/audit?limit=7&cursor=${nextCursor}`;
    }
    const mine = lines.filter(({ actor }) => actor === `key:${key.split('_')[1]}`).map(({ action, objectType, objectId, user }) => [action, objectType, objectId, user]).reverse();
    expect(mine).toEqual([
      ['memory.read', 'memory', 'list', 'ada'], ['memory.read', 'memory', 'list', null], ['memory.read', 'memory', memory, 'ada'], ['memory.read', 'run', runs.ada.id, 'ada'], ['memory.read', 'run', runs.ada.id, 'ada'],
      ['session.read', 'session', 'list', null], ['session.read', 'session', 's', 'ada'], ['session.read', 'session', 's', 'ada'], ['session.read', 'session', 's', 'ada'],
    ]);
    expect(JSON.stringify(lines)).not.toMatch(/canary|green tea|message 5/);
  });

  test('what a user may do is replaced, and who did so is on record', async () => {
    expect((await api.call<Permission>('GET', '/v1/permissions/eve', { key: all })).body).toMatchObject({ user: 'eve', epoch: 0, updatedAt: null });
    const changed = await api.call<Permission>('PUT', '/v1/permissions/eve', { key: all, body: { datasets: ['sales'] } });
    expect(changed.body).toMatchObject({ user: 'eve', datasets: ['sales'], roles: [], epoch: 1 });
    const { data } = (await api.call<Page<AuditLine>>('GET', '/v1/audit?action=permissions.changed&objectId=eve', { key: all })).body;
    expect(data[0]?.details).toMatchObject({ datasets: ['sales'], epoch: 1 });
    expect((await api.call<Page<{ name: string }>>('GET', '/v1/agents', { key: all })).body.data.map(({ name }) => name)).toEqual(['echo']);
  });

  test('a tenant sets the limits of its agents, not its own, and who did so is on record', async () => {
    expect((await api.call<Limits>('GET', '/v1/limits', { key: all })).body).toEqual({ tenant: 'acme', weight: 1, maxRunning: null, running: 0, agents: [] });
    expect((await api.call<Limits>('PUT', '/v1/limits/agents/echo', { key: all, body: { maxRunning: 2 } })).body.agents).toEqual([{ agent: 'echo', maxRunning: 2, running: 0 }]);
    expect((await api.call<Page<AuditLine>>('GET', '/v1/audit?action=limits.changed', { key: all })).body.data[0]).toMatchObject({ objectType: 'agent', objectId: 'echo', details: { maxRunning: 2 } });
    expect((await problem('PUT', '/v1/limits/agents/echo', { key: await api.makeKey({ user: 'ada' }), body: { maxRunning: 9 } })).body.code).toBe('forbidden');
    expect((await api.call<Limits>('PUT', '/v1/limits/agents/echo', { key: all, body: { maxRunning: null } })).body.agents).toEqual([]);
  });
});
