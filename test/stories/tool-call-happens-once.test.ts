// A tool's effect is applied once: over a retry of its step by its key, within a run by its record; an unkeyed tool whose
// outcome is unknown stops the run, and a result that arrives later sets it going again without another call.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { MainstayError } from '../../src/domain/errors.ts';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { defineTool } from '../../src/tools/define-tool.ts';
import { startFleet } from '../support/fleet.ts';
import { tools } from '../support/journal-machine.ts';
import { startJournal } from '../support/journal.ts';
import { useStack } from '../support/stack.ts';

const input = z.strictObject({ journal: z.string(), line: z.string(), fail: z.number() });
type Input = z.infer<typeof input>;

/** Writes, then fails `fail` times: the step is retried with the call on record. */
const retried = defineMachine<Input>({
  name: 'retried', version: 1, input, start: 'write', tools: [...tools], remembers: false, attempts: 4,
  steps: {
    write: async (step: Step<Input>) => {
      const written = await step.tool('write_keyed', { journal: step.input.journal, line: step.input.line });
      if (step.run.attempt < step.input.fail) throw new Error('not yet');
      return step.done(written);
    },
  },
});

let refuse = 0;
const flaky = defineTool({
  name: 'flaky', description: 'Refuses before it does anything, then works.', input: z.strictObject({ journal: z.string() }),
  notApplied: (error) => error instanceof Error && error.message.includes('refused'),
  run: async ({ journal }, { signal }) => { if (refuse-- > 0) throw new Error('refused'); await fetch(`${journal}/unkeyed`, { method: 'POST', signal }); return 'done'; },
});
const lost = defineTool({
  name: 'lost', description: 'Takes effect, then its answer is lost.', input: z.strictObject({ journal: z.string() }),
  run: async ({ journal }, { signal }) => { await fetch(`${journal}/unkeyed`, { method: 'POST', signal }); throw new Error('connection reset'); },
});
let fails = true;
const forgetful = defineTool({
  name: 'forgetful', description: 'Takes effect, then its answer is lost; its service soon forgets the key.', effect: 'keyed', keyTtlMs: 50, input: z.strictObject({ journal: z.string() }),
  run: async ({ journal }, { signal, key }) => { await fetch(`${journal}/keyed`, { method: 'POST', signal, headers: { 'idempotency-key': key }, body: '{}' }); if (fails) throw new Error('connection reset'); return 'done'; },
});
let trip = (): void => undefined;
const tripped = new Promise<void>((resolve) => { trip = resolve; });
const away = defineTool({
  name: 'away', description: 'Takes effect, then its answer is lost; or its service says that it wants no more calls.', effect: 'keyed', keyTtlMs: 86_400_000, input: z.strictObject({ journal: z.string() }),
  run: async ({ journal }, { signal }) => {
    if (journal === 'trip') { trip(); throw new MainstayError('breaker_open', 'Too many calls.', { retryAfterMs: 60_000 }); }
    await fetch(`${journal}/keyed`, { method: 'POST', signal, headers: { 'idempotency-key': 'x' }, body: '{}' });
    await tripped;
    throw new Error('connection reset');
  },
});
const one = (name: string, tool: typeof flaky): ReturnType<typeof defineMachine> => defineMachine({
  name, version: 1, input: z.strictObject({ journal: z.string() }), start: 'go', tools: [tool], remembers: false,
  steps: { go: async (step: Step<{ journal: string }>) => step.done(await step.tool(tool.name, { journal: step.input.journal })) },
});

const stack = await useStack();
const fleet = await startFleet(stack, [retried, one('refused', flaky), one('answer-lost', lost), one('went-away', away), one('forgotten', forgetful)]);
await fleet.worker();
const journalled = async (agent: string, more: object = {}): Promise<{ id: string; journal: Awaited<ReturnType<typeof startJournal>> }> => {
  const journal = await startJournal();
  const { id } = await fleet.base.submit({ tenant: 'acme', door: 'test', agent, input: { journal: journal.url, ...more } });
  return { id, journal };
};

test('a retried step returns the recorded result and does not call again', async () => {
  const { id, journal } = await journalled('retried', { line: 'x', fail: 2 });
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', output: { applied: true } });
  expect(journal.asked).toEqual(['keyed']);
  await journal.close();
});

test('only an error that proves nothing was done is tried again', async () => {
  refuse = 2;
  const { id, journal } = await journalled('refused');
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', output: 'done' });
  expect(journal.asked).toEqual(['unkeyed']);
  await journal.close();
});

test('an unkeyed call whose answer is lost stops the run, and is not called again', async () => {
  const { id, journal } = await journalled('answer-lost');
  const run = await fleet.until('acme', id, (row) => row.status === 'waiting');
  expect(run.wait_reason).toBe('outcome');
  expect(journal.asked).toEqual(['unkeyed']);
  const { rows } = await fleet.base.engine.pool.query(`SELECT status::text, error_code FROM tool_calls WHERE run_id = $1`, [id]);
  expect(rows).toEqual([{ status: 'unknown', error_code: 'tool_failed' }]);
  await journal.close();
});

test('a try that never left does not hide that an earlier one may have been applied', async () => {
  const { id, journal } = await journalled('went-away');
  await fleet.until('acme', id, () => journal.asked.length === 1);
  await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'went-away', input: { journal: 'trip' } });
  await fleet.until('acme', id, (row) => row.status === 'waiting' && row.wait_reason === 'rate');
  expect(journal.asked).toEqual(['keyed']);
  expect(await fleet.rows(`SELECT status::text, error_code FROM tool_calls WHERE run_id = $1`, [id])).toEqual([{ status: 'failed', error_code: 'breaker_open' }]);
  await journal.close();
});

test('a keyed call that failed is not repeated once its service may have forgotten the key: a person is asked', async () => {
  const { id, journal } = await journalled('forgotten');
  const run = await fleet.until('acme', id, (row) => row.status === 'waiting');
  fails = false;
  expect(run.wait_reason).toBe('outcome');
  expect(journal.asked).toEqual(['keyed']);
  expect(await fleet.rows(`SELECT status::text, error_code FROM tool_calls WHERE run_id = $1`, [id])).toEqual([{ status: 'unknown', error_code: 'outcome_unknown' }]);
  await journal.close();
});
