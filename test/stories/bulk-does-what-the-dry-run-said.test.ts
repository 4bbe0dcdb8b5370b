// A bulk acts on exactly those runs its dry run has named, the oldest first and no more than its limit; each by its own use case
// and with its own line of who asked. What is refused is named and stops nothing. Nothing is done unless it is said twice:
// `dryRun: false`, and for every run of all `all: true`.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { Mainstay } from '../../src/client/client.ts';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { refusal, startControl } from '../support/control.ts';
import { useStack } from '../support/stack.ts';

const broken = new Set<string>();
const word = z.strictObject({ word: z.string() });
const worker = defineMachine<{ word: string }>({
  name: 'fragile', version: 1, input: word, start: 'go', remembers: false, attempts: 1,
  steps: { go: (step: Step<{ word: string }>) => (broken.has(step.input.word) ? Promise.reject(new Error('broken')) : Promise.resolve(step.done(step.input.word))) },
});

const stack = await useStack();
const { api, client, ended, audit } = await startControl(stack, [worker]);
await api.fleet.worker();
const LATER = { delayMs: 3_600_000 };
const submit = async (user: string, over: object = LATER, name = user): Promise<string> => (await client.runs.create({ agent: 'fragile', input: { word: name }, user, ...over })).id;
const several = async (user: string, n: number): Promise<string[]> => { const ids: string[] = []; for (let at = 0; at < n; at++) ids.push(await submit(user)); return ids; };
const statuses = async (ids: readonly string[]): Promise<string[]> => Promise.all(ids.map(async (id) => { const run = await client.runs.get(id); return run.waitReason ?? run.status; }));

test('cancel: the dry run changes nothing and names those the real one takes', async () => {
  const [ada, bob] = [await several('ada', 4), await several('bob', 2)];
  const dry = await client.runs.bulk({ action: 'cancel', filter: { user: 'ada' } });
  expect(dry).toEqual({ matched: 4, done: 0, failed: [], ids: ada });
  expect(await statuses([...ada, ...bob])).toEqual(Array(6).fill('queued'));
  expect(await audit(ada[0]!)).toEqual([]);
  const real = await client.runs.bulk({ action: 'cancel', filter: { user: 'ada' }, dryRun: false });
  expect(real).toEqual({ ...dry, done: 4 });
  expect(await statuses(ada)).toEqual(Array(4).fill('cancelled'));
  expect(await statuses(bob)).toEqual(Array(2).fill('queued'));
  for (const id of ada) expect(await audit(id)).toEqual(['run.cancelled']);
  expect(await client.runs.bulk({ action: 'cancel', filter: { user: 'ada' }, dryRun: false })).toEqual({ matched: 0, done: 0, failed: [], ids: [] });
});

test('within a limit the oldest go first, and the next bulk goes on', async () => {
  const ids = await several('carl', 5);
  const first = await client.runs.bulk({ action: 'pause', filter: { user: 'carl' }, dryRun: false, limit: 2 });
  expect(first).toEqual({ matched: 5, done: 2, failed: [], ids: ids.slice(0, 2) });
  expect(await client.runs.bulk({ action: 'pause', filter: { user: 'carl' }, dryRun: false, limit: 1_000 })).toEqual({ matched: 3, done: 3, failed: [], ids: ids.slice(2) });
  expect(await statuses(ids)).toEqual(Array(5).fill('paused'));
  expect(await client.runs.bulk({ action: 'resume', filter: { user: 'carl' }, dryRun: false })).toMatchObject({ matched: 5, done: 5 });
  expect(await statuses(ids)).toEqual(Array(5).fill('queued'));
});

test('by agent, status, session and time of creation', async () => {
  const before = new Date().toISOString();
  const [id, other] = [await submit('dora', { ...LATER, session: 'x' }), await submit('dora', { ...LATER, session: 'y' })];
  const named = async (filter: object): Promise<string[]> => (await client.runs.bulk({ action: 'cancel', filter: { user: 'dora', ...filter } })).ids;
  expect(await named({ session: 'x' })).toEqual([id]);
  expect(await named({ agent: 'fragile', status: 'queued' })).toEqual([id, other]);
  expect(await named({ agent: 'another' })).toEqual([]);
  expect(await named({ status: 'failed' })).toEqual([]);
  expect(await named({ createdBefore: '2020-01-01T00:00:00Z' })).toEqual([]);
  expect(await named({ createdAfter: before, createdBefore: '2100-01-01T00:00:00Z' })).toEqual([id, other]);
});

test('retry: each of them once, however often it is asked', async () => {
  broken.add('erik');
  const failed = await Promise.all([1, 2, 3].map(() => submit('erik', {})));
  for (const id of failed) expect(await ended(id)).toMatchObject({ status: 'failed' });
  broken.delete('erik');
  const dry = await client.runs.bulk({ action: 'retry', filter: { agent: 'fragile', user: 'erik' } });
  expect([...dry.ids].sort()).toEqual([...failed].sort());
  const twice = await Promise.all([1, 2].map(() => client.runs.bulk({ action: 'retry', filter: { user: 'erik' }, dryRun: false })));
  for (const { failed: refused } of twice) expect(refused).toEqual([]);
  const made = (await client.runs.list({ user: 'erik' })).data.filter(({ forkedFrom }) => forkedFrom !== null);
  expect(made.map(({ forkedFrom }) => forkedFrom).sort()).toEqual([...failed].sort());
  for (const { id } of made) expect(await ended(id)).toMatchObject({ status: 'completed' });
  expect(await client.runs.bulk({ action: 'retry', filter: { user: 'erik' } })).toMatchObject({ matched: 0 });
  const [first] = failed;
  expect(await refusal(client.runs.retry(first!, { idempotencyKey: `retry:${first}` }))).toBe('bad_request'); // its names are its own
});

test('what is refused is named, and stops nothing', async () => {
  const ids = await several('fay', 30);
  const both = await Promise.all([1, 2].map(() => client.runs.bulk({ action: 'cancel', filter: { user: 'fay' }, dryRun: false })));
  expect(both.reduce((sum, { done }) => sum + done, 0)).toBe(30);
  for (const { matched, done, failed, ids: chosen } of both) {
    expect(done + failed.length).toBe(chosen.length);
    expect(chosen.length).toBe(matched);
    expect(failed.every(({ id, code }) => ids.includes(id) && code === 'run_finished')).toBe(true);
  }
  expect(await statuses(ids)).toEqual(Array(30).fill('cancelled'));
});

test('an empty filter needs to be meant, and a bulk reaches nobody else’s runs', async () => {
  const [own, others] = [await several('gus', 2), await several('hal', 1)];
  expect(await refusal(client.runs.bulk({ action: 'cancel', filter: {}, dryRun: false }))).toBe('bad_request');
  const bound = new Mainstay({ baseUrl: api.url, apiKey: await api.makeKey({ user: 'gus' }) });
  expect(await refusal(bound.runs.bulk({ action: 'cancel', filter: { user: 'hal' }, dryRun: false }))).toBe('forbidden');
  const stranger = new Mainstay({ baseUrl: api.url, apiKey: await api.makeKey({ tenant: 'globex' }) });
  expect(await stranger.runs.bulk({ action: 'cancel', filter: {}, all: true, dryRun: false })).toMatchObject({ matched: 0 });
  expect(await bound.runs.bulk({ action: 'cancel', filter: {}, all: true, dryRun: false })).toMatchObject({ matched: 2, done: 2, ids: own });
  expect(await statuses(others)).toEqual(['queued']);
  expect((await client.runs.bulk({ action: 'cancel', filter: {}, all: true })).ids).toEqual(expect.arrayContaining(others));
});
