// What a person is asked is decided once, while it is open, and serves the one call it was asked for: with the arguments that
// were shown, or as the person changed them. No answer in time counts as what was declared. (FAULTS R39: twice, late, changed.)
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { ApprovalDecision, Step } from '../../src/domain/machine.ts';
import type { Approval } from '../../src/domain/wire.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { Book, refusal, startControl } from '../support/control.ts';
import { until } from '../support/meet.ts';
import { useStack } from '../support/stack.ts';

const book = new Book();
const send = book.tool('send', 'unkeyed', { approval: 'always' });
const sendSoon = book.tool('send_soon', 'unkeyed', { approval: 'always', approvalExpiresInMs: 250, approvalOnExpiry: 'approve' });
const sendMaybe = book.tool('send_maybe', 'unkeyed', { approval: ({ line }) => line.startsWith('big'), approvalExpiresInMs: 250 });
const input = z.strictObject({ tool: z.string(), line: z.string(), failsFirst: z.boolean().optional() });
type Input = z.infer<typeof input>;
/** Stands for what a nondeterministic step may do: what it says on its second way through. */
const saysNext = new Map<string, string>();

const sender = defineMachine<Input>({
  name: 'sender', version: 1, input, start: 'send', tools: [send, sendSoon, sendMaybe], remembers: false, attempts: 2,
  steps: {
    send: async (step: Step<Input>) => {
      const line = saysNext.get(step.input.line) ?? step.input.line;
      const sent = await step.tool(step.input.tool, { line });
      if (step.input.failsFirst && step.run.attempt === 0) throw new Error('not yet');
      return step.done(sent);
    },
  },
});
const asker = defineMachine<{ expiresInMs?: number | undefined; onExpiry?: 'approve' | 'deny' | undefined }>({
  name: 'asker', version: 1, input: z.strictObject({ expiresInMs: z.number().optional(), onExpiry: z.enum(['approve', 'deny']).optional() }), start: 'ask', remembers: false,
  steps: {
    ask: async (step) => {
      const { expiresInMs, onExpiry } = step.input as { expiresInMs?: number; onExpiry?: 'approve' | 'deny' };
      const decision: ApprovalDecision = await step.waitForApproval({ title: 'Delete the archive?', details: { archive: 7 }, ...(expiresInMs === undefined ? {} : { expiresInMs }), ...(onExpiry === undefined ? {} : { onExpiry }) });
      return step.done({ ...decision, by: decision.by ?? 'nobody' });
    },
  },
});

const stack = await useStack();
const { api, client, waits, ended, story, audit } = await startControl(stack, [sender, asker]);
const worker = await api.fleet.worker();
const ask = async (input: Partial<Input> & { line: string }, over: object = {}): Promise<string> => (await client.runs.create({ agent: 'sender', input: { tool: 'send', ...input }, ...over })).id;
/** The question of a run, once it waits for it. */
const questionOf = async (run: string): Promise<Approval> => {
  await waits(run, 'approval');
  const { data } = await client.approvals.list({ run });
  expect(data).toHaveLength(1);
  return data[0]!;
};
const written = (line: string): number => book.lines.filter((one) => one === line).length;

test('approved: the call is made, once, and holds no worker until then', async () => {
  const run = await ask({ line: 'yes' }, { user: 'ada' });
  const question = await questionOf(run);
  expect(question).toMatchObject({ run, user: 'ada', status: 'pending', subject: 'send', request: { line: 'yes' }, onExpiry: 'deny', expiresAt: null, decidedBy: null, edited: null });
  await until('a free worker', () => Promise.resolve(worker.running === 0));
  expect(written('yes')).toBe(0);
  expect((await client.approvals.list({ status: 'pending', user: 'ada' })).data.map(({ id }) => id)).toEqual([question.id]);
  expect(await client.approvals.decide(question.id, { approved: true, reason: 'go ahead' })).toMatchObject({ decidedBy: expect.stringMatching(/^key:/), reason: 'go ahead' });
  expect(await ended(run)).toMatchObject({ status: 'completed', output: { wrote: 'yes' } });
  expect(written('yes')).toBe(1);
  expect(await client.approvals.get(question.id)).toMatchObject({ status: 'used' });
  expect(await audit(question.id)).toEqual(['approval.approved']);
});

test('denied: nothing is done, and the run is told why', async () => {
  const run = await ask({ line: 'no' });
  await client.approvals.decide((await questionOf(run)).id, { approved: false, reason: 'too early' });
  const row = await ended(run);
  expect(row).toMatchObject({ status: 'failed', error_code: 'approval_denied' });
  expect(row.error_message).toContain('too early');
  expect(written('no')).toBe(0);
  expect((await client.runs.toolCalls(run)).data).toEqual([expect.objectContaining({ tool: 'send', status: 'denied' })]);
});

test('with other arguments: those are used, once they match the schema', async () => {
  const run = await ask({ line: 'draft' });
  const { id } = await questionOf(run);
  expect(await refusal(client.approvals.decide(id, { approved: true, edited: { line: 7 } }))).toBe('tool_input_invalid');
  expect(await refusal(client.approvals.decide(id, { approved: false, edited: { line: 'x' } }))).toBe('bad_request');
  expect(await client.approvals.get(id)).toMatchObject({ status: 'pending' });
  await client.approvals.decide(id, { approved: true, edited: { line: 'final' } });
  expect(await ended(run)).toMatchObject({ status: 'completed', output: { wrote: 'final' } });
  expect([written('draft'), written('final')]).toEqual([0, 1]);
  expect(await client.approvals.get(id)).toMatchObject({ request: { line: 'draft' }, edited: { line: 'final' }, status: 'used' });
});

test('twice: of two at once one decides, and neither later one does', async () => {
  const run = await ask({ line: 'twice' });
  const { id } = await questionOf(run);
  const both = await Promise.allSettled([client.approvals.decide(id, { approved: true }), client.approvals.decide(id, { approved: false })]);
  expect(both.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected']);
  const { status } = await ended(run);
  expect(status).toBe(both[0]?.status === 'fulfilled' ? 'completed' : 'failed');
  expect(written('twice')).toBe(status === 'completed' ? 1 : 0);
  for (const approved of [true, false]) expect(await refusal(client.approvals.decide(id, { approved }))).toBe('approval_closed');
});

test('asked and decided once, also when the step runs again', async () => {
  const run = await ask({ line: 'again', failsFirst: true });
  await client.approvals.decide((await questionOf(run)).id, { approved: true });
  expect(await ended(run)).toMatchObject({ status: 'completed', output: { wrote: 'again' } });
  expect(await story(run)).toEqual(['run.queued', 'run.started', 'approval.requested', 'approval.decided', 'step.failed', 'step:send', 'run.completed']);
  expect(written('again')).toBe(1);
  expect((await client.approvals.list({ run })).data).toHaveLength(1);
});

test('for changed arguments: what was agreed to does not serve another call', async () => {
  const run = await ask({ line: 'shown' });
  const { id } = await questionOf(run);
  saysNext.set('shown', 'not shown');
  await client.approvals.decide(id, { approved: true });
  expect(await ended(run)).toMatchObject({ status: 'failed', error_code: 'step_diverged' });
  expect([written('shown'), written('not shown')]).toEqual([0, 0]);
});

test('no answer in time counts as declared, and a late one is refused', async () => {
  const [yes, no] = await Promise.all([ask({ tool: 'send_soon', line: 'soon' }), ask({ tool: 'send_maybe', line: 'big one' })]);
  expect(await ended(yes)).toMatchObject({ status: 'completed', output: { wrote: 'soon' } });
  expect(await ended(no)).toMatchObject({ status: 'failed', error_code: 'approval_denied' });
  expect([written('soon'), written('big one')]).toEqual([1, 0]);
  for (const run of [yes, no]) {
    const [question] = (await client.approvals.list({ run })).data;
    expect(question).toMatchObject({ status: 'expired', decidedBy: null });
    expect(await refusal(client.approvals.decide(question?.id ?? '', { approved: true }))).toBe('approval_closed');
  }
});

test('a policy asks only where it says so', async () => {
  expect(await ended(await ask({ tool: 'send_maybe', line: 'small one' }))).toMatchObject({ status: 'completed', output: { wrote: 'small one' } });
});

test('a question whose run was cancelled is withdrawn', async () => {
  const run = await ask({ line: 'cancelled' });
  const { id } = await questionOf(run);
  await client.runs.cancel(run);
  expect(await client.approvals.get(id)).toMatchObject({ status: 'withdrawn' });
  expect(await refusal(client.approvals.decide(id, { approved: true }))).toBe('approval_closed');
  expect(written('cancelled')).toBe(0);
});

test.each([['approve', true], ['deny', false]] as const)('a step’s own question: decided, and with no answer it counts as %s', async (onExpiry, approved) => {
  const asked = (await client.runs.create({ agent: 'asker', input: {} })).id;
  const question = await questionOf(asked);
  expect(question).toMatchObject({ subject: 'Delete the archive?', request: { archive: 7 } });
  await client.approvals.decide(question.id, { approved: true, edited: { archive: 8 } });
  expect(await ended(asked)).toMatchObject({ output: { approved: true, details: { archive: 8 }, by: expect.stringMatching(/^key:/) } });
  const silent = (await client.runs.create({ agent: 'asker', input: { expiresInMs: 150, onExpiry } })).id;
  expect(await ended(silent)).toMatchObject({ output: { approved, by: 'nobody', details: { archive: 7 } } });
});

test('a stranger neither sees nor decides it', async () => {
  const run = await ask({ line: 'private' }, { user: 'ada' });
  const { id } = await questionOf(run);
  for (const key of [await api.makeKey({ tenant: 'globex' }), await api.makeKey({ user: 'bob' })]) {
    expect((await api.call<{ data: unknown[] }>('GET', '/v1/approvals', { key })).body.data).toEqual([]);
    expect((await api.call<{ code: string }>('GET', `/v1/approvals/${id}`, { key })).body.code).toBe('not_found');
    expect((await api.call<{ code: string }>('POST', `/v1/approvals/${id}/decide`, { key, body: { approved: true } })).body.code).toBe('not_found');
  }
  expect(written('private')).toBe(0);
});
