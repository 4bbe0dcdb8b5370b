// The Bull Board: nobody sees it without its login, it shows the queues and, for a run under way, which run and how it
// stands; what can be pressed is harmless, and what would not be is refused. The page itself is looked at with a browser
// where one is installed; elsewhere that test is skipped and says so.
import { existsSync } from 'node:fs';
import { expect, test } from '@jest/globals';
import { chromium } from 'playwright-core';
import { monoMs, pause } from '../src/clock.ts';
import type { Run } from '../src/domain/wire.ts';
import { openQueue } from '../src/queue/bull-queue.ts';
import { echo, makeHeld } from './support/api-machines.ts';
import { startApi } from './support/api.ts';
import { useStack } from './support/stack.ts';

interface Job { id: string; name: string; data: Record<string, unknown>; externalUrl?: { href: string; displayText?: string }; returnValue: unknown }
interface Queues { queues: { name: string; counts: Record<string, number>; jobs: Job[] }[] }

const BROWSER = '/usr/bin/chromium';
const LOGIN = { username: 'admin', password: 'a-board-password' };
const stack = await useStack();
const held = makeHeld();
const api = await startApi(stack, [echo, held.machine], { config: { BOARD_PASSWORD: LOGIN.password, INTAKE: 'crm=acme' } });
await api.fleet.worker();
const key = await api.makeKey();
const basic = (user: string, password: string) => ({ authorization: `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}` });
const login = basic(LOGIN.username, LOGIN.password);
const board = <Body = Queues>(method: string, path: string, body?: unknown) => api.call<Body>(method, `/board${path}`, { headers: login, ...(body === undefined ? {} : { body }) });
const submit = async (agent: string, word: string): Promise<string> => (await api.call<Run>('POST', '/v1/runs', { key, body: { agent, input: { word } } })).body.id;
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
  expect((await board('GET', '/api/queues')).body.queues.map(({ name }) => name).sort()).toEqual(['intake-crm', 'wake-agent', 'wake-memory']);
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
    for (const queue of ['wake-agent', 'wake-memory', 'intake-crm']) await page.getByText(queue).first().waitFor();
    expect(foreign.filter((outcome) => outcome !== 'csp')).toEqual([]);
  } finally {
    await browser.close();
    held.letGo('seen');
  }
  expect(await ended(run)).toBe('completed');
}, 60_000);
