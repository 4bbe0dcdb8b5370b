// Quotas: a tenant, or each of its users, may ask for so much in a window. Requests and submissions past it are refused with the time
// to wait, and headers say all along how much is left; a run that has no tokens left waits without a worker. Nobody else is touched.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import type { Page, Problem, Quota, Run } from '../../src/domain/wire.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { parseId } from '../../src/ids.ts';
import { startApi } from '../support/api.ts';
import { useStack } from '../support/stack.ts';

const MODEL = 'claude-haiku-5-5';
const talker = defineMachine({
  name: 'talker', version: 1, input: z.strictObject({ n: z.number() }), start: 'think', remembers: false, model: MODEL,
  steps: {
    think: async (step: Step<{ n: number }>) => {
      await step.model({ model: MODEL, system: 'Answer briefly.', messages: [{ role: 'user', content: [{ type: 'text', text: `Say ${step.input.n}.` }] }], maxTokens: 200 });
      return step.done('answered');
    },
  },
});
const stack = await useStack();
const api = await startApi(stack, [talker]);
const { fleet } = api;
const set = async (key: string, body: object): Promise<Quota[]> => (await api.call<Page<Quota>>('PUT', '/v1/quotas', { key, body })).body.data;
const submit = (key: string, user?: string) => api.call<Run>('POST', '/v1/runs', { key, body: { agent: 'talker', input: { n: 1 }, ...(user === undefined ? {} : { user }) } });

test('requests past a quota are refused with the time to wait; another tenant goes on', async () => {
  const [key, other] = [await api.makeKey({ tenant: 'small' }), await api.makeKey({ tenant: 'large' })];
  expect(await set(key, { subject: 'tenant', kind: 'requests', per: 'hour', most: 3 })).toEqual([{ subject: 'tenant', kind: 'requests', per: 'hour', most: 3 }]);
  const answers = [];
  for (let n = 0; n < 4; n++) answers.push(await api.call<Problem>('GET', '/v1/agents', { key }));
  expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 429]);
  expect(answers[0]?.headers.get('ratelimit-policy')).toBe('"key";q=600;w=60, "tenant-hour";q=3;w=3600');
  expect(answers.map(({ headers }) => /"tenant-hour";r=(\d+);t=\d+/.exec(headers.get('ratelimit') ?? '')?.[1])).toEqual(['2', '1', '0', '0']);
  expect(Number(answers[3]?.headers.get('retry-after'))).toBeGreaterThan(3_500);
  expect(answers[3]?.body).toMatchObject({ code: 'rate_limited', detail: expect.stringContaining('tenant-hour') });
  expect((await api.call('GET', '/v1/agents', { key: other })).status).toBe(200);
});

test('submissions are counted for each user by himself', async () => {
  const key = await api.makeKey({ tenant: 'users' });
  await set(key, { subject: 'user', kind: 'submissions', per: 'day', most: 1 });
  const statuses = [];
  for (const user of ['ada', 'ada', 'bob']) statuses.push((await submit(key, user)).status);
  expect(statuses).toEqual([202, 429, 202]);
  expect(await set(key, { subject: 'user', kind: 'submissions', per: 'day', most: null })).toEqual([]);
  expect((await submit(key, 'ada')).status).toBe(202);
});

test('a run without tokens left waits until the window is over and holds no worker', async () => {
  const [key, other] = [await api.makeKey({ tenant: 'talkers' }), await api.makeKey({ tenant: 'others' })];
  await set(key, { subject: 'tenant', kind: 'tokens', per: 'minute', most: 5 });
  const worker = await fleet.worker();
  const idOf = async (of: string): Promise<string> => parseId('run', (await submit(of)).body.id) ?? '';
  await fleet.ended('talkers', await idOf(key)); // what a call will use is not known before it
  const id = await idOf(key);
  await fleet.until('talkers', id, (run) => run.wait_reason === 'rate');
  await fleet.ended('others', await idOf(other));
  await fleet.until('talkers', id, () => worker.running === 0);
  const [row] = await fleet.rows<{ ms: number; code: string }>(`SELECT (extract(epoch FROM r.wake_at - k.started_at) * 1000)::float8 AS ms, k.error_code AS code FROM agent_runs r JOIN model_calls k ON k.tenant_id = r.tenant_id AND k.run_id = r.id WHERE r.id = $1`, [id]);
  expect(row?.code).toBe('quota_exhausted');
  expect(row?.ms).toBeGreaterThan(20_000); // of the minute that the first run has begun
  expect(row?.ms).toBeLessThan(65_000);
  await fleet.base.redis.del(fleet.base.keys.quota('talkers', null, 'tokens:minute')); // the window is over
  await fleet.rows(`UPDATE agent_runs SET wake_at = now() WHERE id = $1`, [id]);
  expect(await fleet.ended('talkers', id)).toMatchObject({ status: 'completed' });
});

test('a change is on record, and a key that is bound to a user makes none', async () => {
  const bound = await api.makeKey({ tenant: 'users', user: 'ada' });
  expect((await api.call<Problem>('PUT', '/v1/quotas', { key: bound, body: { subject: 'tenant', kind: 'tokens', per: 'day', most: 1 } })).body.code).toBe('forbidden');
  expect(await fleet.rows(`SELECT object_id AS object, details FROM audit_events WHERE tenant_id = 'users' AND action = 'quota.changed' ORDER BY id`)).toEqual([
    { object: 'user/submissions/day', details: { most: 1 } }, { object: 'user/submissions/day', details: { most: null } },
  ]);
});
