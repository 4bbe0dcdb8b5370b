// Many runs in one request are stored all or none: what is refused names its items and changes nothing; what is accepted keeps the
// order of its sessions and is made once, however often it is sent.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { Mainstay } from '../../src/client/client.ts';
import type { Step } from '../../src/domain/machine.ts';
import { SUBMIT_MANY_BYTES, SUBMIT_MANY_MAX } from '../../src/domain/tunables.ts';
import type { NewRunsBody, Problem } from '../../src/domain/wire.ts';
import { parseId } from '../../src/ids.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { refusal, startControl } from '../support/control.ts';
import { startApi } from '../support/api.ts';
import { useStack } from '../support/stack.ts';

const said: string[] = [];
const say = defineMachine({
  name: 'say', version: 1, input: z.strictObject({ word: z.string() }), start: 'go', remembers: false,
  steps: { go: (step: Step<{ word: string }>) => { said.push(step.input.word); return Promise.resolve(step.done(step.input.word)); } },
});
const stack = await useStack();
const { api, client, ended } = await startControl(stack, [say]);
const key = await api.makeKey();
const LATER = { delayMs: 3_600_000 };
type Item = NewRunsBody['runs'][number];
const item = (word: unknown, over: Partial<Item> = {}): Item => ({ agent: 'say', input: { word }, ...over });
const many = (n: number, over: (at: number) => Partial<Item> = () => LATER): Item[] => Array.from({ length: n }, (_, at) => item(`w${at}`, over(at)));
const post = (runs: unknown) => api.call<Problem>('POST', '/v1/runs/many', { key, body: { runs } });
const TABLES = ['agent_runs', 'run_events', 'sessions'];
const rows = async (): Promise<unknown> => Promise.all(TABLES.map((table) => api.fleet.rows(`SELECT count(*)::int AS n, md5(string_agg(t::text, '' ORDER BY t::text)) AS all FROM ${table} t`)));
const with17 = (bad: object): unknown[] => { const runs: unknown[] = many(40, (at) => ({ ...LATER, user: 'ada', session: `s${at % 4}` })); runs[17] = { ...(runs[17] as object), ...bad }; return runs; };

test('a full bulk is stored in order, every run of it ends, and the same bulk again is the same runs', async () => {
  const worker = await api.fleet.worker();
  const runs = many(SUBMIT_MANY_MAX, (at) => ({ user: 'full', idempotencyKey: `full:${at}`, ...(at % 2 ? { session: `s${at % 10}` } : {}) }));
  const made = await client.runs.createMany(runs);
  expect(made.map(({ status, created }) => [status, created])).toEqual(runs.map(() => ['queued', true]));
  const stored = await api.fleet.rows<{ id: string; word: string }>(`SELECT id, input ->> 'word' AS word FROM agent_runs WHERE user_id = 'full' ORDER BY id`);
  expect(stored.map(({ word }) => word)).toEqual(runs.map((_, at) => `w${at}`));
  expect(made.map(({ id }) => parseId('run', id))).toEqual(stored.map(({ id }) => id));
  for (const { id } of made) expect(await ended(id)).toMatchObject({ status: 'completed' });
  expect(said.toSorted()).toEqual(runs.map((_, at) => `w${at}`).toSorted()); // each once
  for (const session of [1, 3, 5, 7, 9]) expect(said.filter((word) => Number(word.slice(1)) % 10 === session)).toEqual(runs.map((_, at) => `w${at}`).filter((_, at) => at % 10 === session));
  expect(await client.runs.createMany(runs)).toEqual(made.map(({ id }) => ({ id, status: 'completed', created: false })));
  await worker.stop(); // the others stand
}, 60_000);

test.each<[what: string, runs: unknown, code: string, path: string]>([
  ['input the agent does not take', with17({ input: { word: 7 } }), 'input_invalid', 'runs.17.input.word'],
  ['an unknown agent', with17({ agent: 'nobody' }), 'agent_unknown', 'runs.17'],
  ['an unknown field', with17({ tenant: 'globex' }), 'bad_request', 'runs.17.tenant'],
  ['debounce', with17({ debounce: { key: 'x', windowMs: 1 } }), 'bad_request', 'runs.17.debounce'],
  ['a session without a user', with17({ user: undefined }), 'bad_request', 'runs.17.user'],
  ['a delay of more than a year', with17({ delayMs: 40_000_000_000 }), 'bad_request', 'runs.17.delayMs'],
  ['a key of our own', with17({ idempotencyKey: 'remember:x' }), 'bad_request', 'runs.17.idempotencyKey'],
  ['a NUL character', with17({ input: { word: 'a\u0000' } }), 'data_not_storable', 'runs.17'],
  ['no runs', [], 'bad_request', 'runs'],
  ['too many runs', many(SUBMIT_MANY_MAX + 1), 'bad_request', 'runs'],
])('%s: refused whole, with its place', async (_what, runs, code, path) => {
  const before = await rows();
  const { body } = await post(runs);
  expect([body.code, body.fields.map((field) => field.path)]).toEqual([code, [path]]);
  expect(await rows()).toEqual(before);
});

test('several bad items are all named; a body beyond its bytes is refused with their number', async () => {
  const runs = many(30);
  for (const at of [3, 8]) runs[at] = item(at);
  const { body } = await post(runs);
  expect(body.fields.map(({ path }) => path)).toEqual(['runs.3.input.word', 'runs.8.input.word']);
  expect(body.detail).toContain('2 of 30');
  const large = await post([item('x'.repeat(SUBMIT_MANY_BYTES))]);
  expect([large.status, large.body.code, large.body.detail]).toEqual([413, 'body_too_large', `The body is larger than ${SUBMIT_MANY_BYTES} bytes.`]);
});

test('a key used with another request, before or in the bulk itself, refuses the whole and names its items', async () => {
  await client.runs.create({ agent: 'say', input: { word: 'first' }, ...LATER }, { idempotencyKey: 'taken' });
  const before = await rows();
  const keyed = (at: number): Partial<Item> => ({ ...LATER, idempotencyKey: at === 4 ? 'taken' : at === 6 || at === 9 ? 'twice' : `fresh:${at}` });
  const { status, body } = await post(many(12, keyed));
  expect([status, body.code, body.fields.map(({ path }) => path)]).toEqual([422, 'idempotency_conflict', ['runs.4.idempotencyKey', 'runs.9.idempotencyKey']]);
  expect(await rows()).toEqual(before);
  const again = await client.runs.createMany([item('first', { ...LATER, idempotencyKey: 'taken' }), item('new', { ...LATER, idempotencyKey: 'new' }), item('new', { ...LATER, idempotencyKey: 'new' })]);
  expect(again.map(({ created }) => created)).toEqual([false, true, false]);
  expect(again[1]?.id).toBe(again[2]?.id); // the same request twice in one bulk is one run
});

test('`reject` looks at the session as it is before its item: one earlier in the bulk makes it busy', async () => {
  const reject = { ...LATER, user: 'rae', multitask_strategy: 'reject' as const };
  const busy = async (runs: Item[]): Promise<string[]> => {
    const before = await rows();
    const { status, body } = await post(runs);
    expect([status, body.code]).toEqual([409, 'session_busy']);
    expect(await rows()).toEqual(before);
    return body.fields.map(({ path }) => path);
  };
  expect(await busy([item('a', { ...LATER, user: 'rae', session: 's1' }), item('b', { ...reject, session: 's2' }), item('c', { ...reject, session: 's1' })])).toEqual(['runs.2.session']);
  const keyed = [item('a', { ...reject, session: 's1', idempotencyKey: 'r1' }), item('b', { ...reject, session: 's2', idempotencyKey: 'r2' }), item('c', { ...LATER, user: 'rae', session: 's1' })];
  await client.runs.createMany(keyed);
  expect((await client.runs.createMany(keyed.slice(0, 2))).map(({ created }) => created)).toEqual([false, false]); // a repeat is no second run
  expect(await busy([item('d', { ...reject, session: 's2' })])).toEqual(['runs.0.session']);
});

test('bulks at once with the same sessions and keys, in opposite orders, all come through', async () => {
  const runs = many(200, (at) => ({ ...LATER, user: 'cy', session: `s${at % 20}`, idempotencyKey: `cross:${at}` }));
  const answers = await Promise.all(Array.from({ length: 6 }, (_, at) => client.runs.createMany(at % 2 ? runs.toReversed() : runs)));
  const ids = answers.map((made, at) => (at % 2 ? made.toReversed() : made).map(({ id }) => id));
  for (const one of ids) expect(one).toEqual(ids[0]);
  expect(answers.flat().filter(({ created }) => created)).toHaveLength(200);
});

test('a bulk reaches no other user, and counts by its items', async () => {
  const bound = new Mainstay({ baseUrl: api.url, apiKey: await api.makeKey({ user: 'ada' }), retries: 0 });
  const before = await rows();
  const error = await bound.runs.createMany([item('a'), item('b', { user: 'bob' })]).catch((thrown: unknown) => thrown);
  expect(error).toMatchObject({ code: 'forbidden', fields: [{ path: 'runs.1.user' }] });
  expect(await rows()).toEqual(before);

  const slow = await startApi(stack, [say], { config: { SUBMIT_RATE_LIMIT: '10', REDIS_PREFIX: `${stack.redisPrefix}r` } });
  const slowKey = await slow.makeKey({ tenant: 'busy' });
  const send = (users: (string | undefined)[]) => slow.call<Problem>('POST', '/v1/runs/many', { key: slowKey, body: { runs: users.map((user) => item('x', { ...LATER, ...(user === undefined ? {} : { user }) })) } });
  const users = (n: number, user: string | undefined): (string | undefined)[] => Array<string | undefined>(n).fill(user);
  const first = await send([...users(6, 'ada'), ...users(3, undefined)]);
  expect([first.status, first.headers.get('ratelimit')]).toEqual([202, expect.stringMatching(/"user";r=4;t=\d+$/)]);
  const over = await send(users(5, 'ada'));
  expect([over.status, over.body.code, over.headers.get('ratelimit')]).toEqual([429, 'rate_limited', expect.stringMatching(/"user";r=4;t=\d+$/)]); // nothing of it is counted
  expect((await send(users(4, 'ada'))).status).toBe(202);
  expect((await send(users(7, undefined))).status).toBe(202);
  const never = await send(users(11, 'bob'));
  expect([never.status, never.body.code]).toEqual([400, 'bad_request']);
});

test('the client makes keys, so that a bulk whose answer is lost is made once', async () => {
  let calls = 0;
  const losing = new Mainstay({ baseUrl: api.url, apiKey: key, retries: 2, fetch: async (...words) => {
    const answer = await fetch(...words);
    if (calls++ === 0) throw new TypeError('connection reset');
    return answer;
  } });
  const made = await losing.runs.createMany([item('lost 1', { ...LATER, user: 'lou' }), item('lost 2', { ...LATER, user: 'lou' })]);
  expect(made.map(({ created }) => created)).toEqual([false, false]); // the first try made them
  expect((await client.runs.list({ user: 'lou' })).data.map(({ id }) => id).sort()).toEqual(made.map(({ id }) => id).sort());
  expect(await refusal(client.runs.createMany([]))).toBe('bad_request');
});
