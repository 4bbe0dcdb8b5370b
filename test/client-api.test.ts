// The client and the command line against the real API, with a real worker behind it: create → watch → get → list → cancel,
// both ways, and every group of calls at least once.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { defineMachine, Mainstay, type RunEvent, type Step } from '../src/index.ts';
import { newId, parseId, publicId } from '../src/ids.ts';
import { startApi } from './support/api.ts';
import { plantMemories, plantSummaries } from './support/memories.ts';
import { spawnCli, type Said } from './support/spawn-cli.ts';
import { useStack } from './support/stack.ts';

const input = z.strictObject({ message: z.string() });
type Input = z.infer<typeof input>;

const echo = defineMachine<Input>({
  name: 'echo', version: 1, input, start: 'hear', remembers: false,
  steps: {
    hear: async (step: Step<Input>) => step.next('speak', { heard: step.input.message }),
    speak: async (step: Step<Input, { heard: string }>) => {
      if (step.data.heard === 'sleep') return step.sleep(3_600_000, 'speak', { heard: 'awake' });
      return step.done({ said: step.data.heard }, [{ role: 'user', content: step.data.heard }, { role: 'assistant', content: `said \u001b[2J${step.data.heard}` }]);
    },
  },
});

const stack = await useStack();
const api = await startApi(stack, [echo]);
await api.fleet.worker();
const apiKey = await api.makeKey();
const client = new Mainstay({ baseUrl: api.url, apiKey });
const mainstay = (words: string[], stdin = ''): Promise<Said> => spawnCli(words, { env: { MAINSTAY_URL: api.url, MAINSTAY_API_KEY: apiKey }, input: stdin });
const parsed = async (words: string[]): Promise<any> => { // eslint-disable-line @typescript-eslint/no-explicit-any -- JSON, whose shape the assertions are about
  const { code, out, err } = await mainstay([...words, '--json']);
  expect({ code, err }).toEqual({ code: 0, err: '' });
  return JSON.parse(out);
};

test('client: a run is submitted once, followed to its end, read, listed; another is cancelled', async () => {
  const body = { agent: 'echo', input: { message: 'hello' }, user: 'ada', session: 's1', metadata: { from: 'test' } };
  const run = await client.runs.create(body, { idempotencyKey: 'one' });
  expect((await client.runs.create(body, { idempotencyKey: 'one' })).id).toBe(run.id);
  await expect(client.runs.create({ ...body, user: 'bob' }, { idempotencyKey: 'one' })).rejects.toMatchObject({ code: 'idempotency_conflict', status: 422, requestId: expect.any(String) });

  const events: RunEvent[] = [];
  for await (const event of client.runs.stream(run.id)) events.push(event);
  expect(events.map(({ seq }) => seq)).toEqual(events.map((_, at) => at + 1));
  expect(events.filter(({ type }) => type === 'step.completed').map(({ data }) => (data as { step: string }).step)).toEqual(['hear', 'speak']);
  expect(events.at(-1)?.type).toBe('run.completed');
  const late: number[] = [];
  for await (const { seq } of client.runs.stream(run.id, { after: events.length })) late.push(seq);
  expect(late).toEqual([]);

  expect(await client.runs.wait(run.id)).toMatchObject({ id: run.id, status: 'completed', output: { said: 'hello' }, metadata: { from: 'test' }, steps: 2 });
  expect((await client.runs.steps(run.id)).data.map(({ name }) => name)).toEqual(['hear', 'speak']);
  expect([await client.runs.toolCalls(run.id), await client.runs.modelCalls(run.id), await client.runs.traces(run.id)]).toEqual([1, 2, 3].map(() => ({ data: [], nextCursor: null })));
  expect(await client.runs.memories(run.id)).toMatchObject({ memoryState: 'none', verdicts: [] });

  const sleeper = await client.runs.create({ agent: 'echo', input: { message: 'sleep' }, user: 'ada' });
  for await (const { type } of client.runs.stream(sleeper.id)) if (type === 'run.waiting' || type === 'step.completed') break;
  expect(await client.runs.cancel(sleeper.id)).toMatchObject({ id: sleeper.id });
  expect(await client.runs.wait(sleeper.id)).toMatchObject({ status: 'cancelled' });
  await expect(client.runs.cancel(run.id)).rejects.toMatchObject({ code: 'run_finished', status: 409 });
  const ids: string[] = [];
  for await (const { id } of client.runs.iterate({ user: 'ada', limit: 1 })) ids.push(id);
  expect(ids).toEqual([sleeper.id, run.id]);
});

test('client: waiting at the submission, and errors with their fields', async () => {
  expect(await client.runs.create({ agent: 'echo', input: { message: 'quick' } }, { waitS: 30 })).toMatchObject({ status: 'completed', output: { said: 'quick' } });
  await expect(client.runs.create({ agent: 'echo', input: { massage: 'x' } })).rejects.toMatchObject({ code: 'input_invalid', fields: expect.arrayContaining([expect.objectContaining({ path: 'input.message' })]) });
  await expect(client.runs.get('run_nothing')).rejects.toMatchObject({ code: 'not_found', status: 404, advice: expect.any(String) });
  await expect(new Mainstay({ baseUrl: api.url, apiKey: 'mk_wrong' }).agents.list()).rejects.toMatchObject({ code: 'unauthenticated', status: 401 });
});

test('client: sessions, memories, agents, usage, budgets, audit, keys, permissions and limits', async () => {
  expect((await client.sessions.list({ user: 'ada' })).data.map(({ id }) => id)).toEqual(['s1']);
  expect(await client.sessions.get('s1', { user: 'ada' })).toMatchObject({ id: 's1', version: 1 });
  expect((await client.sessions.messages('s1', { user: 'ada' })).data.map(({ role }) => role)).toEqual(['assistant', 'user']);
  expect(await client.memories.list({ user: 'ada', include: 'superseded' })).toEqual({ data: [], nextCursor: null });
  await expect(client.memories.get('mem_nothing')).rejects.toMatchObject({ code: 'not_found' });
  expect((await client.agents.list()).data).toEqual([expect.objectContaining({ name: 'echo', version: 1 })]);
  expect(await client.usage.get()).toMatchObject({ total: { calls: 0, costMicroUsd: 0 } });

  expect(await client.budgets.list()).toEqual({ data: [], nextCursor: null });
  expect((await client.budgets.set({ agent: 'echo', window: 'day', limitMicroUsd: 5_000_000 })).data).toEqual([{
    of: 'agent', name: 'echo', window: 'day', limitMicroUsd: 5_000_000, spentMicroUsd: 0, reservedMicroUsd: 0, leftMicroUsd: 5_000_000, waiting: 0, since: expect.any(String), endsAt: expect.stringMatching(/T00:00:00\.000Z$/), warnedAt: null,
  }]);
  await expect(client.budgets.set({ agent: 'nobody', limitMicroUsd: 1 })).rejects.toMatchObject({ code: 'agent_unknown' });
  await expect(client.budgets.set({ agent: 'echo', user: 'ada', limitMicroUsd: 1 })).rejects.toMatchObject({ code: 'bad_request' });
  await expect(client.budgets.set({ run: 'run_nothing', limitMicroUsd: 1 })).rejects.toMatchObject({ code: 'not_found' });
  await expect(client.budgets.set({ limitMicroUsd: -1 })).rejects.toMatchObject({ code: 'bad_request' });

  const made = await client.keys.create({ name: 'reader', scopes: ['runs:read'], user: 'ada' });
  await expect(new Mainstay({ baseUrl: api.url, apiKey: made.key }).runs.create({ agent: 'echo', input: { message: 'no' } })).rejects.toMatchObject({ code: 'forbidden', status: 403 });
  await client.keys.revoke(made.id);
  expect((await client.keys.list()).data.find(({ id }) => id === made.id)?.revokedAt).toEqual(expect.any(String));
  expect(await client.permissions.put('ada', { roles: ['analyst'], datasets: ['sales'] })).toMatchObject({ roles: ['analyst'], datasets: ['sales'], scopes: [] });
  expect(await client.permissions.get('ada')).toMatchObject({ epoch: 1 });
  expect(await client.limits.setAgent('echo', 3)).toMatchObject({ agents: [{ agent: 'echo', maxRunning: 3 }] });
  expect(await client.limits.get()).toMatchObject({ maxRunning: null, agents: [{ agent: 'echo', maxRunning: 3 }] });
  const actions = new Set<string>();
  for await (const { action } of client.audit.iterate({ limit: 2 })) actions.add(action);
  expect([...actions]).toEqual(expect.arrayContaining(['key.created', 'key.revoked']));
});

test('command line: create, watch, get, list, cancel', async () => {
  const made = await mainstay(['runs', 'create', '--agent', 'echo', '--input', '-', '--user', 'bob', '--session', 's2', '--priority', '-3', '--metadata', '{"from":"cli"}'], '{"message":"from a shell"}');
  const id = made.out.trim();
  expect(made).toMatchObject({ code: 0, out: expect.stringMatching(/^run_[0-9a-f]{32}\n$/), err: expect.stringContaining(`mainstay runs watch ${id}`) });

  const watched = await mainstay(['runs', 'watch', id]);
  expect(watched).toMatchObject({ code: 0, err: '' });
  expect(watched.out).toMatch(/step\.completed +hear → speak, \d+ ms\n[^]*step\.completed +speak → end, \d+ ms\n[^]*run\.completed[^]*output +\{"said":"from a shell"\}\n$/);
  const lines = (await mainstay(['runs', 'watch', id, '--json'])).out.trim().split('\n').map((line) => JSON.parse(line) as RunEvent);
  expect(lines.at(-1)?.type).toBe('run.completed');

  expect(await parsed(['runs', 'get', id])).toMatchObject({ id, status: 'completed', priority: -3, user: 'bob', session: 's2', metadata: { from: 'cli' } });
  expect((await mainstay(['runs', 'get', id])).out).toMatch(/^run +run_[^]*status +completed\n[^]*output +\{"said":"from a shell"\}\n$/);
  expect((await parsed(['runs', 'list', '--user', 'bob'])).data.map((run: { id: string }) => run.id)).toEqual([id]);
  const page = await mainstay(['runs', 'list', '--limit', '1']);
  expect(page).toMatchObject({ code: 0, out: expect.stringContaining(id), err: expect.stringMatching(/^more: --cursor \S+\n$/) });

  const sleeper = (await parsed(['runs', 'create', '--agent', 'echo', '--input', '{"message":"later"}', '--delay-ms', '3600000', '--idempotency-key', 'k', '--multitask-strategy', 'enqueue'])).id as string;
  expect(await mainstay(['runs', 'cancel', sleeper])).toMatchObject({ code: 0, out: expect.stringContaining(sleeper) });
  expect(await mainstay(['runs', 'watch', sleeper])).toMatchObject({ code: 1, out: expect.stringContaining('run.cancelled'), err: expect.stringMatching(/^cancelled: /) });
  expect(await mainstay(['runs', 'cancel', id])).toMatchObject({ code: 1, out: '', err: expect.stringMatching(/^run_finished: .*\n {2}The run has already ended; submit a new one\. \(request \S+\)\n$/) });
});

test('command line: --wait, bad input, and the other lists, for people and as JSON', async () => {
  const words = ['runs', 'create', '--agent', 'echo', '--input'];
  expect(await parsed([...words, '{"message":"now"}', '--wait'])).toMatchObject({ status: 'completed', output: { said: 'now' } });
  expect(await mainstay([...words, '{"message":"sleep"}', '--wait', '1'])).toMatchObject({ code: 1, out: '', err: expect.stringContaining('timeout: ') });
  expect(await mainstay([...words, '{}'])).toMatchObject({ code: 1, out: '', err: expect.stringMatching(/^input_invalid: [^]*\n {2}input\.message: /) });

  const messages = await mainstay(['sessions', 'messages', 's2', '--user', 'bob']);
  expect(messages.out).toContain('said [2Jfrom a shell'); // a message gives no orders to the terminal
  expect(await parsed(['sessions', 'show', 's2', '--user', 'bob'])).toMatchObject({ id: 's2', version: 1 });
  expect(await parsed(['memories', 'list', '--user', 'bob', '--superseded', '--type', 'fact'])).toEqual({ data: [], nextCursor: null });
  expect((await mainstay(['sessions', 'list'])).out).toMatch(/^session +user +runs +updated \(UTC\)\n/);
  expect((await mainstay(['agents', 'list'])).out).toMatch(/\necho +1 +default +no\n$/);
  expect((await mainstay(['usage', '--user', 'bob'])).out).toMatch(/\ntotal +0 +0 +0 +0 +0 +\$0\.0000\n$/);
  expect((await mainstay(['budgets', 'set', '--user', 'bob', '--window', 'month', '--limit', '12.5'])).out).toMatch(/\nuser bob +month +\$12\.5000 +\$0\.0000 +\$0\.0000 +\$12\.5000 +0 +\d{4}-\d\d-01 00:00:00\n$/);
  expect((await parsed(['budgets', 'list'])).data.map(({ of, name }: { of: string; name: string }) => `${of} ${name}`)).toEqual(['agent echo', 'user bob']);
  expect((await parsed(['budgets', 'set', '--user', 'bob', '--window', 'month', '--limit', 'none'])).data).toEqual([]);
  expect(await mainstay(['budgets', 'set', '--limit', '1e3'])).toMatchObject({ code: 2, err: expect.stringContaining('12.50') });
  expect((await mainstay(['audit', '--action', 'session.read', '--user', 'bob'])).out).toContain('session.read');
  expect(await parsed(['permissions', 'set', 'bob', '--datasets', 'sales,payroll'])).toMatchObject({ datasets: ['sales', 'payroll'], roles: [] });
  expect(await parsed(['permissions', 'set', 'bob', '--roles', 'analyst'])).toMatchObject({ datasets: ['sales', 'payroll'], roles: ['analyst'] });
  expect((await mainstay(['permissions', 'get', 'bob'])).out).toMatch(/^user +bob\nroles +analyst\ndatasets +sales, payroll\nscopes +none\n/);
});

test('command line: what a run recalled, what memory is worth, and earlier runs by what they came to', async () => {
  const { id } = await client.runs.create({ agent: 'echo', input: { message: 'hello' }, user: 'ada' });
  const run = parseId('run', id);
  const rows = (sql: string, values: unknown[]) => api.fleet.rows(sql, values);
  const [memory] = await plantMemories(rows, 'acme', [{ user: 'ada', statement: 'The spare key hangs behind the boiler.' }]);
  const [earlier] = await plantSummaries(rows, 'acme', [{ user: 'ada', text: 'Goal: mend the boiler\nResult: a valve was replaced' }]);
  await rows(`INSERT INTO retrieval_traces (tenant_id, id, run_id, user_id, step_seq, query, embedder, semantic, degraded, candidates, injected, cited, tokens, duration_ms, filters, epoch, decided_by, policy_version, summaries, left_out)
    VALUES ('acme', $1, $2, 'ada', 0, 'Where is the key?', 'e', true, false, '[]', ARRAY[$3::uuid], ARRAY[$3::uuid], 40, 1, '{"user":"ada","agent":"echo","asOf":"2025-03-01T00:00:00.000Z"}', '7:1', '{"ranking":1}', 2, ARRAY[$4::uuid], $3)`, [newId(), run, memory, earlier]);
  const traces = (await mainstay(['memories', 'traces', id])).out;
  for (const line of [/^for +ada, agent echo, as of 2025-03-01T00:00:00.000Z$/m, /^epoch +7:1$/m, /^by +.*"ranking": ?1/m, /^settings +2$/m, new RegExp(`^left out +${publicId('memory', memory!)}$`, 'm'), new RegExp(`^summaries of +${publicId('run', earlier!)}$`, 'm'), /^mem_\S+ +fact +yes +The spare key hangs/m]) expect(traces).toMatch(line);
  expect((await parsed(['memories', 'traces', id])).data[0]).toMatchObject({ epoch: '7:1', policyVersion: 2, leftOut: publicId('memory', memory!) });
  const worth = (await mainstay(['memories', 'worth'])).out;
  for (const line of [/^fact +1 +100 % +0 % +0 % +0 runs/m, /^all +1 +100 %/m, /^tokens for each supported memory +none was$/m, /^unused memories +0$/m]) expect(worth).toMatch(line);
  expect((await mainstay(['summaries', 'search', 'what became of the boiler', '--user', 'ada'])).out).toMatch(new RegExp(`${publicId('run', earlier!)} .*Goal: mend the boiler Result: a valve was replaced`));
  expect(await parsed(['summaries', 'search', 'boiler', '--user', 'bob'])).toMatchObject({ data: [] });
  expect(await mainstay(['summaries', 'search', 'boiler'])).toMatchObject({ code: 1, err: expect.stringMatching(/^bad_request: Say whose runs/) });
});

test('client and command line: a schedule is made, looked at, paused, resumed, run now and deleted', async () => {
  const made = await client.schedules.create({ name: 'report', agent: 'echo', input: { message: 'report' }, user: 'ada', cron: '0 9 * * 1', zone: 'Europe/Berlin' });
  expect(made).toMatchObject({ id: expect.stringMatching(/^sch_/), overlap: 'skip', misfire: 'fire_once', paused: false, lastRun: null });
  expect(made.next.map((at) => new Intl.DateTimeFormat('en-GB', { timeZone: 'Europe/Berlin', weekday: 'short', hour: '2-digit', minute: '2-digit' }).format(new Date(at)))).toEqual(made.next.map(() => 'Mon 09:00'));
  expect((await client.schedules.list({ user: 'ada' })).data).toEqual([made]);

  expect(await client.schedules.pause(made.id)).toMatchObject({ paused: true, next: [] });
  expect((await mainstay(['schedules', 'list'])).out).toMatch(/report.+paused/);
  await expect(parsed(['schedules', 'resume', made.id])).resolves.toMatchObject({ paused: false, next: made.next });

  const run = await client.schedules.runNow(made.id);
  expect(await client.runs.wait(run.id)).toMatchObject({ status: 'completed', user: 'ada', output: { said: 'report' } });
  expect(await parsed(['schedules', 'show', made.id])).toMatchObject({ lastRun: run.id });
  expect((await parsed(['schedules', 'occurrences', made.id])).data).toEqual([{ at: expect.any(String), outcome: 'fired', reason: 'run_now', run: run.id }]);

  expect(await mainstay(['schedules', 'delete', made.id])).toEqual({ code: 0, out: '', err: '' });
  await expect(client.schedules.get(made.id)).rejects.toMatchObject({ code: 'not_found' });
  const { code, out } = await mainstay(['schedules', 'create', 'hourly', '--agent', 'echo', '--input', '{"message":"x"}', '--every-ms', '3600000']);
  expect([code, (await client.schedules.get(out.trim())).everyMs]).toEqual([0, 3_600_000]);
});
