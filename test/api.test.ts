// Runs over HTTP: the whole way, waiting, repeating, delaying, cancelling, following a stream and coming back to it, paging;
// and a run is accepted while Redis is away.
import { describe, expect, test } from '@jest/globals';
import type { Page, Problem, Run, RunEvent, RunItem, RunStep } from '../src/domain/wire.ts';
import { parseId } from '../src/ids.ts';
import { count, echo, makeHeld } from './support/api-machines.ts';
import { startApi } from './support/api.ts';
import { startOwnRedis } from './support/own-redis.ts';
import { openSse } from './support/sse.ts';
import { useStack } from './support/stack.ts';

const stack = await useStack();
const held = makeHeld();
const api = await startApi(stack, [echo, count, held.machine], { heartbeatMs: 200 });
await api.fleet.worker();
const key = await api.makeKey({ scopes: ['runs:write', 'runs:read', 'users:any'] });
const submit = (body: Record<string, unknown>, headers: Record<string, string> = {}, query = '') => api.call<Run>('POST', `/v1/runs${query}`, { key, body, headers });
const read = async (id: string, query = ''): Promise<Run> => (await api.call<Run>('GET', `/v1/runs/${id}${query}`, { key })).body;
const uuid = (id: string): string => parseId('run', id)!;

describe('submit', () => {
  test('a run is accepted, runs, and is read with its steps and events', async () => {
    const { status, headers, body } = await submit({ agent: 'echo', input: { word: 'hello' }, user: 'ada', session: 's1', priority: 5, metadata: { from: 'test' } });
    expect(status).toBe(202);
    expect(headers.get('location')).toBe(`/v1/runs/${body.id}`);
    expect(headers.get('idempotent-replayed')).toBeNull();
    const run = await read(body.id, '?wait=15');
    expect(run).toMatchObject({ id: body.id, status: 'completed', output: { said: 'hello' }, input: { word: 'hello' }, user: 'ada', session: 's1', priority: 5, metadata: { from: 'test' }, steps: 1, live: null, errorCode: null });
    const steps = (await api.call<Page<RunStep>>('GET', `/v1/runs/${run.id}/steps`, { key })).body;
    expect(steps.data.map(({ seq, name, next }) => [seq, name, next])).toEqual([[1, 'say', null]]);
    const events = (await api.call<Page<RunEvent>>('GET', `/v1/runs/${run.id}/events`, { key })).body;
    expect(events.nextCursor).toBeNull();
    expect(events.data.at(0)?.type).toBe('run.queued');
    expect(events.data.at(-1)?.type).toBe('run.completed');
    for (const calls of ['tool-calls', 'model-calls']) expect((await api.call('GET', `/v1/runs/${run.id}/${calls}`, { key })).body).toEqual({ data: [], nextCursor: null });
  });

  test('with wait a short run is answered with its end, a long one as it is', async () => {
    const short = await submit({ agent: 'echo', input: { word: 'quick' } }, {}, '?wait=15');
    expect([short.status, short.body.status]).toEqual([200, 'completed']);
    const long = await submit({ agent: 'held', input: { word: 'slow' } }, {}, '?wait=1');
    expect([long.status, long.body.status]).toEqual([202, 'running']);
    held.letGo('slow');
    expect((await read(long.body.id, '?wait=15')).status).toBe('completed');
  });

  test('the same key with the same body is the same run; with another body or user it is refused', async () => {
    const body = { agent: 'echo', input: { word: 'once' }, user: 'ada' };
    const first = await submit(body, { 'idempotency-key': 'k1' });
    const again = await submit(body, { 'idempotency-key': 'k1' });
    expect([again.status, again.headers.get('idempotent-replayed'), again.body.id]).toEqual([202, 'true', first.body.id]);
    for (const other of [{ ...body, input: { word: 'twice' } }, { ...body, user: 'bob' }]) {
      const conflict = await api.call<Problem>('POST', '/v1/runs', { key, body: other, headers: { 'idempotency-key': 'k1' } });
      expect([conflict.status, conflict.body.code]).toEqual([422, 'idempotency_conflict']);
    }
    const reserved = await api.call<Problem>('POST', '/v1/runs', { key, body, headers: { 'idempotency-key': `remember:${uuid(first.body.id)}:1` } });
    expect([reserved.status, reserved.body.code]).toEqual([400, 'bad_request']);
  });

  test('a delayed run does not start before its time', async () => {
    const delayed = await submit({ agent: 'echo', input: { word: 'later' }, delayMs: 1_200 }, {}, '?wait=15');
    expect(delayed.body.status).toBe('completed');
    expect(Date.parse(delayed.body.startedAt!) - Date.parse(delayed.body.createdAt)).toBeGreaterThanOrEqual(1_200);
    const far = (await submit({ agent: 'echo', input: { word: 'far' }, startAt: '2099-01-01T00:00:00+01:00' })).body;
    expect([far.status, far.dueAt]).toEqual(['queued', '2098-12-31T23:00:00.000Z']);
    const both = await api.call<Problem>('POST', '/v1/runs', { key, body: { agent: 'echo', input: { word: 'x' }, delayMs: 1, startAt: '2099-01-01T00:00:00Z' } });
    expect(both.body.code).toBe('bad_request');
  });

  test('of a busy session a second run is refused where the caller asks for that', async () => {
    const first = (await submit({ agent: 'held', input: { word: 'busy' }, user: 'ada', session: 'busy' })).body;
    const second = await api.call<Problem>('POST', '/v1/runs', { key, body: { agent: 'echo', input: { word: 'x' }, user: 'ada', session: 'busy', multitask_strategy: 'reject' } });
    expect([second.status, second.body.code]).toEqual([409, 'session_busy']);
    held.letGo('busy');
    expect((await read(first.id, '?wait=15')).status).toBe('completed');
  });
});

describe('cancel', () => {
  const cancel = (id: string) => api.call<Run>('POST', `/v1/runs/${id}/cancel`, { key });

  test('a queued run ends at once, and a second cancel is told so', async () => {
    const { id } = (await submit({ agent: 'echo', input: { word: 'never' }, startAt: '2099-01-01T00:00:00Z' })).body;
    const answer = await cancel(id);
    expect([answer.status, answer.body.status, answer.body.errorCode]).toEqual([202, 'cancelled', 'cancelled']);
    const again = await cancel(id);
    expect([again.status, again.body]).toEqual([409, expect.objectContaining({ code: 'run_finished' })]);
  });

  test('a running run is aborted in its step', async () => {
    const { id } = (await submit({ agent: 'held', input: { word: 'aborted' } })).body;
    await held.begun('aborted');
    const answer = await cancel(id);
    expect([answer.status, answer.body.cancelRequested]).toEqual([202, true]);
    expect(await read(id, '?wait=15')).toMatchObject({ status: 'cancelled', errorCode: 'cancelled', output: null });
  });

  test('the next run of the session follows a cancelled head', async () => {
    const head = (await submit({ agent: 'echo', input: { word: 'head' }, user: 'ada', session: 'heads', startAt: '2099-01-01T00:00:00Z' })).body;
    const next = (await submit({ agent: 'echo', input: { word: 'next' }, user: 'ada', session: 'heads' })).body;
    expect(next.status).toBe('queued');
    expect((await cancel(head.id)).body.status).toBe('cancelled');
    expect((await read(next.id, '?wait=15')).status).toBe('completed');
  });

  test('who cancelled is on record', async () => {
    const admin = await api.makeKey();
    const { body } = await api.call<Page<{ objectId: string; actor: string }>>('GET', '/v1/audit?action=run.cancelled', { key: admin });
    expect(body.data.length).toBe(3);
    expect(body.data.every(({ actor }) => actor.startsWith('key:'))).toBe(true);
  });
});

describe('follow', () => {
  const eventsOf = (id: string): string => `${api.url}/v1/runs/${id}/events`;

  test('a stream tells everything once, in order, and ends with the run', async () => {
    const { id } = (await submit({ agent: 'count', input: { to: 7 } })).body;
    const stream = await openSse(eventsOf(id), key);
    expect([stream.status, stream.headers.get('content-type'), stream.headers.get('cache-control')]).toEqual([200, 'text/event-stream; charset=utf-8', 'no-store']);
    const told = await stream.rest();
    expect(told.map((event) => event.id)).toEqual(told.map((_, index) => index + 1));
    expect(told.filter(({ event }) => event === 'step.completed')).toHaveLength(7);
    expect(told.at(-1)).toMatchObject({ event: 'run.completed', data: { type: 'run.completed', seq: told.length } });
    const listed = (await api.call<Page<RunEvent>>('GET', `/v1/runs/${id}/events?after=3`, { key })).body.data;
    expect(listed).toEqual(told.slice(3).map(({ data }) => data));
  });

  test('a caller that lost its connection in mid-run comes back to the next event', async () => {
    const { id } = (await submit({ agent: 'held', input: { word: 'followed' } })).body;
    const first = await openSse(eventsOf(id), key);
    const queued = await first.next();
    expect(queued?.event).toBe('run.queued');
    first.leave();
    const second = await openSse(`${eventsOf(id)}?after=0`, key, { 'last-event-id': String(queued?.id) }); // the header is what is newer
    held.letGo('followed');
    const told = await second.rest();
    expect(told.map((event) => event.id)).toEqual(told.map((_, index) => index + queued!.id + 1));
    expect(told.filter(({ event }) => event === 'step.completed').map(({ data }) => (data.data as { step: string }).step)).toEqual(['hold', 'end']);
    expect(told.at(-1)?.event).toBe('run.completed');
    expect(await (await openSse(eventsOf(id), key, { 'last-event-id': String(told.at(-1)?.id) })).rest()).toEqual([]);
  });

  test('a silent stream says that it is there, and ends when its key has expired', async () => {
    const { id } = (await submit({ agent: 'held', input: { word: 'silent' } })).body;
    await held.begun('silent');
    const passing = await api.makeKey({ scopes: ['runs:read', 'users:any'] });
    const stream = await openSse(eventsOf(id), passing);
    const told = stream.rest();
    await api.fleet.base.engine.pool.query(`UPDATE api_keys SET expires_at = now() + interval '700 ms' WHERE id = $1`, [passing.split('_')[1]]);
    expect((await told).map(({ event }) => event)).not.toContain('run.completed');
    expect(stream.comments).toContain(': still here');
    held.letGo('silent');
    expect((await read(id, '?wait=15')).status).toBe('completed');
  });

  test('a page of events and a wrong place in them', async () => {
    const { id } = (await submit({ agent: 'count', input: { to: 5 } }, {}, '?wait=15')).body;
    const seqs: number[] = [];
    for (let path: string | undefined = `/v1/runs/${id}/events?limit=3`; path !== undefined;) {
      const { data, nextCursor }: Page<RunEvent> = (await api.call<Page<RunEvent>>('GET', path, { key })).body;
      seqs.push(...data.map(({ seq }) => seq));
      path = nextCursor === null ? undefined : `/v1/runs/${id}/events?limit=3&cursor=${nextCursor}`;
    }
    expect(seqs.length).toBeGreaterThanOrEqual(7);
    expect(seqs).toEqual(seqs.map((_, index) => index + 1));
    const wrong = await api.call<Problem>('GET', `/v1/runs/${id}/events`, { key, headers: { 'last-event-id': 'seven' } });
    expect([wrong.status, wrong.body.code]).toEqual([400, 'bad_request']);
  });
});

test('runs are listed newest first, page by page, by what they are', async () => {
  const own = await api.makeKey({ tenant: 'pages' });
  const ids: string[] = [];
  for (let n = 0; n < 7; n++) ids.unshift((await api.call<Run>('POST', '/v1/runs', { key: own, body: { agent: 'echo', input: { word: String(n) }, user: n % 2 ? 'ada' : 'bob', delayMs: 60_000 } })).body.id);
  const page = async (query: string): Promise<Page<RunItem>> => (await api.call<Page<RunItem>>('GET', `/v1/runs?${query}`, { key: own })).body;
  const first = await page('limit=3');
  const second = await page(`limit=3&cursor=${first.nextCursor}`);
  const third = await page(`limit=3&cursor=${second.nextCursor}`);
  expect([first, second, third].flatMap(({ data }) => data.map(({ id }) => id))).toEqual(ids);
  expect(third.nextCursor).toBeNull();
  expect((await page('user=ada&status=queued&agent=echo')).data).toHaveLength(3);
  expect((await page('status=completed')).data).toEqual([]);
  expect(first.data[0]).not.toHaveProperty('input');
  const foreign = await api.call<Problem>('GET', `/v1/runs/${ids[0]}/steps?cursor=${first.nextCursor}`, { key: own });
  expect([foreign.status, foreign.body.code]).toEqual([400, 'bad_cursor']);
});

test('without Redis a run is accepted, runs and is followed; the API starts without it as well', async () => {
  const redis = await startOwnRedis();
  const env = { ...stack, env: { ...stack.env, REDIS_URL: redis.url } };
  const lonely = await startApi(env, [echo]);
  const own = await lonely.makeKey();
  await lonely.fleet.worker();
  await redis.stop();
  const accepted = await lonely.call<Run>('POST', '/v1/runs', { key: own, body: { agent: 'echo', input: { word: 'alone' } } });
  expect(accepted.status).toBe(202);
  expect((await lonely.call<Run>('GET', `/v1/runs/${accepted.body.id}?wait=15`, { key: own })).body.status).toBe('completed');
  expect((await lonely.call('GET', '/readyz')).status).toBe(200);
  const late = await startApi(env, [echo]);
  expect((await late.call<Run>('POST', '/v1/runs', { key: own, body: { agent: 'echo', input: { word: 'late' } } })).status).toBe(202);
}, 40_000);

test('a stop ends streams and waits within a second', async () => {
  const stopped = await startApi(stack, [held.machine]);
  const own = await stopped.makeKey({ tenant: 'stops' });
  const { id } = (await stopped.call<Run>('POST', '/v1/runs', { key: own, body: { agent: 'held', input: { word: 'unfinished' }, delayMs: 60_000 } })).body;
  const waiting = stopped.call<Run>('GET', `/v1/runs/${id}?wait=30`, { key: own });
  const stream = await openSse(`${stopped.url}/v1/runs/${id}/events`, own);
  await stream.next(); // by then the request before it is being served as well
  const beganMs = performance.now();
  const [told, answer] = await Promise.all([stream.rest(), waiting, stopped.stop()]);
  expect(performance.now() - beganMs).toBeLessThan(1_000);
  expect(told).toEqual([]);
  expect(answer.body.status).toBe('queued');
});
