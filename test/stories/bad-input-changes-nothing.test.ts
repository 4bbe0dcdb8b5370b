// Bad input, by every door: a stable code, a sentence that says what to do, and nothing changed: no row, no key, no vector.
// Counted before and after each. What may differ is said here: a refused key of a job in its own intake queue (BullMQ keeps it
// for its producer), the rate limiter's counters, and the audit line of somebody who reached for what they may not have.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, test } from '@jest/globals';
import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { MainstayApiError } from '../../src/client/client.ts';
import { ERRORS, type ErrorCode } from '../../src/domain/errors.ts';
import { newId, publicId } from '../../src/ids.ts';
import { redisKeys } from '../../src/redis.ts';
import { redisDump, until } from '../support/meet.ts';
import { startRealFleet } from '../support/real-fleet.ts';
import { atFileEnd, useStack } from '../support/stack.ts';
import { openTestIndex } from '../support/test-index.ts';

const stack = await useStack();
const fleet = await startRealFleet(stack, { INTAKE: 'crm=acme' });
const index = await openTestIndex(stack);
const key = await fleet.makeKey({ tenant: 'acme' });
const weak = await fleet.makeKey({ tenant: 'acme', scopes: ['runs:read'] });
const redis = new Redis(stack.redisUrl, { maxRetriesPerRequest: null });
const queue = new Queue('intake-crm', { connection: redis, prefix: redisKeys(stack.redisPrefix).bull });
atFileEnd(async () => { await queue.close(); redis.disconnect(); });

const tables = (await fleet.rows<{ name: string }>(`SELECT relname AS name FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace AND relname <> '_prisma_migrations' ORDER BY 1`)).map(({ name }) => name);
/** Rows by table, names of Redis keys, vectors. A worker's own row changes in place only. */
async function counts(): Promise<unknown> {
  const rows = await Promise.all(tables.map(async (table) => [table, (await fleet.rows<{ n: number }>(`SELECT count(*)::int AS n FROM ${table}`))[0]?.n]));
  const keys = (await redisDump(stack.redisUrl, stack.redisPrefix)).map(({ key: name }) => name).filter((name) => !name.includes(':rate') && !name.includes(':intake-crm') && !/:(events|stalled-check|meta|id|marker|delayed|active|wait)$/.test(name)).sort();
  return { rows: Object.fromEntries(rows) as unknown, keys, vectors: await index.count('memories', 'acme') };
}

/** One run that exists, so that there is something to change. */
let run = '', finished = '', failed = '', question = '', scheduled = '';
beforeAll(async () => {
  const client = fleet.client(key);
  run = (await client.runs.create({ agent: 'support-agent', input: { message: 'later' }, user: 'ada', session: 's', delayMs: 3_600_000 }, { idempotencyKey: 'taken' })).id;
  finished = (await client.runs.create({ agent: 'support-agent', input: { message: 'We are on the Pro plan.' }, user: 'ada', session: 't' })).id;
  await client.runs.wait(finished, { timeoutMs: 30_000 });
  await until('the index', async () => (await fleet.rows(`SELECT 1 FROM memories WHERE indexed_generation IS NOT NULL`)).length === 1 && (await client.runs.memories(finished)).memoryState === 'done');
  await fleet.client(weak).runs.list();
  await client.runs.signal(run, { name: 'go', payload: 1 }, { idempotencyKey: 'sent' });
  scheduled = (await client.schedules.create({ ...good, name: 'taken', cron: '0 9 1 1 *', zone: 'UTC' })).id;
  // an ended run with a call on record, and an open question: as an engine would have left them
  failed = (await client.runs.create({ agent: 'support-agent', input: { message: 'later' }, user: 'ada', session: 'u', delayMs: 3_600_000 })).id;
  await client.runs.cancel(failed);
  const asked = newId();
  question = publicId('approval', asked);
  await fleet.rows(`INSERT INTO approvals (tenant_id, id, run_id, user_id, step_seq, path, args_hash, subject, request) VALUES ('acme', $1, $2, 'ada', 1, '0', '', 'open_ticket', '{}')`, [asked, run.slice(4)]);
  await fleet.rows(`INSERT INTO tool_calls (tenant_id, run_id, step_seq, path, key, fence, tool, tool_version, effect, status, args_hash, request, finished_at) VALUES ('acme', $1, 1, '0', 'k', 1, 'x', 1, 'unkeyed', 'succeeded', '', '{}', now())`, [failed.slice(4)]);
}, 60_000);

interface Refusal { readonly status: number; readonly code: string; readonly words: string }
const http = (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) => async (): Promise<Refusal> => {
  const raw = typeof body === 'string' || body instanceof Uint8Array;
  const answer = await fetch(fleet.url + path.replace('{run}', run).replace('{finished}', finished).replace('{failed}', failed).replace('{question}', question).replace('{schedule}', scheduled), {
    method, headers: { authorization: `Bearer ${key}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers },
    ...(body === undefined ? {} : { body: raw ? body as string | Uint8Array<ArrayBuffer> : JSON.stringify(body) }),
  });
  const problem = await answer.json() as { code: string; detail: string; advice: string };
  expect(answer.headers.get('content-type')).toContain('application/problem+json');
  return { status: answer.status, code: problem.code, words: `${problem.detail} ${problem.advice}` };
};
const good = { agent: 'support-agent', input: { message: 'hello' } };
const submit = (over: object, headers: Record<string, string> = {}) => http('POST', '/v1/runs', { ...good, ...over }, headers);
const schedule = (over: object) => http('POST', '/v1/schedules', { ...good, name: 'nightly', ...over });
const deep = (levels: number): string => `${'{"a":'.repeat(levels)}1${'}'.repeat(levels)}`;

const HTTP: [what: string, send: () => Promise<Refusal>, code: ErrorCode][] = [
  ['no body', http('POST', '/v1/runs'), 'bad_request'],
  ['a body that is no JSON', http('POST', '/v1/runs', '{"agent":'), 'bad_json'],
  ['a body that is no UTF-8', http('POST', '/v1/runs', Uint8Array.from([0x7b, 0xff, 0xfe, 0x7d])), 'bad_json'],
  ['a key given twice', http('POST', '/v1/runs', '{"agent":"support-agent","agent":"data-assistant","input":{"message":"x"}}'), 'bad_json'],
  ['a key that reaches for a prototype', http('POST', '/v1/runs', '{"agent":"support-agent","input":{"message":"x","__proto__":{"admin":true}}}'), 'bad_json'],
  ['JSON nested too deep', http('POST', '/v1/runs', `{"agent":"support-agent","input":${deep(5_000)}}`), 'data_not_storable'],
  ['a body that is too large', http('POST', '/v1/runs', { ...good, metadata: { big: 'x'.repeat(600_000) } }), 'body_too_large'],
  ['another media type', http('POST', '/v1/runs', 'agent=support-agent', { 'content-type': 'application/x-www-form-urlencoded' }), 'unsupported_media_type'],
  ['an array', http('POST', '/v1/runs', [good]), 'bad_request'],
  ['no agent', http('POST', '/v1/runs', { input: good.input }), 'bad_request'],
  ['no input', http('POST', '/v1/runs', { agent: good.agent }), 'bad_request'],
  ['an unknown field', submit({ tenant: 'globex' }), 'bad_request'],
  ['an unknown agent', submit({ agent: 'nobody' }), 'agent_unknown'],
  ["the product's own machine", submit({ agent: 'mainstay.remember', input: { run: '00000000-0000-7000-8000-000000000000' } }), 'agent_unknown'],
  ['input of the wrong type', submit({ input: 'hello' }), 'input_invalid'],
  ['input with an empty message', submit({ input: { message: '   ' } }), 'input_invalid'],
  ['input with an unknown field', submit({ input: { message: 'x', role: 'admin' } }), 'input_invalid'],
  ['input that is too long', submit({ input: { message: 'x'.repeat(20_001) } }), 'input_invalid'],
  ['input with a NUL character', submit({ input: { message: 'a\u0000b' } }), 'data_not_storable'],
  ['input with half of a surrogate pair', submit({ input: { message: 'a\ud800b' } }), 'data_not_storable'],
  ['metadata that is no object', submit({ metadata: 'x' }), 'bad_request'],
  ['metadata that is too large', submit({ metadata: { big: 'x'.repeat(20_000) } }), 'data_not_storable'],
  ['a session without a user', submit({ session: 's' }), 'bad_request'],
  ['an empty user', submit({ user: '' }), 'bad_request'],
  ['a user with a control character', submit({ user: 'ada\u001f' }), 'bad_request'],
  ['a user with a very long name', submit({ user: 'x'.repeat(201) }), 'bad_request'],
  ['a priority out of range', submit({ priority: 1_001 }), 'bad_request'],
  ['a priority that is no whole number', submit({ priority: 0.5 }), 'bad_request'],
  ['a negative delay', submit({ delayMs: -1 }), 'bad_request'],
  ['a delay of more than a year', submit({ delayMs: 40_000_000_000 }), 'bad_request'],
  ['a start without a zone', submit({ startAt: '2027-01-01T00:00:00' }), 'bad_request'],
  ['a start that is no time', submit({ startAt: 'tomorrow' }), 'bad_request'],
  ['a start and a delay', submit({ startAt: '2027-01-01T00:00:00Z', delayMs: 5 }), 'bad_request'],
  ['an unknown multitask strategy', submit({ multitask_strategy: 'race' }), 'bad_request'],
  ['a busy session with `reject`', submit({ user: 'ada', session: 's', multitask_strategy: 'reject' }), 'session_busy'],
  ['an idempotency key used for another body', submit({ user: 'ada' }, { 'idempotency-key': 'taken' }), 'idempotency_conflict'],
  ['an idempotency key that is too long', submit({}, { 'idempotency-key': 'x'.repeat(201) }), 'bad_request'],
  ['debounce with an idempotency key', submit({ debounce: { key: 'd', windowMs: 1_000 } }, { 'idempotency-key': 'd' }), 'bad_request'],
  ['debounce with a delay', submit({ debounce: { key: 'd', windowMs: 1_000 }, delayMs: 1_000 }), 'bad_request'],
  ['debounce with a start', submit({ debounce: { key: 'd', windowMs: 1_000 }, startAt: '2027-01-01T00:00:00Z' }), 'bad_request'],
  ['debounce with `interrupt`', submit({ debounce: { key: 'd', windowMs: 1_000 }, user: 'ada', session: 'd', multitask_strategy: 'interrupt' }), 'bad_request'],
  ['debounce with `steer`', submit({ debounce: { key: 'd', windowMs: 1_000 }, user: 'ada', session: 'd', multitask_strategy: 'steer' }), 'bad_request'],
  ['debounce with `reject`', submit({ debounce: { key: 'd', windowMs: 1_000 }, user: 'ada', session: 'd', multitask_strategy: 'reject' }), 'bad_request'],
  ['debounce without a window', submit({ debounce: { key: 'd' } }), 'bad_request'],
  ['debounce of more than a year', submit({ debounce: { key: 'd', windowMs: 40_000_000_000 } }), 'bad_request'],
  ['debounce that may last less than its window', submit({ debounce: { key: 'd', windowMs: 1_000, maxMs: 999 } }), 'bad_request'],
  ['debounce under no name', submit({ debounce: { key: '', windowMs: 1_000 } }), 'bad_request'],
  ['many runs that are none', http('POST', '/v1/runs/many', { runs: [] }), 'bad_request'],
  ['many runs as an array', http('POST', '/v1/runs/many', [good]), 'bad_request'],
  ['many runs of which one is bad', http('POST', '/v1/runs/many', { runs: [good, { ...good, input: {} }] }), 'input_invalid'],
  ['many runs of which one is debounced', http('POST', '/v1/runs/many', { runs: [good, { ...good, debounce: { key: 'd', windowMs: 1 } }] }), 'bad_request'],
  ['many runs of which one has a key of another request', http('POST', '/v1/runs/many', { runs: [good, { ...good, idempotencyKey: 'taken' }] }), 'idempotency_conflict'],
  ['many runs of which one interrupts', http('POST', '/v1/runs/many', { runs: [good, { ...good, user: 'ada', session: 's', multitask_strategy: 'interrupt' }] }), 'bad_request'],
  ['many runs of which one finds its session busy', http('POST', '/v1/runs/many', { runs: [good, { ...good, user: 'ada', session: 's', multitask_strategy: 'reject' }] }), 'session_busy'],
  ['a wait out of range', http('POST', '/v1/runs?wait=61', good), 'bad_request'],
  ['an unknown query key', http('GET', '/v1/runs?tenant=globex'), 'bad_request'],
  ['an unknown status', http('GET', '/v1/runs?status=done'), 'bad_request'],
  ['a limit out of range', http('GET', '/v1/runs?limit=100000'), 'bad_request'],
  ['a forged cursor', http('GET', '/v1/runs?cursor=eyJhIjoxfQ'), 'bad_cursor'],
  ['a cursor of another list', http('GET', `/v1/memories?cursor=${Buffer.from('["runs","x"]').toString('base64url')}`), 'bad_cursor'],
  ['an id that is none', http('GET', '/v1/runs/1'), 'not_found'],
  ['an id with quotes', http('GET', `/v1/memories/${encodeURIComponent('mem_a"] or tenant != "x')}`), 'not_found'],
  ['an id with SQL', http('GET', `/v1/runs/${encodeURIComponent("run_'; DROP TABLE agent_runs; --")}`), 'not_found'],
  ['the cancel of a finished run', http('POST', '/v1/runs/{finished}/cancel'), 'run_finished'],
  ['the cancel of no run', http('POST', '/v1/runs/run_00000000000070008000000000000000/cancel'), 'not_found'],
  ['a body where none is expected', http('POST', '/v1/runs/{run}/cancel', { why: 'x' }), 'bad_request'],
  ['an expiry that is none', submit({ expiresInMs: 0 }), 'bad_request'],
  ['an expiry of more than a year', submit({ expiresInMs: 40_000_000_000 }), 'bad_request'],
  ['an idempotency key of our own', submit({}, { 'idempotency-key': 'spawn:x' }), 'bad_request'],
  ...['remember', 'intake', 'bullmq', 'retry', 'schedule', 'sql'].map((door): (typeof HTTP)[number] => [`an idempotency key of ${door}`, submit({}, { 'idempotency-key': `${door}:x` }), 'bad_request']),
  ['children of no run', http('GET', '/v1/runs?parent=1'), 'not_found'],
  ['a signal without a name', http('POST', '/v1/runs/{run}/signals', { payload: 1 }), 'bad_request'],
  ['a signal with an unknown field', http('POST', '/v1/runs/{run}/signals', { name: 'go', to: 'x' }), 'bad_request'],
  ['a signal whose name cannot be printed', http('POST', '/v1/runs/{run}/signals', { name: 'g\u0000' }), 'bad_request'],
  ['a signal with a NUL character', http('POST', '/v1/runs/{run}/signals', { name: 'go', payload: 'a\u0000' }), 'data_not_storable'],
  ['a signal that is too large', http('POST', '/v1/runs/{run}/signals', { name: 'go', payload: 'x'.repeat(70_000) }), 'data_not_storable'],
  ['a signal to a finished run', http('POST', '/v1/runs/{finished}/signals', { name: 'go' }), 'run_finished'],
  ['a signal to no run', http('POST', '/v1/runs/run_1/signals', { name: 'go' }), 'not_found'],
  ['a signal under a key of another one', http('POST', '/v1/runs/{run}/signals', { name: 'stop', payload: 1 }, { 'idempotency-key': 'sent' }), 'idempotency_conflict'],
  ['the pause of a finished run', http('POST', '/v1/runs/{finished}/pause'), 'run_finished'],
  ['a pause with a body', http('POST', '/v1/runs/{run}/pause', { until: 'x' }), 'bad_request'],
  ['the resume of a run nobody paused', http('POST', '/v1/runs/{run}/resume'), 'not_paused'],
  ['the resume of a finished run', http('POST', '/v1/runs/{finished}/resume'), 'run_finished'],
  ['the retry of a completed run', http('POST', '/v1/runs/{finished}/retry'), 'not_retryable'],
  ['the retry of an unfinished run', http('POST', '/v1/runs/{run}/retry'), 'not_retryable'],
  ['a retry under a key of another request', http('POST', '/v1/runs/{failed}/retry', undefined, { 'idempotency-key': 'taken' }), 'idempotency_conflict'],
  ['a retry under a key of our own', http('POST', '/v1/runs/{failed}/retry', undefined, { 'idempotency-key': 'retry:x' }), 'bad_request'],
  ['a fork from nowhere', http('POST', '/v1/runs/{finished}/fork', {}), 'bad_request'],
  ['a fork from a step that is none', http('POST', '/v1/runs/{finished}/fork', { fromStep: 0.5 }), 'bad_request'],
  ['a fork from a step not recorded', http('POST', '/v1/runs/{finished}/fork', { fromStep: 999 }), 'no_such_checkpoint'],
  ['the unsettled effects of no run', http('GET', '/v1/runs/run_1/unsettled'), 'not_found'],
  ['an outcome of no call', http('POST', '/v1/runs/{failed}/outcomes', { stepSeq: 9, path: '0', outcome: 'succeeded' }), 'not_found'],
  ['an outcome that is no word of ours', http('POST', '/v1/runs/{failed}/outcomes', { stepSeq: 1, path: '0', outcome: 'maybe' }), 'bad_request'],
  ['an outcome that is known', http('POST', '/v1/runs/{failed}/outcomes', { stepSeq: 1, path: '0', outcome: 'not_applied' }), 'outcome_settled'],
  ['a result of what was not applied', http('POST', '/v1/runs/{failed}/outcomes', { stepSeq: 1, path: '0', outcome: 'not_applied', response: 1 }), 'bad_request'],
  ['a result that is too large', http('POST', '/v1/runs/{failed}/outcomes', { stepSeq: 1, path: '0', outcome: 'succeeded', response: 'x'.repeat(70_000) }), 'data_not_storable'],
  ['a bulk without a filter', http('POST', '/v1/runs/bulk', { action: 'cancel', dryRun: false }), 'bad_request'],
  ['a bulk with an empty filter', http('POST', '/v1/runs/bulk', { action: 'cancel', filter: {}, dryRun: false }), 'bad_request'],
  ['a bulk of an unknown action', http('POST', '/v1/runs/bulk', { action: 'delete', filter: { user: 'ada' }, dryRun: false }), 'bad_request'],
  ['a bulk with an unknown filter', http('POST', '/v1/runs/bulk', { action: 'cancel', filter: { tenant: 'globex' }, dryRun: false }), 'bad_request'],
  ['a bulk beyond its limit', http('POST', '/v1/runs/bulk', { action: 'cancel', filter: { user: 'ada' }, dryRun: false, limit: 1_001 }), 'bad_request'],
  ['a bulk of a time that is none', http('POST', '/v1/runs/bulk', { action: 'cancel', filter: { createdBefore: 'now' }, dryRun: false }), 'bad_request'],
  ['a bulk that is asked for by GET', http('GET', '/v1/runs/bulk'), 'method_not_allowed'],
  ['approvals of an unknown status', http('GET', '/v1/approvals?status=open'), 'bad_request'],
  ['a cursor of another list, for approvals', http('GET', `/v1/approvals?cursor=${Buffer.from('["runs","x"]').toString('base64url')}`), 'bad_cursor'],
  ['an approval that is none', http('GET', '/v1/approvals/apr_1'), 'not_found'],
  ['a decision about nothing', http('POST', '/v1/approvals/apr_00000000000070008000000000000000/decide', { approved: true }), 'not_found'],
  ['a decision that is none', http('POST', '/v1/approvals/{question}/decide', { approved: 'yes' }), 'bad_request'],
  ['a decision without one', http('POST', '/v1/approvals/{question}/decide', { reason: 'x' }), 'bad_request'],
  ['a no with other arguments', http('POST', '/v1/approvals/{question}/decide', { approved: false, edited: {} }), 'bad_request'],
  ['a yes with arguments the tool does not take', http('POST', '/v1/approvals/{question}/decide', { approved: true, edited: { nonsense: 1 } }), 'tool_input_invalid'],
  ['a yes with a NUL character', http('POST', '/v1/approvals/{question}/decide', { approved: true, edited: { title: 'a\u0000' } }), 'data_not_storable'],
  ['a reason that cannot be printed', http('POST', '/v1/approvals/{question}/decide', { approved: true, reason: 'a\u0007' }), 'bad_request'],
  ['a schedule without a time', schedule({}), 'bad_request'],
  ['a schedule with two times', schedule({ cron: '0 9 * * *', zone: 'UTC', everyMs: 60_000 }), 'bad_request'],
  ['a cron expression without its zone', schedule({ cron: '0 9 * * *' }), 'bad_request'],
  ['a cron expression that is none', schedule({ cron: 'at nine sharp, do', zone: 'UTC' }), 'bad_request'],
  ['a cron expression of seconds', schedule({ cron: '* * * * * *', zone: 'UTC' }), 'bad_request'],
  ['a day that never comes', schedule({ cron: '0 9 31 2 *', zone: 'UTC' }), 'bad_request'],
  ['a zone that is none', schedule({ cron: '0 9 * * *', zone: 'Atlantis/Capital' }), 'bad_request'],
  ['an interval that is too short', schedule({ everyMs: 9_999 }), 'bad_request'],
  ['a schedule that has ended', schedule({ everyMs: 60_000, endsAt: '2020-01-01T00:00:00Z' }), 'bad_request'],
  ['a schedule of an unknown agent', schedule({ everyMs: 60_000, agent: 'nobody' }), 'agent_unknown'],
  ['a schedule with wrong input', schedule({ everyMs: 60_000, input: {} }), 'input_invalid'],
  ['a schedule of a session without a user', schedule({ everyMs: 60_000, session: 's' }), 'bad_request'],
  ['a schedule whose name is taken', schedule({ everyMs: 60_000, name: 'taken' }), 'bad_request'],
  ['a schedule that is none', http('GET', '/v1/schedules/sch_1'), 'not_found'],
  ['the resume of a schedule nobody paused', http('POST', '/v1/schedules/{schedule}/resume'), 'not_paused'],
  ['a run now of no schedule', http('POST', '/v1/schedules/sch_00000000000070008000000000000000/run'), 'not_found'],
  ['the end of no schedule', http('DELETE', '/v1/schedules/sch_1'), 'not_found'],
  ['a path that is not there', http('GET', '/v1/run'), 'not_found'],
  ['a method that is none of the path', http('DELETE', '/v1/runs/{run}'), 'method_not_allowed'],
  ['a path that is no URL', http('GET', '/v1/runs/%zz'), 'bad_request'],
  ['a key with an unknown scope', http('POST', '/v1/keys', { name: 'x', scopes: ['everything'] }), 'bad_request'],
  ['a key without scopes', http('POST', '/v1/keys', { name: 'x', scopes: [] }), 'bad_request'],
  ['permissions that are no lists', http('PUT', '/v1/permissions/ada', { datasets: 'sales' }), 'bad_request'],
  ['a key to share without its limit', submit({ concurrency: { key: 'k' } }), 'bad_request'],
  ['a limit of none at once', submit({ concurrency: { key: 'k', limit: 0 } }), 'bad_request'],
  ['a limit that is too large', submit({ concurrency: { key: 'k', limit: 100_001 } }), 'bad_request'],
  ['a key to share that cannot be printed', submit({ concurrency: { key: 'a\nb', limit: 1 } }), 'bad_request'],
  ['a limit of an unknown agent', http('PUT', '/v1/limits/agents/nobody', { maxRunning: 1 }), 'agent_unknown'],
  ['a limit of an agent that is no number', http('PUT', '/v1/limits/agents/support-agent', { maxRunning: 0.5 }), 'bad_request'],
  ['a limit of an agent that is not said', http('PUT', '/v1/limits/agents/support-agent', {}), 'bad_request'],
  ['a usage window that is none', http('GET', '/v1/usage?from=yesterday'), 'bad_request'],
  ['no key', http('POST', '/v1/runs', good, { authorization: '' }), 'unauthenticated'],
  ['a key that is none', http('POST', '/v1/runs', good, { authorization: 'Bearer mk_123' }), 'unauthenticated'],
  ['a key with a typo', http('POST', '/v1/runs', good, { authorization: `Bearer ${key.slice(0, -1)}${key.endsWith('0') ? '1' : '0'}` }), 'unauthenticated'],
];

describe('HTTP', () => {
  test('the table is large enough to mean something', () => expect(HTTP.length).toBeGreaterThanOrEqual(40));
  test.each(HTTP)('%s', async (_what, send, code) => {
    const before = await counts();
    const { status, code: given, words } = await send();
    expect([given, status]).toEqual([code, ERRORS[code].status]);
    expect(words).toContain(ERRORS[code].advice);
    expect(await counts()).toEqual(before);
  });

  test('a key that lacks the scope: refused, and only the audit line is new', async () => {
    const before = await counts() as { rows: Record<string, number> };
    expect(await http('POST', '/v1/runs', good, { authorization: `Bearer ${weak}` })()).toMatchObject({ status: 403, code: 'forbidden' });
    expect(await counts()).toEqual({ ...before, rows: { ...before.rows, audit_events: (before.rows['audit_events'] ?? 0) + 1 } });
  });
});

describe('the client', () => {
  test.each([
    ['an unknown agent', () => fleet.client(key).runs.create({ ...good, agent: 'nobody' }), 'agent_unknown'],
    ['wrong input', () => fleet.client(key).runs.create({ ...good, input: {} }), 'input_invalid'],
    ['a run that is not there', () => fleet.client(key).runs.get('run_1'), 'not_found'],
    ['no valid key', () => fleet.client('mk_wrong').runs.list(), 'unauthenticated'],
  ])('%s', async (_what, call, code) => {
    const before = await counts();
    const error = await call().then(() => undefined, (thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(MainstayApiError);
    expect(error).toMatchObject({ code, advice: ERRORS[code as ErrorCode].advice });
    expect(await counts()).toEqual(before);
  });
});

describe('the command line', () => {
  const input = JSON.stringify(good.input);
  test.each<[string, string[], number, RegExp]>([
    ['an unknown agent', ['runs', 'create', '--agent', 'nobody', '--input', input], 1, /^agent_unknown: /m],
    ['input that is no JSON', ['runs', 'create', '--agent', 'support-agent', '--input', '{'], 2, /JSON/],
    ['wrong input', ['runs', 'create', '--agent', 'support-agent', '--input', '{"message":""}'], 1, /^input_invalid: /m],
    ['a priority that is no number', ['runs', 'create', '--agent', 'support-agent', '--input', input, '--priority', 'high'], 2, /priority/],
    ['a key to share without its limit', ['runs', 'create', '--agent', 'support-agent', '--input', input, '--concurrency-key', 'k'], 1, /^bad_request: Give --concurrency-key and/m],
    ['an unknown option', ['runs', 'create', '--agent', 'support-agent', '--input', input, '--tenant', 'globex'], 2, /unknown option/],
    ['an unknown command', ['runs', 'destroy'], 2, /unknown command/],
    ['a run that is not there', ['runs', 'cancel', 'run_1'], 1, /^not_found: /m],
    ['an expiry that is no number', ['runs', 'create', '--agent', 'support-agent', '--input', input, '--expires-in-ms', 'soon'], 2, /expires-in-ms/],
    ['a debounce key without its window', ['runs', 'create', '--agent', 'support-agent', '--input', input, '--debounce-key', 'd'], 1, /^bad_request: --debounce-key/m],
    ['a file of runs that is not there', ['runs', 'create-many', '--file', 'none.jsonl'], 2, /none.jsonl cannot be read/],
    ['a chunk that is too large', ['runs', 'create-many', '--file', '/dev/null', '--chunk', '1001'], 1, /^bad_request: --chunk/m],
    ['a signal without a name', ['runs', 'signal', 'run_1'], 2, /missing required argument/],
    ['a payload that is no JSON', ['runs', 'signal', 'run_1', 'go', '--payload', '{'], 2, /JSON/],
    ['the pause of no run', ['runs', 'pause', 'run_1'], 1, /^not_found: /m],
    ['the resume of no run', ['runs', 'resume', 'run_1'], 1, /^not_found: /m],
    ['the retry of no run', ['runs', 'retry', 'run_1'], 1, /^not_found: /m],
    ['a fork from nowhere', ['runs', 'fork', 'run_1'], 2, /--from-step/],
    ['effects of no run', ['runs', 'unsettled', 'run_1'], 1, /^not_found: /m],
    ['an outcome that is no word of ours', ['runs', 'settle', 'run_1', '--step', '1', '--path', '0', '--outcome', 'maybe'], 2, /Allowed choices/],
    ['a bulk of nothing', ['runs', 'bulk', 'cancel', '--yes'], 1, /^bad_request: .*all: true/m],
    ['a bulk of everything and of a filter', ['runs', 'bulk', 'cancel', '--all', '--user', 'ada', '--yes'], 1, /^bad_request: --all/m],
    ['a bulk of an unknown action', ['runs', 'bulk', 'delete', '--user', 'ada'], 2, /Allowed choices/],
    ['a question that is none', ['approvals', 'show', 'apr_1'], 1, /^not_found: /m],
    ['a yes to nothing', ['approvals', 'approve', 'apr_1'], 1, /^not_found: /m],
    ['a yes with what is no JSON', ['approvals', 'approve', 'apr_1', '--edited', '{'], 2, /JSON/],
    ['a schedule of an interval that is no number', ['schedules', 'create', 'x', '--agent', 'support-agent', '--input', input, '--every-ms', 'daily'], 2, /every-ms/],
    ['a schedule without a time', ['schedules', 'create', 'x', '--agent', 'support-agent', '--input', input], 1, /^bad_request: .*cron/m],
    ['the pause of no schedule', ['schedules', 'pause', 'sch_1'], 1, /^not_found: /m],
    ['a tenant that is no name', ['tenants', 'create', 'Not A Name'], 1, /^bad_request: /m],
    ['a key with an unknown scope', ['keys', 'create', '--tenant', 'acme', '--scopes', 'everything'], 2, /is no scope; there are: all/],
    ['a limit of no tenant', ['tenants', 'limit', 'nobody-here', '--max-running', '2'], 1, /nobody-here/],
    ['a limit of nothing', ['tenants', 'limit', 'acme', '--max-running', '0'], 1, /^bad_request: A limit/m],
    ['a key of no tenant', ['keys', 'create', '--tenant', 'nobody-here', '--scopes', 'all'], 1, /nobody-here/],
  ])('%s', async (_what, words, code, says) => {
    const before = await counts();
    const ended = await promisify(execFile)(process.execPath, ['src/cli/main.ts', ...words], { env: { ...process.env, NODE_OPTIONS: '', MAINSTAY_URL: fleet.url, MAINSTAY_API_KEY: key, DATABASE_URL: stack.databaseUrl } })
      .then(({ stderr }) => ({ code: 0, stderr }), (error: { code: number; stderr: string }) => error);
    expect([ended.code, ended.stderr]).toEqual([code, expect.stringMatching(says)]);
    expect(ended.stderr).not.toMatch(/^\s+at /m);
    expect(await counts()).toEqual(before);
  });
});

describe('a plain BullMQ job', () => {
  test.each<[string, unknown, ErrorCode]>([
    ['no object', 'hello', 'input_invalid'],
    ['a tenant', { ...good, tenant: 'globex' }, 'tenant_in_payload'],
    ['a tenant in other letters', { ...good, TenantId: 'globex' }, 'tenant_in_payload'],
    ['an unknown field', { ...good, scopes: ['all'] }, 'input_invalid'],
    ['an unknown agent', { ...good, agent: 'nobody' }, 'agent_unknown'],
    ['wrong input', { ...good, input: { message: 7 } }, 'input_invalid'],
    ['an expiry that is none', { ...good, expiresInMs: -1 }, 'input_invalid'],
    ['a limit of none at once', { ...good, concurrency: { key: 'k', limit: 0 } }, 'input_invalid'],
    ['a key to share that cannot be printed', { ...good, concurrency: { key: 'a\u0007', limit: 1 } }, 'bad_request'],
    ['a session without a user', { ...good, session: 's' }, 'bad_request'],
    ['a NUL character', { ...good, input: { message: 'a\u0000b' } }, 'data_not_storable'],
    ['a start and a delay', { ...good, startAt: '2027-01-01T00:00:00Z', delayMs: 5 }, 'input_invalid'],
  ])('with %s', async (_what, data, code) => {
    const before = await counts();
    const job = await queue.add('run', data);
    await until('its refusal', () => job.isFailed());
    expect((await queue.getJob(job.id ?? ''))?.failedReason).toMatch(new RegExp(`^${code}: .{10,}`));
    expect(await counts()).toEqual(before);
  });
});
