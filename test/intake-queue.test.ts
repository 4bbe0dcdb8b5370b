// The intake of plain BullMQ jobs on a real Redis: what a producer in any language sees. The use case behind it is a plain
// function here; with the real one it is the story plain-bullmq-job-runs.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import { Queue, QueueEvents, type Job, type JobsOptions } from 'bullmq';
import { MainstayError } from '../src/domain/errors.ts';
import { makeLog } from '../src/log.ts';
import { makeIntake, type IntakeOptions } from '../src/queue/intake.ts';
import { redisKeys, type RedisKeys } from '../src/redis.ts';
import type { Service } from '../src/service.ts';
import { startOwnRedis, type OwnRedis } from './support/own-redis.ts';

const log = makeLog('silent', 'test');
const good = { agent: 'support', input: { question: 'why?' } };

interface Submitted { source: string; tenant: string; payload: unknown; key: string | undefined }
let server: OwnRedis;
let keys: RedisKeys;
let queue: Queue;
let events: QueueEvents;
let intake: Service | undefined;
let installation = 0;
let submitted: Submitted[] = [];

beforeAll(async () => { server = await startOwnRedis(); });
afterAll(async () => { await server.stop(); });
beforeEach(async () => {
  keys = redisKeys(`t${++installation}`);
  queue = new Queue('intake-crm', { connection: server.client, prefix: keys.bull });
  events = new QueueEvents('intake-crm', { connection: server.client, prefix: keys.bull });
  await events.waitUntilReady();
  submitted = [];
});
afterEach(async () => {
  await intake?.stop();
  intake = undefined;
  await events.close();
});

async function startIntake(submit: (call: Submitted) => Promise<{ runId: string }> = async () => ({ runId: `run-${submitted.length}` })): Promise<void> {
  const options: IntakeOptions = {
    url: server.url, keys, source: 'crm', tenant: 'acme', concurrency: 2, log, drainMs: 5_000,
    submit: (source, tenant, payload, key) => { const call = { source, tenant, payload, key }; submitted.push(call); return submit(call); },
  };
  intake = makeIntake(options);
  await intake.start();
}

const add = (data: unknown, options: JobsOptions = {}): Promise<Job> => queue.add('anything', data, options);
const result = (job: Job): Promise<unknown> => job.waitUntilFinished(events, 10_000);

describe('accepted', () => {
  test('a job completes with the run\'s id, under the tenant of its queue', async () => {
    await startIntake();
    const payload = { ...good, user: 'u1', session: 's1', priority: 5, startAt: '2026-11-24T10:00:00+01:00', metadata: { ticket: 7 } };
    expect(await result(await add(payload))).toEqual({ runId: 'run-1' });
    expect(submitted).toEqual([{ source: 'crm', tenant: 'acme', payload, key: expect.any(String) }]);
  });

  test('an id the caller set is the idempotency key as it is', async () => {
    await startIntake();
    await result(await add(good, { jobId: 'order-17' }));
    expect(submitted[0]?.key).toBe('order-17');
  });

  test('BullMQ\'s own id is none: two jobs are two runs, also when the numbers begin again', async () => {
    await startIntake();
    const first = await add(good);
    await result(first);
    await result(await add(good));
    await server.client.flushall();
    const again = await add(good);
    await result(again);
    expect(again.id).toBe(first.id);
    expect(new Set(submitted.map(({ key }) => key)).size).toBe(3);
  });

  test('a job delivered twice carries the same key twice', async () => {
    await startIntake();
    const job = await add(good);
    await result(job);
    await job.retry('completed');
    await eventually(async () => submitted.length === 2);
    expect(submitted[1]?.key).toBe(submitted[0]?.key);
  });
});

describe('refused for good', () => {
  test.each<[kind: string, data: unknown, message: string]>([
    ['no data', null, 'input_invalid: '],
    ['a list', [good], 'input_invalid: '],
    ['a text', 'support', 'input_invalid: '],
    ['no agent', { input: {} }, 'input_invalid: agent: '],
    ['an empty agent', { agent: '', input: {} }, 'input_invalid: agent: '],
    ['no input', { agent: 'support' }, 'input_invalid: input: '],
    ['an unknown field', { ...good, prio: 1 }, 'input_invalid: data: '],
    ['a user that is a number', { ...good, user: 7 }, 'input_invalid: user: '],
    ['a name too long', { ...good, session: 's'.repeat(201) }, 'input_invalid: session: '],
    ['a broken priority', { ...good, priority: 1.5 }, 'input_invalid: priority: '],
    ['a priority out of range', { ...good, priority: 1_001 }, 'input_invalid: priority: '],
    ['a negative delay', { ...good, delayMs: -1 }, 'input_invalid: delayMs: '],
    ['a time without a zone', { ...good, startAt: '2026-11-24T10:00:00' }, 'input_invalid: startAt: '],
    ['delay and time', { ...good, delayMs: 1, startAt: '2026-11-24T10:00:00Z' }, 'input_invalid: startAt: '],
    ['metadata that is a list', { ...good, metadata: [] }, 'input_invalid: metadata: '],
    ['a tenant', { ...good, tenant: 'acme' }, 'tenant_in_payload: '],
    ['a tenant_id', { ...good, tenant_id: 'other' }, 'tenant_in_payload: '],
    ['a tenantId and nothing else', { tenantId: 'other' }, 'tenant_in_payload: '],
  ])('%s', async (_, data, message) => {
    await startIntake();
    const job = await add(data, { attempts: 3 });
    await expect(result(job)).rejects.toThrow(message);
    expect(submitted).toEqual([]);
    expect(await job.getState()).toBe('failed');
  });

  test('a job id too long to be a key', async () => {
    await startIntake();
    await expect(result(await add(good, { jobId: 'x'.repeat(201) }))).rejects.toThrow('input_invalid: ');
  });

  test('what the use case refuses for good fails with its code, whatever attempts the job has', async () => {
    await startIntake(async () => { throw new MainstayError('agent_unknown', 'no agent "nobody"'); });
    await expect(result(await add(good, { attempts: 5 }))).rejects.toThrow('agent_unknown: no agent "nobody"');
    expect(submitted).toHaveLength(1);
  });
});

describe('put back', () => {
  test('a store that is down delays the job, whose one attempt is not used up, until it is accepted', async () => {
    await startIntake(async () => {
      if (submitted.length < 2) throw new MainstayError('unavailable', 'postgres does not answer');
      return { runId: 'run-9' };
    });
    const job = await add(good);
    await eventually(async () => (await job.getState()) === 'delayed');
    expect(await result(job)).toEqual({ runId: 'run-9' });
    expect(submitted).toHaveLength(2);
    expect(submitted[1]?.key).toBe(submitted[0]?.key);
  });

  test('an error nobody foresaw loses no job either', async () => {
    await startIntake(async () => { throw new Error('boom'); });
    const job = await add(good);
    await eventually(async () => (await job.getState()) === 'delayed');
  });

  test('the time an error asks for is kept', async () => {
    await startIntake(async () => { throw new MainstayError('rate_limited', 'too many', { retryAfterMs: 30_000 }); });
    const job = await add(good);
    await eventually(async () => (await job.getState()) === 'delayed');
    expect((await queue.getDelayed())[0]?.delay).toBeGreaterThan(25_000);
  });

  test('jobs added while no intake runs are taken when it starts', async () => {
    const job = await add(good);
    await startIntake();
    expect(await result(job)).toEqual({ runId: 'run-1' });
  });
});

async function eventually(holds: () => Promise<boolean>): Promise<void> {
  while (!(await holds())) await new Promise((resolve) => { setTimeout(resolve, 20); });
}
