// A paused run is not moved, whatever it was doing: queued, asleep, waiting for a person or a message, inside a step. It holds no
// worker, what is sent to it is kept, and when it is resumed it goes on where it was; one that slept keeps its time.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { Gates, refusal, startControl } from '../support/control.ts';
import { until } from '../support/meet.ts';
import { useStack } from '../support/stack.ts';

const gates = new Gates();
const input = z.strictObject({ word: z.string(), sleepMs: z.number().optional(), listens: z.boolean().optional(), fails: z.boolean().optional() });
type Input = z.infer<typeof input>;
/** How often each step's code ran: `word/step`. */
const ran: string[] = [];

const walker = defineMachine<Input>({
  name: 'walker', version: 1, input, start: 'first', remembers: false,
  steps: {
    first: async (step: Step<Input>) => {
      ran.push(`${step.input.word}/first`);
      await gates.pass(step.input.word, step.signal);
      if (step.input.fails && step.run.attempt === 0) throw new Error('not yet');
      return step.input.sleepMs === undefined ? step.next('second', null) : step.sleep(step.input.sleepMs, 'second', null);
    },
    second: async (step: Step<Input>) => {
      ran.push(`${step.input.word}/second`);
      return step.done(step.input.listens ? (await step.waitForSignal('go'))?.payload : step.input.word);
    },
  },
});

const stack = await useStack();
const { api, client, waits, ended, story, audit } = await startControl(stack, [walker]);
const worker = await api.fleet.worker();
const submit = async (word: string, more: Partial<Input> = {}, over: object = {}): Promise<string> => (await client.runs.create({ agent: 'walker', input: { word, ...more }, ...over })).id;
const timesRan = (what: string): number => ran.filter((one) => one === what).length;
/** A run of its own, submitted now, has come and gone: whatever could have moved meanwhile would have. */
const othersPass = async (word: string): Promise<void> => { gates.open(word); await ended(await submit(word)); };

test('queued', async () => {
  const run = await submit('queued', {}, { delayMs: 3_600_000 });
  expect(await client.runs.pause(run)).toMatchObject({ status: 'waiting', waitReason: 'paused', pauseRequested: true, dueAt: null });
  gates.open('queued');
  await api.fleet.rows(`UPDATE agent_runs SET resume_at = now() WHERE id = $1`, [run.slice(4)]); // its hour has passed
  await othersPass('beside queued');
  expect(await client.runs.get(run)).toMatchObject({ status: 'waiting', waitReason: 'paused', startedAt: null });
  expect(await client.runs.resume(run)).toMatchObject({ pauseRequested: false, waitReason: null });
  expect(await ended(run)).toMatchObject({ status: 'completed', output: 'queued' });
  expect(await story(run)).toEqual(['run.queued', 'run.paused', 'run.resumed', 'run.started', 'step:first', 'step:second', 'run.completed']);
  expect(await audit(run)).toEqual(['run.paused', 'run.resumed']);
});

test('inside a step: it stops at the checkpoint, and the step is not run again', async () => {
  const run = await submit('running');
  await gates.reached('running');
  expect(await client.runs.pause(run)).toMatchObject({ status: 'running', waitReason: null, pauseRequested: true });
  gates.open('running');
  await waits(run, 'paused');
  await until('a free worker', () => Promise.resolve(worker.running === 0));
  expect(await client.runs.get(run)).toMatchObject({ steps: 1, nextStep: 'second' });
  await othersPass('beside running');
  expect(timesRan('running/second')).toBe(0);
  await client.runs.resume(run);
  expect(await ended(run)).toMatchObject({ status: 'completed' });
  expect([timesRan('running/first'), timesRan('running/second')]).toEqual([1, 1]);
  expect(await story(run)).toEqual(['run.queued', 'run.started', 'run.pausing', 'step:first', 'run.paused', 'run.resumed', 'step:second', 'run.completed']);
});

test('inside a step that fails: the retry waits as well', async () => {
  const run = await submit('failing', { fails: true });
  await gates.reached('failing');
  await client.runs.pause(run);
  gates.open('failing');
  await waits(run, 'paused');
  expect(timesRan('failing/first')).toBe(1);
  await client.runs.resume(run);
  expect(await ended(run)).toMatchObject({ status: 'completed' });
  expect(timesRan('failing/first')).toBe(2);
});

test('resumed before its checkpoint came: nothing has stopped', async () => {
  const run = await submit('changed mind');
  await gates.reached('changed mind');
  await client.runs.pause(run);
  await client.runs.resume(run);
  gates.open('changed mind');
  expect(await ended(run)).toMatchObject({ status: 'completed' });
  expect(await story(run)).toEqual(['run.queued', 'run.started', 'run.pausing', 'run.resumed', 'step:first', 'step:second', 'run.completed']);
});

test('asleep: it keeps its time', async () => {
  gates.open('asleep');
  const run = await submit('asleep', { sleepMs: 3_600_000 });
  await waits(run, 'timer');
  const { dueAt } = await client.runs.get(run);
  await client.runs.pause(run);
  await client.runs.resume(run);
  expect(await client.runs.get(run)).toMatchObject({ dueAt, status: 'queued' });
  expect(timesRan('asleep/second')).toBe(0);
  await api.fleet.rows(`UPDATE agent_runs SET wake_at = now() WHERE id = $1`, [run.slice(4)]); // its hour has passed
  expect(await ended(run)).toMatchObject({ status: 'completed' });
  expect([timesRan('asleep/first'), timesRan('asleep/second')]).toEqual([1, 1]);
});

test('waiting for a message: what is sent meanwhile is kept, and read when it goes on', async () => {
  gates.open('listening');
  const run = await submit('listening', { listens: true });
  await waits(run, 'signal');
  await client.runs.pause(run);
  await client.runs.signal(run, { name: 'go', payload: 'meanwhile' });
  await othersPass('beside listening');
  expect(await client.runs.get(run)).toMatchObject({ status: 'waiting', waitReason: 'paused' });
  await client.runs.resume(run);
  expect(await ended(run)).toMatchObject({ status: 'completed', output: 'meanwhile' });
});

test('resumed while nothing has come: it waits on', async () => {
  gates.open('patient');
  const run = await submit('patient', { listens: true });
  await waits(run, 'signal');
  await client.runs.pause(run);
  await client.runs.resume(run);
  await waits(run, 'signal');
  await client.runs.signal(run, { name: 'go', payload: 1 });
  expect(await ended(run)).toMatchObject({ output: 1 });
});

test('twice is as good as once, a cancel ends it, and what cannot be is refused', async () => {
  const run = await submit('twice', {}, { delayMs: 3_600_000 });
  expect(await refusal(client.runs.resume(run))).toBe('not_paused');
  await client.runs.pause(run);
  expect(await client.runs.pause(run)).toMatchObject({ waitReason: 'paused' });
  expect(await story(await cancelled(run))).toEqual(['run.queued', 'run.paused', 'run.cancelled']);
  expect([await refusal(client.runs.pause(run)), await refusal(client.runs.resume(run))]).toEqual(['run_finished', 'run_finished']);
});

async function cancelled(run: string): Promise<string> {
  expect(await client.runs.cancel(run)).toMatchObject({ status: 'cancelled', unsettled: [] });
  return run;
}

test('a paused run keeps its session: the next one waits behind it', async () => {
  const who = { user: 'ada', session: 's' };
  const [first, second] = [await submit('head', {}, who), await submit('behind', {}, who)];
  await gates.reached('head');
  await client.runs.pause(first);
  gates.open('head');
  gates.open('behind');
  await waits(first, 'paused');
  await othersPass('beside the session');
  expect(await client.runs.get(second)).toMatchObject({ status: 'queued', startedAt: null });
  await client.runs.resume(first);
  const ends = await Promise.all([first, second].map(ended));
  expect(ends.map(({ status }) => status)).toEqual(['completed', 'completed']);
  expect(timesRan('behind/first')).toBe(1);
});
