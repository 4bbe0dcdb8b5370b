// Any service, in any language BullMQ has a client for, submits with a plain `queue.add`: here PyPI's `bullmq`.
import { beforeAll, expect, test } from '@jest/globals';
import { execFile } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { defaultStateDir } from '../../src/dev/servers/stack.ts';
import type { Step } from '../../src/domain/machine.ts';
import { parseId } from '../../src/ids.ts';
import { makeIntake } from '../../src/queue/intake.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { makeSubmitJob } from '../../src/run/submit-job.ts';
import { startFleet } from '../support/fleet.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

const run = promisify(execFile);
const python = join(defaultStateDir, 'venv', 'bin', 'python');
const client = join(defaultStateDir, 'python-bullmq');
const PIN = 'bullmq==3.4.4';

const machine = defineMachine({
  name: 'shout', version: 1, input: z.strictObject({ text: z.string().min(1) }), start: 'go', remembers: false,
  steps: { go: (step: Step<{ text: string }>) => Promise.resolve(step.done({ text: step.input.text.toUpperCase() })) },
});
const stack = await useStack();
const fleet = await startFleet(stack, [machine]);
const { base } = fleet;
const intake = makeIntake({ url: stack.redisUrl, keys: base.keys, source: 'crm', tenant: 'acme', concurrency: 4, log: base.log, drainMs: 1_000, submit: makeSubmitJob(base.submit) });
atFileEnd(() => intake.stop());

beforeAll(async () => {
  const done = join(client, `.has-${PIN}`);
  if (!existsSync(done)) {
    await run(python, ['-m', 'pip', 'install', '-q', '--disable-pip-version-check', '--upgrade', '--target', client, PIN]);
    writeFileSync(done, '');
  }
  await intake.start();
  await fleet.worker();
}, 120_000);

interface Answer { state: string; id: string; returned: { runId: string } | null; reason: string | null }
const add = async (payload: unknown, jobId = '-'): Promise<Answer> => {
  const { stdout } = await run(python, ['test/support/submit_job.py', stack.redisUrl, base.keys.bull, 'intake-crm', jobId, JSON.stringify(payload)], { env: { ...process.env, PYTHONPATH: client } });
  return JSON.parse(stdout) as Answer;
};
const count = async (): Promise<number> => (await base.engine.pool.query<{ n: number }>('SELECT count(*)::int AS n FROM agent_runs')).rows[0]?.n ?? -1;

test('a job becomes a run, and completes with its id once the row is committed', async () => {
  const job = await add({ agent: 'shout', input: { text: 'hello' }, user: 'u1', session: 's1' }, 'order-7');
  expect(job).toMatchObject({ state: 'completed', reason: null });
  const id = parseId('run', job.returned?.runId ?? '');
  expect(await fleet.ended('acme', id ?? '')).toMatchObject({ status: 'completed', output: { text: 'HELLO' } });
});

test('the same job id again is the same run', async () => {
  const before = await count();
  await base.redis.del(`${base.keys.bull}:intake-crm:order-7`); // BullMQ has forgotten the job; Postgres has not
  const again = await add({ agent: 'shout', input: { text: 'hello' }, user: 'u1', session: 's1' }, 'order-7');
  expect(again.state).toBe('completed');
  expect(await count()).toBe(before);
});

test.each([
  ['a tenant of its own choice', { tenant: 'globex', agent: 'shout', input: { text: 'x' } }, 'tenant_in_payload:'],
  ['an unknown agent', { agent: 'nobody', input: { text: 'x' } }, 'agent_unknown:'],
  ['input that does not match', { agent: 'shout', input: { text: '' } }, 'input_invalid:'],
  ['something that is no request', 'shout', 'input_invalid:'],
])('%s is refused with its code, and nothing is enqueued', async (_what, payload, code) => {
  const before = await count();
  const job = await add(payload);
  expect(job.state).toBe('failed');
  expect(job.reason?.startsWith(code)).toBe(true);
  expect(await count()).toBe(before);
});
