// A signal is kept until a wait consumes it: sent before the run began, before it waits, or while it waits with no worker. It is
// consumed once, in the order sent, by the wait of its name; the same key is the same signal, also after the run has ended.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { Gates, refusal, startControl } from '../support/control.ts';
import { until } from '../support/meet.ts';
import { useStack } from '../support/stack.ts';

const gates = new Gates();
const input = z.strictObject({ gate: z.string().optional(), names: z.array(z.string()), timeoutMs: z.number().optional() });
type Input = z.infer<typeof input>;

/** Passes its gate, then waits for each name in turn. */
const listener = defineMachine<Input>({
  name: 'listener', version: 1, input, start: 'begin', remembers: false,
  steps: {
    begin: async (step: Step<Input>) => { if (step.input.gate !== undefined) await gates.pass(step.input.gate, step.signal); return step.next('listen', null); },
    listen: async (step: Step<Input>) => {
      const heard: unknown[] = [];
      for (const name of step.input.names) heard.push((await step.waitForSignal(name, step.input.timeoutMs === undefined ? {} : { timeoutMs: step.input.timeoutMs }))?.payload ?? 'nothing');
      return step.done(heard);
    },
  },
});

const stack = await useStack();
const { api, client, waits, ended, story, audit } = await startControl(stack, [listener]);
const worker = await api.fleet.worker();
const submit = async (more: Partial<Input> & { names: string[] }, over: object = {}): Promise<string> => (await client.runs.create({ agent: 'listener', input: more, ...over })).id;

test('sent before the run began', async () => {
  const run = await submit({ names: ['go'] }, { delayMs: 3_600_000 });
  await client.runs.signal(run, { name: 'go', payload: { early: 1 } });
  expect(await client.runs.get(run)).toMatchObject({ status: 'queued', startedAt: null });
  await api.fleet.rows(`UPDATE agent_runs SET wake_at = now() WHERE id = $1`, [run.slice(4)]); // its hour has passed
  expect(await ended(run)).toMatchObject({ status: 'completed', output: [{ early: 1 }] });
  expect(await story(run)).toEqual(['run.queued', 'signal.received', 'run.started', 'step:begin', 'step:listen', 'run.completed']);
});

test('sent while an earlier step runs: the wait is not entered past it', async () => {
  const run = await submit({ gate: 'busy', names: ['go'] });
  await gates.reached('busy');
  await client.runs.signal(run, { name: 'go', payload: 'early' });
  gates.open('busy');
  expect(await ended(run)).toMatchObject({ status: 'completed', output: ['early'] });
});

test('sent while it waits, which holds no worker', async () => {
  const run = await submit({ names: ['go'] });
  await waits(run, 'signal');
  await until('a free worker', () => Promise.resolve(worker.running === 0));
  const sent = await client.runs.signal(run, { name: 'go' });
  expect(sent.id).toMatch(/^sig_[0-9a-f]{32}$/);
  expect(await ended(run)).toMatchObject({ status: 'completed', output: ['nothing'] }); // a signal without payload carries null
  expect(await audit(run)).toEqual(['run.signalled']);
});

test('consumed in the order sent, each once, by the wait of its name', async () => {
  const run = await submit({ gate: 'order', names: ['b', 'a', 'a'] });
  await gates.reached('order');
  for (const [name, payload] of [['a', 1], ['b', 2], ['a', 3], ['never', 4]] as const) await client.runs.signal(run, { name, payload });
  gates.open('order');
  expect(await ended(run)).toMatchObject({ output: [2, 1, 3] });
  expect(await api.fleet.rows(`SELECT name, consumed_path FROM signals WHERE run_id = $1 ORDER BY seq`, [run.slice(4)])).toEqual([{ name: 'a', consumed_path: '1' }, { name: 'b', consumed_path: '0' }, { name: 'a', consumed_path: '2' }, { name: 'never', consumed_path: null }]);
});

test('many at once reach a waiting run, and none is lost', async () => {
  const run = await submit({ names: Array.from({ length: 12 }, () => 'tick') });
  await waits(run, 'signal');
  await Promise.all(Array.from({ length: 12 }, (_, payload) => client.runs.signal(run, { name: 'tick', payload })));
  const { output } = await ended(run);
  expect([...output as number[]].sort((a, b) => a - b)).toEqual(Array.from({ length: 12 }, (_, at) => at));
});

test('a wait that nobody answers in its time goes on without', async () => {
  expect(await ended(await submit({ names: ['go'], timeoutMs: 200 }))).toMatchObject({ status: 'completed', output: ['nothing'] });
});

test('the same key is the same signal, also after the end; without one an ended run takes none', async () => {
  const run = await submit({ names: ['go'] });
  await waits(run, 'signal');
  const twice = await Promise.all([1, 2].map(() => client.runs.signal(run, { name: 'go', payload: { n: 1 } }, { idempotencyKey: 'once' })));
  expect(twice[0]).toEqual(twice[1]);
  expect(await ended(run)).toMatchObject({ output: [{ n: 1 }] });
  expect(await client.runs.signal(run, { name: 'go', payload: { n: 1 } }, { idempotencyKey: 'once' })).toEqual(twice[0]);
  expect(await refusal(client.runs.signal(run, { name: 'go', payload: { n: 2 } }, { idempotencyKey: 'once' }))).toBe('idempotency_conflict');
  expect(await refusal(client.runs.signal(run, { name: 'go' }))).toBe('run_finished');
  expect(await api.fleet.rows(`SELECT count(*)::int AS n FROM signals WHERE run_id = $1`, [run.slice(4)])).toEqual([{ n: 1 }]);
});

test('a stranger’s signal finds no run', async () => {
  const run = await submit({ names: ['go'] }, { user: 'ada' });
  for (const key of [await api.makeKey({ tenant: 'globex' }), await api.makeKey({ user: 'bob' })]) {
    expect((await api.call<{ code: string }>('POST', `/v1/runs/${run}/signals`, { key, body: { name: 'go' } })).body.code).toBe('not_found');
  }
});
