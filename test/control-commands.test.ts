// The command line over control: what a person types does what it says, prints what can be piped on, and a bulk does nothing until
// it is told to. Against the real API with a worker behind it.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../src/domain/machine.ts';
import type { Approval, BulkAnswer, Page, Run, SubmittedRun } from '../src/domain/wire.ts';
import { defineMachine } from '../src/run/define-machine.ts';
import { Book, startControl } from './support/control.ts';
import { spawnCli, type Said } from './support/spawn-cli.ts';
import { useStack } from './support/stack.ts';

const book = new Book();
const word = z.strictObject({ word: z.string() });
type Word = z.infer<typeof word>;
const broken = new Set<string>();
const listener = defineMachine<Word>({
  name: 'listener', version: 1, input: word, start: 'listen', remembers: false, attempts: 1,
  steps: {
    listen: async (step: Step<Word>) => step.next('tell', (await step.waitForSignal('go'))?.payload),
    tell: (step: Step<Word>) => (broken.has(step.input.word) ? Promise.reject(new Error('broken')) : Promise.resolve(step.done(step.data))),
  },
});
const sender = defineMachine<Word>({
  name: 'sender', version: 1, input: word, start: 'send', tools: [book.tool('send', 'unkeyed', { approval: 'always' }), book.tool('pay', 'unkeyed')], remembers: false,
  steps: { send: async (step: Step<Word>) => step.done(await step.tool(step.input.word.startsWith('pay') ? 'pay' : 'send', { line: step.input.word })) },
});

const stack = await useStack();
const { api, client, waits, ended } = await startControl(stack, [listener, sender]);
await api.fleet.worker();
const key = await api.makeKey();
const mainstay = async (...words: string[]): Promise<{ code: number; out: string; err: string }> => {
  const env = { PATH: process.env['PATH'] ?? '', MAINSTAY_URL: api.url, MAINSTAY_API_KEY: key };
  return promisify(execFile)(process.execPath, ['src/cli/main.ts', ...words], { env })
    .then(({ stdout, stderr }) => ({ code: 0, out: stdout.trim(), err: stderr }), (error: { code: number; stdout: string; stderr: string }) => ({ code: error.code, out: error.stdout.trim(), err: error.stderr }));
};
const json = async <T>(...words: string[]): Promise<T> => JSON.parse((await mainstay(...words, '--json')).out) as T;
const submit = async (agent: string, name: string, over: object = {}): Promise<string> => (await client.runs.create({ agent, input: { word: name }, ...over })).id;

test('pause, resume, signal, retry, fork', async () => {
  broken.add('told');
  const run = await submit('listener', 'told');
  await waits(run, 'signal');
  expect(await mainstay('runs', 'pause', run)).toMatchObject({ code: 0, out: `${run} is paused` });
  expect(await mainstay('runs', 'resume', run)).toMatchObject({ code: 0, out: `${run} goes on` });
  expect(await mainstay('runs', 'signal', run, 'go', '--payload', '{"n":1}')).toMatchObject({ code: 0, out: expect.stringMatching(/^sig_/) });
  expect(await ended(run)).toMatchObject({ status: 'failed' });
  broken.delete('told');
  const retried = await mainstay('runs', 'retry', run, '--idempotency-key', 'again');
  expect(retried).toMatchObject({ code: 0, out: expect.stringMatching(/^run_[0-9a-f]{32}$/) });
  expect(await ended(retried.out)).toMatchObject({ status: 'completed', output: { n: 1 } });
  const forked = await json<Run>('runs', 'fork', retried.out, '--from-step', '1');
  expect(forked).toMatchObject({ forkedFrom: retried.out, nextStep: 'tell' });
  expect(await ended(forked.id)).toMatchObject({ status: 'completed' });
  expect((await mainstay('runs', 'get', forked.id)).out).toContain(`forked from  ${retried.out}`);
  expect((await mainstay('runs', 'retry', forked.id))).toMatchObject({ code: 1, out: '', err: expect.stringContaining('not_retryable: The run is completed.') });
});

test('approvals: list, show, approve, deny', async () => {
  const [yes, no] = [await submit('sender', 'draft'), await submit('sender', 'never')];
  await Promise.all([yes, no].map((run) => waits(run, 'approval')));
  const { data } = await json<Page<Approval>>('approvals', 'list', '--status', 'pending');
  const of = (run: string): string => data.find((one) => one.run === run)?.id ?? '';
  expect((await mainstay('approvals', 'list')).out).toMatch(/apr_\w+ +pending .* send +\{"line":"draft"\}/);
  expect((await mainstay('approvals', 'show', of(yes))).out).toMatch(/request +\{"line":"draft"\}/);
  expect(await mainstay('approvals', 'approve', of(yes), '--edited', '{"line":"final"}')).toMatchObject({ code: 0, out: `${of(yes)} is approved: send` });
  expect(await mainstay('approvals', 'deny', of(no), '--reason', 'too late')).toMatchObject({ code: 0, out: `${of(no)} is denied: send` });
  expect(await ended(yes)).toMatchObject({ status: 'completed', output: { wrote: 'final' } });
  expect((await ended(no)).error_message).toContain('too late');
  expect(await mainstay('approvals', 'approve', of(no))).toMatchObject({ code: 1, err: expect.stringContaining('approval_closed') });
});

test('effects of unknown outcome: cancel names them, settle ends the question', async () => {
  book.loses.add('pay 1');
  const run = await submit('sender', 'pay 1');
  await waits(run, 'outcome');
  expect((await mainstay('runs', 'unsettled', run)).out).toMatch(/1 +0 +pay +unkeyed +unknown/);
  expect(await mainstay('runs', 'settle', run, '--step', '1', '--path', '0', '--outcome', 'not_applied')).toMatchObject({ code: 1, err: expect.stringContaining('outcome_open') });
  const cancelled = await mainstay('runs', 'cancel', run);
  expect(cancelled.err).toContain(`mainstay runs settle ${run} --step 1 --path 0`);
  expect(await mainstay('runs', 'settle', run, '--step', '1', '--path', '0', '--outcome', 'succeeded', '--response', '"paid"')).toMatchObject({ code: 0, out: 'pay of step 1: succeeded' });
  expect((await client.runs.unsettled(run)).data).toEqual([]);
});

test('bulk: a dry run until --yes', async () => {
  const ids = [await submit('listener', 'a', { user: 'ada', delayMs: 3_600_000 }), await submit('listener', 'b', { user: 'ada', delayMs: 3_600_000 })];
  const dry = await mainstay('runs', 'bulk', 'cancel', '--user', 'ada');
  expect([dry.code, dry.out.split('\n')]).toEqual([0, ids]);
  expect(dry.err).toContain('2 of 2 would be chosen for cancel; --yes does it');
  expect((await client.runs.get(ids[0]!)).status).toBe('queued');
  expect(await json<BulkAnswer>('runs', 'bulk', 'cancel', '--user', 'ada', '--yes')).toEqual({ matched: 2, done: 2, failed: [], ids });
  expect((await client.runs.get(ids[0]!)).status).toBe('cancelled');
});

describe('create-many', () => {
  const line = (word: unknown, over: object = {}): string => JSON.stringify({ agent: 'listener', input: { word }, user: 'many', delayMs: 3_600_000, ...over });
  const words = ['runs', 'create-many', '--file', '-'] as const;
  const send = (input: string, ...more: string[]): Promise<Said> => spawnCli([...words, ...more], { env: { MAINSTAY_URL: api.url, MAINSTAY_API_KEY: key }, input });

  test('a file in chunks; sent again with its key prefix it makes nothing twice, and goes on where it stopped', async () => {
    const lines = Array.from({ length: 5 }, (_, at) => line(`w${at}`));
    const bad = await send([...lines.slice(0, 3), '', line(7), lines[4]].join('\n'), '--key-prefix', 'import', '--chunk', '2');
    expect([bad.code, bad.out.trim().split('\n')]).toEqual([1, [expect.stringMatching(/^run_/), expect.stringMatching(/^run_/)]]);
    expect(bad.err).toContain('2 of 5 submitted');
    expect(bad.err).toMatch(/^input_invalid: line 5: .* 2 of 5 are submitted; sent again with this --key-prefix, the file goes on there\.$/m);
    expect(bad.err).toContain('  line 5.input.word: ');
    const good = await send([...lines.slice(0, 3), '', lines[3], lines[4]].join('\n'), '--key-prefix', 'import', '--chunk', '2');
    expect(good).toMatchObject({ code: 0, err: expect.stringContaining('5 of 5 submitted, 2 of them before') });
    expect(good.out.trim().split('\n').slice(0, 2)).toEqual(bad.out.trim().split('\n'));
    const again = await send([...lines.slice(0, 3), '', lines[3], lines[4]].join('\n'), '--key-prefix', 'import', '--json');
    expect(again.out.trim().split('\n').map((text) => (JSON.parse(text) as SubmittedRun).created)).toEqual(Array(5).fill(false));
    expect((await client.runs.list({ user: 'many' })).data).toHaveLength(5);
  });

  test('a line that is no JSON is bad usage: nothing is sent', async () => {
    const { code, out, err } = await send(`${line('a', { user: 'none' })}\n{`);
    expect([code, out]).toEqual([2, '']);
    expect(err).toContain('Line 2 is not JSON');
    expect((await client.runs.list({ user: 'none' })).data).toEqual([]);
  });
});

test('debounce: the second submit folds into the first run', async () => {
  const words = ['runs', 'create', '--agent', 'listener', '--debounce-key', 'd', '--debounce-window-ms', '3600000', '--debounce-max-ms', '3600000', '--input'];
  const [first, second] = [await mainstay(...words, '{"word":"a"}'), await mainstay(...words, '{"word":"b"}')];
  expect(second).toMatchObject({ code: 0, out: first.out, err: expect.stringContaining('folded into') });
  expect(await client.runs.get(first.out)).toMatchObject({ debounced: 1, input: { word: 'b' } });
});

test('an expiry, and the children of a run', async () => {
  const run = await json<Run>('runs', 'create', '--agent', 'listener', '--input', '{"word":"x"}', '--expires-in-ms', '60000', '--delay-ms', '60000');
  expect(await api.fleet.rows(`SELECT extract(epoch FROM expires_at - wake_at)::int AS s FROM agent_runs WHERE id = $1`, [run.id.slice(4)])).toEqual([{ s: 60 }]);
  expect(await json<Page<Run>>('runs', 'list', '--parent', run.id)).toEqual({ data: [], nextCursor: null });
});
