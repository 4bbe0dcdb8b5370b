// The Bull Board: nobody sees it without its login; it shows runs as Postgres has them, in the list each belongs to, and the raw
// queues with, for a run under way, which run and how it stands. A run is retried and cancelled, with a line of who did; what
// could do harm is refused. The page itself is looked at with a browser where one is installed; elsewhere that test is
// skipped and says so.
import { existsSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import { chromium } from 'playwright-core';
import { z } from 'zod';
import { monoMs, pause } from '../src/clock.ts';
import type { Step } from '../src/domain/machine.ts';
import type { Run } from '../src/domain/wire.ts';
import { openQueue } from '../src/queue/bull-queue.ts';
import { defineMachine } from '../src/run/define-machine.ts';
import { echo, makeHeld } from './support/api-machines.ts';
import { startApi } from './support/api.ts';
import { useStack } from './support/stack.ts';

interface Job { id: string; name: string; data: Record<string, unknown>; externalUrl?: { href: string; displayText?: string }; returnValue: unknown; failedReason?: string; delay?: number; progress: unknown; timestamp: number; finishedOn?: number }
interface Queues { queues: { name: string; counts: Record<string, number>; statuses: string[]; jobs: Job[]; pagination: { pageCount: number } }[] }

const BROWSER = '/usr/bin/chromium';
const LOGIN = { username: 'admin', password: 'a-board-password' };
const stack = await useStack();
const held = makeHeld();
const word = z.strictObject({ word: z.string() });
/** Waits for a signal nobody sends. */
const asks = defineMachine({ name: 'asks', version: 1, input: word, start: 'ask', remembers: false, steps: { ask: async (step: Step<{ word: string }>) => step.done(await step.waitForSignal('answer')) } });
const fails = defineMachine({ name: 'fails', version: 1, input: word, start: 'break', remembers: false, attempts: 1, steps: { break: () => Promise.reject(new Error('it broke')) } });
const api = await startApi(stack, [echo, held.machine, asks, fails], { config: { BOARD_PASSWORD: LOGIN.password, INTAKE: 'crm=acme' } });
await api.fleet.worker();
const key = await api.makeKey();
const basic = (user: string, password: string) => ({ authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` });
const login = basic(LOGIN.username, LOGIN.password);
const board = <Body = Queues>(method: string, path: string, body?: unknown) => api.call<Body>(method, `/board${path}`, { headers: login, ...(body === undefined ? {} : { body }) });
const submit = async (agent: string, word: string, more: object = {}): Promise<string> => (await api.call<Run>('POST', '/v1/runs', { key, body: { agent, input: { word }, ...more } })).body.id;
const ended = async (id: string): Promise<string> => (await api.call<Run>('GET', `/v1/runs/${id}?wait=15`, { key })).body.status;

/** Asks until the answer is there; fails after 10 s. */
async function until<T>(ask: () => Promise<T | undefined>): Promise<T> {
  for (const endMs = monoMs() + 10_000; ;) {
    const found = await ask();
    if (found !== undefined) return found;
    if (monoMs() > endMs) throw new Error('not seen within 10 s');
    await pause(50);
  }
}

const jobOf = (run: string, status: string, queue = 'wake-agent'): Promise<Job> => until(async () => {
  const { queues } = (await board('GET', `/api/queues?activeQueue=${queue}&status=${status}&page=1&jobsPerPage=50`)).body;
  return queues.find(({ name }) => name === queue)?.jobs.find((job) => job.externalUrl?.displayText === run);
});

test('without the login there is nothing to see, with a wrong one neither', async () => {
  for (const headers of [{}, basic('admin', 'wrong'), basic('root', LOGIN.password), { authorization: `Bearer ${key}` }]) {
    for (const path of ['/board', '/board/', '/board/api/queues', '/board/static/js/main.js']) {
      const answer = await api.call('GET', path, { headers });
      expect([path, answer.status, answer.headers.get('www-authenticate')]).toEqual([path, 401, expect.stringContaining('Basic realm="mainstay board"')]);
    }
  }
  const page = await board<string>('GET', '');
  expect([page.status, page.headers.get('content-security-policy')]).toEqual([200, expect.stringContaining("default-src 'self'")]);
  expect((await board('GET', '/api/queues')).body.queues.map(({ name }) => name).sort()).toEqual(['intake-crm', 'runs-agent', 'runs-memory', 'wake-agent', 'wake-memory']);
});

test('without a password there is no board', async () => {
  const bare = await startApi(stack, [echo]);
  expect((await bare.call('GET', '/board')).status).toBe(404);
});

test('a run under way is shown by its id, its status and a link', async () => {
  const run = await submit('held', 'shown');
  const job = await jobOf(run, 'active');
  expect(job).toMatchObject({ name: `${run} running`, externalUrl: { href: `/v1/runs/${run}`, displayText: run }, data: { runId: run, link: `/v1/runs/${run}`, agent: 'held', status: 'running', tenant: 'acme' } });
  held.letGo('shown');
  expect(await ended(run)).toBe('completed');
});

const listOf = async (status: string, page = 1): Promise<Queues['queues'][number]> => {
  const { queues } = (await board('GET', `/api/queues?activeQueue=runs-agent&status=${status}&page=${page}&jobsPerPage=50`)).body;
  return queues.find(({ name }) => name === 'runs-agent')!;
};
/** The job of a run, once it is in this list. */
const seenIn = (status: string, run: string): Promise<Job> => until(async () => (await listOf(status)).jobs.find(({ id }) => id === run));
const press = (run: string, action: string, method = 'PUT', body: unknown = {}) => board<{ error: string; message?: string }>(method, `/api/queues/runs-agent/${run}/${action}`, body);
const audited = async (run: string): Promise<unknown[]> => (await api.call<{ data: { actor: string; action: string }[] }>('GET', `/v1/audit?objectId=${run}`, { key })).body.data.map(({ actor, action }) => [actor, action]);

test('every run stands in the list an operator looks for it, without what it was given', async () => {
  const startAt = new Date(Date.now() + 3_600_000).toISOString();
  const runs = { active: await submit('held', 'in-active'), delayed: await submit('echo', 'in-delayed', { startAt }), paused: await submit('asks', 'in-paused'), completed: await submit('echo', 'in-completed'), failed: await submit('fails', 'in-failed') };
  await held.begun('in-active');
  for (const [list, run] of Object.entries(runs)) {
    const job = await seenIn(list, run);
    expect(job).toMatchObject({ externalUrl: { href: `/v1/runs/${run}` }, data: { run, tenant: 'acme', inputBytes: expect.any(Number) as unknown }, progress: { steps: expect.any(Number) as unknown } });
    expect(JSON.stringify(job)).not.toContain(`in-${list}`);
    expect((await board<{ job: Job }>('GET', `/api/queues/runs-agent/${run}`)).body.job.id).toBe(run);
  }
  expect(await seenIn('failed', runs.failed)).toMatchObject({ name: 'fails@1 failed', failedReason: expect.stringMatching(/^attempts_exhausted: .* it broke$/) as unknown });
  expect(await seenIn('paused', runs.paused)).toMatchObject({ name: 'asks@1 waiting: signal' });
  const { timestamp, delay = 0 } = await seenIn('delayed', runs.delayed);
  expect(timestamp + delay).toBe(Date.parse(startAt));
  expect((await board<string[]>('GET', `/api/queues/runs-agent/${runs.completed}/logs`)).body.map((line) => line.replace(/^\S+ /, ''))).toEqual(['run.queued', 'run.started', 'step.completed say', 'run.completed']);
  expect((await listOf('latest')).jobs.map(({ id }) => id)).toEqual(expect.arrayContaining(Object.values(runs)));
  held.letGo('in-active');
  await seenIn('completed', runs.active);
});

test('a run that is due and has no worker waits', async () => {
  await api.fleet.rows(`INSERT INTO agent_runs (tenant_id, id, agent, version, pool, status, wake_at, request_hash, input, next_step) VALUES ('acme', gen_random_uuid(), 'nobodys', 1, 'agent', 'queued', now(), '\\xab', '{}', 'one')`);
  expect((await listOf('waiting')).jobs.map(({ name }) => name)).toEqual(['nobodys@1 queued']);
});

test('a run is cancelled from any list, and the audit log names who did', async () => {
  const [running, waiting, delayed] = [await submit('held', 'cancelled'), await submit('asks', 'cancelled'), await submit('echo', 'cancelled', { startAt: new Date(Date.now() + 3_600_000).toISOString() })];
  await held.begun('cancelled');
  await seenIn('paused', waiting);
  for (const run of [running, waiting, delayed]) {
    expect([(await press(run, 'clean')).status, await ended(run)]).toEqual([204, 'cancelled']);
    expect(await seenIn('completed', run)).toMatchObject({ data: { status: 'cancelled', cancelRequested: true } });
    expect(await audited(run)).toEqual([['board:admin', 'run.cancelled']]);
  }
  const again = await press(waiting, 'clean');
  expect([again.status, again.body.message]).toEqual([409, 'run_finished: The run has already ended: cancelled.']);
});

test('metadata are shown, what looks like a secret is not', async () => {
  const run = await submit('echo', 'meta', { metadata: { order: 7, note: 'call sk-ant-abcdefghijklmnopqrstuvwxyz', nested: [{ password: 'hunter2x' }] } });
  expect((await seenIn('completed', run)).data['metadata']).toEqual({ order: 7, note: '[secret removed]', nested: [{ password: '[secret removed]' }] });
});

test('nothing else is done to runs, and nothing to an id that names none', async () => {
  const run = await submit('echo', 'refused', { startAt: new Date(Date.now() + 3_600_000).toISOString() });
  const presses: [string, string][] = [['PUT', 'promote'], ['PUT', 'empty'], ['PUT', 'pause'], ['PUT', 'resume'], ['PUT', 'retry/failed'], ['PUT', 'clean/completed'], ['PUT', 'obliterate'], ['POST', 'add'], ['PUT', `${run}/promote`], ['PATCH', `${run}/delay`], ['PATCH', `${run}/update-data`]];
  for (const [method, path] of presses) expect([path, (await board(method, `/api/queues/runs-agent/${path}`, {})).status]).toEqual([path, 403]);
  expect((await press(run, 'retry')).status).toBe(400); // it has not failed
  for (const none of ['run_00000000000070008000000000000000', 'nonsense']) expect((await press(none, 'clean')).status).toBe(404);
  expect((await board('PUT', `/api/queues/runs-memory/${run}/clean`, {})).status).toBe(405); // the product's own are only shown
  expect(await seenIn('delayed', run)).toMatchObject({ name: 'echo@1 queued' });
});

test('counts and pages end', async () => {
  await api.fleet.rows(`INSERT INTO agent_runs (tenant_id, id, agent, version, pool, status, request_hash, input, next_step, finished_at) SELECT 'many', gen_random_uuid(), 'echo', 1, 'agent', 'completed', '\\xab', '{}', 'say', now() - n * interval '1 second' FROM generate_series(1, 10100) n`);
  const last = await listOf('completed', 200);
  expect([last.counts['completed'], last.pagination.pageCount, last.jobs.length]).toEqual([10_000, 200, 50]);
  expect((await listOf('completed', 201)).jobs).toEqual([]);
  const times = last.jobs.map(({ finishedOn }) => finishedOn);
  expect(times).toEqual([...times].sort((a, b) => Number(b) - Number(a)));
});

test('an intake job shows the run it became', async () => {
  const { base } = api.fleet;
  const queue = openQueue('intake-crm', base.redis, base.keys, base.log);
  await queue.add('any', { agent: 'echo', input: { word: 'from a job' } });
  const job = await until(async () => (await board('GET', '/api/queues?activeQueue=intake-crm&status=completed&page=1')).body.queues.find(({ name }) => name === 'intake-crm')?.jobs[0]);
  const { runId } = job.returnValue as { runId: string };
  expect(job.externalUrl).toEqual({ displayText: runId, href: `/v1/runs/${runId}` });
  expect(await ended(runId)).toBe('completed');
  await queue.close();
});

test('a wake-up that is retried or added is one more wake-up; what is not harmless is refused', async () => {
  const run = await submit('held', 'pressed');
  const { data, name } = await jobOf(run, 'active');
  held.letGo('pressed');
  expect(await ended(run)).toBe('completed');
  const done = await jobOf(run, 'completed');
  expect((await board('PUT', `/api/queues/wake-agent/${done.id}/retry`, {})).status).toBeLessThan(300);
  expect((await board('POST', '/api/queues/wake-agent/add', { name, data, options: {} })).status).toBe(200); // as the page duplicates it
  const after = await submit('echo', 'after');
  expect(await ended(after)).toBe('completed');
  const { steps, status } = (await api.call<Run>('GET', `/v1/runs/${run}`, { key })).body;
  expect([steps, status]).toEqual([2, 'completed']);
  const presses: [string, string][] = [['PUT', '/api/queues/pause'], ['PUT', '/api/queues/wake-agent/pause'], ['PUT', '/api/queues/wake-agent/obliterate'], ['PUT', '/api/queues/intake-crm/empty'], ['PUT', '/api/queues/intake-crm/clean/completed'], ['POST', '/api/queues/intake-crm/add']];
  for (const [method, path] of presses) expect([path, (await board(method, path, {})).status]).toEqual([path, 403]);
  const elsewhere = await api.call('PUT', '/board/api/queues/wake-agent/resume', { headers: { ...login, 'sec-fetch-site': 'cross-site' } });
  expect(elsewhere.status).toBe(403);
});

const hasBrowser = existsSync(BROWSER);
(hasBrowser ? test : test.skip)(`in a browser the page shows the run, its status and its link, and fetches nothing from elsewhere${hasBrowser ? '' : ` (skipped: no ${BROWSER})`}`, async () => {
  const run = await submit('held', 'seen');
  await jobOf(run, 'active');
  const browser = await chromium.launch({ executablePath: BROWSER, args: ['--no-sandbox'] });
  try {
    const page = await browser.newPage({ httpCredentials: LOGIN });
    const foreign: (string | undefined)[] = []; // what became of what the page asks of other hosts
    page.on('requestfinished', (request) => { if (!request.url().startsWith(api.url)) foreign.push('fetched'); });
    page.on('requestfailed', (request) => { if (!request.url().startsWith(api.url)) foreign.push(request.failure()?.errorText); });
    await page.goto(`${api.url}/board/queue/wake-agent?status=active`);
    await page.getByText(`${run} running`).first().waitFor();
    expect(await page.locator(`a[href$="/v1/runs/${run}"]`).count()).toBeGreaterThan(0);
    await page.goto(`${api.url}/board`);
    for (const queue of ['runs-agent', 'wake-agent', 'wake-memory', 'intake-crm']) await page.getByText(queue).first().waitFor();
    const failed = await submit('fails', 'in-the-browser');
    await seenIn('failed', failed);
    const presses = async (id: string, nth: number, text: RegExp): Promise<void> => {
      await page.goto(`${api.url}/board/queue/runs-agent/${id}`);
      await page.getByText(text).first().waitFor();
      await page.locator('[class*=jobActions] button').nth(nth).click();
      await page.getByRole('button', { name: 'Confirm' }).click();
      await until(async () => ((await audited(id)).length > 0 ? true : undefined));
    };
    await presses(failed, 0, /^attempts_exhausted: .*it broke/);
    await presses(run, -1, /^held@1 running/); // the last press of a job is its clean
    expect([await audited(failed), await audited(run)]).toEqual([[['board:admin', 'run.retried']], [['board:admin', 'run.cancelled']]]);
    expect(foreign.filter((outcome) => outcome !== 'csp')).toEqual([]);
  } finally {
    await browser.close();
    held.letGo('seen');
  }
  expect(await ended(run)).toBe('cancelled');
}, 60_000);
