// A run with an expiry that has not started in its time ends as `expired`: it is never started late, what stood behind it in its
// session goes on, and a run that did start in time is left alone however long it takes.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { Maintenance } from '../../src/run/maintain.ts';
import { Gates, refusal, startControl } from '../support/control.ts';
import { until } from '../support/meet.ts';
import { useStack } from '../support/stack.ts';

const gates = new Gates();
const ran: string[] = [];
const word = z.strictObject({ word: z.string() });
const slow = defineMachine<{ word: string }>({
  name: 'slow', version: 1, input: word, start: 'go', remembers: false,
  steps: { go: async (step: Step<{ word: string }>) => { ran.push(step.input.word); await gates.pass(step.input.word, step.signal); return step.done(step.input.word); } },
});
const parent = defineMachine<{ word: string }>({
  name: 'parent', version: 1, input: word, start: 'go', remembers: false,
  steps: { go: async (step: Step<{ word: string }>) => step.done((await step.waitForChildren([await step.spawn('slow', { word: step.input.word }, { delayMs: 3_600_000 })]))?.map(({ status }) => status)) },
});

const stack = await useStack();
const { api, client, ended, waits, story } = await startControl(stack, [slow, parent]);
const { base } = api.fleet;
const maintenance = new Maintenance({ engine: base.engine, queues: base.queues, metrics: base.metrics, log: base.log, fire: () => Promise.resolve(), remember: () => Promise.resolve(), index: () => Promise.resolve(0) });
const submit = async (name: string, over: object): Promise<string> => (await client.runs.create({ agent: 'slow', input: { word: name }, ...over })).id;
const isOver = (run: string): Promise<void> => until('its time', async () => (await api.fleet.rows<{ over: boolean }>(`SELECT expires_at < now() AS over FROM agent_runs WHERE id = $1`, [run.slice(4)]))[0]?.over === true);

test('nobody started it: it ends as expired, and its retry may still be wanted', async () => {
  const run = await submit('unstarted', { expiresInMs: 50 });
  await isOver(run);
  await maintenance.sweep();
  expect(await ended(run)).toMatchObject({ status: 'expired', error_code: 'expired', started_at: null });
  expect(await story(run)).toEqual(['run.queued', 'run.expired']);
  expect(await refusal(client.runs.cancel(run))).toBe('run_finished');
  await api.fleet.worker();
  gates.open('unstarted');
  const { id } = await client.runs.retry(run);
  expect(await ended(id)).toMatchObject({ status: 'completed' });
  expect(ran.filter((one) => one === 'unstarted')).toHaveLength(1); // by the retry alone
});

test('a worker never starts one late, also before the sweep has come', async () => {
  const run = await submit('late', { delayMs: 3_600_000, expiresInMs: 1 });
  await api.fleet.rows(`UPDATE agent_runs SET wake_at = now() - interval '1 s', expires_at = now() WHERE id = $1`, [run.slice(4)]); // its hour has passed
  gates.open('other');
  expect(await ended(await submit('other', {}))).toMatchObject({ status: 'completed' });
  expect(await client.runs.get(run)).toMatchObject({ status: 'queued' });
  await maintenance.sweep();
  expect(await ended(run)).toMatchObject({ status: 'expired' });
  expect(ran).not.toContain('late');
});

test('it counts from when the run may start', async () => {
  const run = await submit('delayed', { delayMs: 3_600_000, expiresInMs: 1_000 });
  const [row] = await api.fleet.rows<{ ms: number }>(`SELECT extract(epoch FROM expires_at - wake_at) * 1000 AS ms FROM agent_runs WHERE id = $1`, [run.slice(4)]);
  expect(Number(row?.ms)).toBe(1_000);
  await maintenance.sweep();
  expect(await client.runs.get(run)).toMatchObject({ status: 'queued' });
});

test('one that started in time is left alone', async () => {
  const run = await submit('started', { expiresInMs: 60_000 });
  await gates.reached('started');
  await api.fleet.rows(`UPDATE agent_runs SET expires_at = now() - interval '1 hour' WHERE id = $1`, [run.slice(4)]);
  await maintenance.sweep();
  gates.open('started');
  expect(await ended(run)).toMatchObject({ status: 'completed' });
});

test('what stood behind it in its session goes on', async () => {
  const who = { user: 'ada', session: 's' };
  const holder = await submit('holder', who);
  await gates.reached('holder');
  const [expiring, behind] = [await submit('expiring', { ...who, expiresInMs: 20 }), await submit('behind', who)];
  await isOver(expiring);
  gates.open('holder');
  gates.open('behind');
  await ended(holder);
  await maintenance.sweep();
  expect(await ended(expiring)).toMatchObject({ status: 'expired' });
  expect(await ended(behind)).toMatchObject({ status: 'completed' });
  expect(ran).not.toContain('expiring');
});

test('a child that expires is news for its parent', async () => {
  const run = (await client.runs.create({ agent: 'parent', input: { word: 'child' } })).id;
  await waits(run, 'child');
  const { data: [child] } = await client.runs.list({ parent: run });
  await api.fleet.rows(`UPDATE agent_runs SET expires_at = now() WHERE id = $1`, [child?.id.slice(4)]);
  await maintenance.sweep();
  expect(await ended(run)).toMatchObject({ status: 'completed', output: ['expired'] });
});
