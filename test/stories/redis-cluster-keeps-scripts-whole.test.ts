// On a server in cluster mode, which refuses a command or script that reaches for two slots, a fleet does everything it does
// elsewhere: ready queue, wake-ups, limits, locks, sessions, rates, cancels. One server holds all slots here; a client that
// follows a run from shard to shard is not part of the product.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { startApi } from '../support/api.ts';
import { until } from '../support/meet.ts';
import { startOwnRedis } from '../support/own-redis.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

const machine = defineMachine<{ n: number }>({
  name: 'clustered', version: 1, input: z.strictObject({ n: z.number() }), start: 'one', remembers: false, locks: ({ n }) => [`desk ${n % 3}`],
  steps: { one: (step: Step<{ n: number }>) => Promise.resolve(step.sleep(5, 'two', null)), two: (step: Step<{ n: number }>) => Promise.resolve(step.done(step.input.n)) },
});
const stack = await useStack();
const redis = await startOwnRedis(['--cluster-enabled', 'yes']);
atFileEnd(() => redis.stop());
await redis.client.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383');
await until('the cluster to be whole', async () => String(await redis.client.call('CLUSTER', 'INFO')).includes('cluster_state:ok'));
const api = await startApi({ ...stack, env: { ...stack.env, REDIS_URL: redis.url } }, [machine]);
const key = await api.makeKey();

test('runs of tenants with and without limits, in sessions, delayed, cancelled: all end, and nothing was refused', async () => {
  await api.fleet.rows(`INSERT INTO tenants (id, max_running) VALUES ('small', 2) ON CONFLICT (id) DO UPDATE SET max_running = 2`);
  const small = await api.makeKey({ tenant: 'small' });
  const submit = (n: number, bearer: string, more: object = {}) => api.call<{ id: string }>('POST', '/v1/runs', { key: bearer, body: { agent: 'clustered', input: { n }, ...more } });
  const answers = await Promise.all(Array.from({ length: 60 }, (_, n) => submit(n, n % 2 ? key : small, n % 5 === 0 ? { user: 'ada', session: 's' } : n % 7 === 0 ? { delayMs: 50 } : n % 3 === 0 ? { concurrency: { key: 'k', limit: 1 } } : {})));
  expect(answers.map(({ status }) => status)).toEqual(answers.map(() => 202));
  await api.call('POST', `/v1/runs/${answers[0]?.body.id}/cancel`, { key: small });
  await api.fleet.worker();
  await api.fleet.worker();
  await until('all of them', async () => (await api.fleet.rows(`SELECT FROM agent_runs WHERE finished_at IS NULL`)).length === 0);
  expect(await api.fleet.rows(`SELECT status::text AS status, count(*)::int AS n FROM agent_runs GROUP BY 1 ORDER BY 1`)).toEqual([{ status: 'cancelled', n: 1 }, { status: 'completed', n: 59 }]);
  const [errors, commands] = [String(await redis.client.info('errorstats')), String(await redis.client.info('commandstats'))];
  expect(errors).not.toMatch(/errorstat_(CROSSSLOT|MOVED)/);
  const count = (pattern: RegExp, text: string): number => Number(pattern.exec(text)?.[1] ?? 0);
  expect(count(/cmdstat_evalsha:.*failed_calls=(\d+)/, commands)).toBe(count(/errorstat_NOSCRIPT:count=(\d+)/, errors)); // a script sent for the first time, and nothing else
}, 60_000);
