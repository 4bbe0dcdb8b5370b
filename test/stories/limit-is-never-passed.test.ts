// However a fleet is shaken, no more runs of a limit are running at once than it allows: of a tenant, of an agent, of a key. Seen
// from the outside, by when each run's step began and ended. All runs end, none twice; what is full holds up nobody else.
import { beforeAll, describe, expect, test } from '@jest/globals';
import { z } from 'zod';
import { pause, wallMs } from '../../src/clock.ts';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { Maintenance } from '../../src/run/maintain.ts';
import { createTenant } from '../../src/store/engine/api-keys.ts';
import { setAgentLimit, setTenant } from '../../src/store/engine/limits.ts';
import { eventually, startAgent } from '../support/agent-process.ts';
import { startFleet } from '../support/fleet.ts';
import { startJournal } from '../support/journal.ts';
import { startOwnRedis } from '../support/own-redis.ts';
import { scriptMachine } from '../support/script-machine.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

interface Span { readonly name: string; readonly run: string; readonly startMs: number; endMs: number }
const spans: Span[] = [];
const worked = z.strictObject({ ms: z.number() });
/** Notes when its step begins and ends; a step cut short by its worker's end counts until then. */
const work = (name: string) => defineMachine({
  name, version: 1, input: worked, start: 'go', remembers: false,
  steps: {
    go: async (step: Step<{ ms: number }>) => {
      const span = { name, run: step.run.id, startMs: wallMs(), endMs: Infinity };
      spans.push(span);
      try { await pause(step.input.ms, step.signal); } finally { span.endMs = wallMs(); }
      return step.done('ok');
    },
  },
});
const parent = defineMachine({
  name: 'parent', version: 1, input: z.strictObject({}), start: 'go', remembers: false,
  steps: {
    go: async (step) => {
      const children = [await step.spawn('child', { ms: 5 }, { concurrency: { key: 'family', limit: 1 } }), await step.spawn('child', { ms: 5 })];
      return step.done((await step.waitForChildren(children))?.map(({ status }) => status));
    },
  },
});

const stack = await useStack();
const redis = await startOwnRedis();
atFileEnd(() => redis.stop());
const own = { ...stack, redisUrl: redis.url, env: { ...stack.env, REDIS_URL: redis.url } };
const fleet = await startFleet(own, [work('slow'), work('quick'), work('child'), parent, scriptMachine]);
const { base } = fleet;
const { pool } = base.engine;
const maintenance = new Maintenance({ engine: base.engine, queues: base.queues, metrics: base.metrics, log: base.log, fire: () => Promise.resolve(), remember: () => Promise.resolve(), index: () => Promise.resolve(0) });
atFileEnd(() => maintenance.stop());
const submit = async (tenant: string, agent: string, count: number, more: object = {}): Promise<string[]> =>
  (await Promise.all(Array.from({ length: count }, () => base.submit({ tenant, door: 'test', agent, input: { ms: 10 }, ...more })))).map(({ id }) => id);
const allEnd = async (tenant: string, ids: readonly string[]): Promise<void> => {
  for (const id of ids) expect((await fleet.ended(tenant, id)).status).toBe('completed');
};
/** The most that were running at the same time. */
function most(ids: readonly string[]): number {
  const of = new Set(ids);
  const edges = spans.filter(({ run }) => of.has(run)).flatMap(({ startMs, endMs }) => [[startMs, 1], [endMs, -1]] as const).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
  let [now, peak] = [0, 0];
  for (const [, by] of edges) peak = Math.max(peak, now += by);
  return peak;
}
const times = (ids: readonly string[]): number[] => ids.map((id) => spans.filter(({ run }) => run === id).length);
const refused = async (): Promise<number> => (await base.metrics.claims.get()).values.find(({ labels }) => labels.outcome === 'refused')?.value ?? 0;

describe('two workers', () => {
  beforeAll(async () => {
    for (const tenant of ['acme', 'globex', 'initech', 'umbrella']) await createTenant(pool, tenant);
    await Promise.all([fleet.worker(), fleet.worker()]);
    await maintenance.start();
  });

  test('a tenant at its limit beside one without', async () => {
    await setTenant(pool, 'acme', { maxRunning: 3 }, 'test');
    const [limited, free] = await Promise.all([submit('acme', 'quick', 60, { input: { ms: 100 } }), submit('globex', 'quick', 60)]); // long beside what lies between two runs of a place, or three need not meet
    await allEnd('acme', limited);
    await allEnd('globex', free);
    expect(most(limited)).toBe(3);
    expect(most(free)).toBeGreaterThan(3);
    expect(times([...limited, ...free])).toEqual(Array.from({ length: 120 }, () => 1));
  });

  test('Redis emptied in the middle: not one more, all end, and no loop of refusals', async () => {
    const ids = await submit('acme', 'quick', 60, { input: { ms: 100 } });
    await eventually('some have begun', () => most(ids) === 3);
    const before = await refused();
    await redis.client.flushall();
    await allEnd('acme', ids);
    expect(most(ids)).toBe(3);
    expect(times(ids)).toEqual(ids.map(() => 1));
    expect(await refused() - before).toBeLessThan(30); // one a place and a little more: the ready queue learns who is running
  });

  test('an agent at its limit does not hold up the tenant’s other runs', async () => {
    await setAgentLimit(pool, 'initech', 'slow', 1, 'test');
    const slow = await submit('initech', 'slow', 8, { input: { ms: 100 } });
    const quick = await submit('initech', 'quick', 30);
    await allEnd('initech', quick);
    expect((await Promise.all(slow.map((id) => fleet.run('initech', id)))).filter(({ status }) => status === 'queued').length).toBeGreaterThan(2);
    await allEnd('initech', slow);
    expect(most(slow)).toBe(1);
  });

  test('a limit that is raised is heeded within seconds, and one that is gone as well', async () => {
    const slow = await submit('initech', 'slow', 60, { input: { ms: 200 } });
    await eventually('one is running', () => most(slow) === 1);
    await setAgentLimit(pool, 'initech', 'slow', 4, 'test');
    await eventually('four are running', () => most(slow) === 4);
    await setAgentLimit(pool, 'initech', 'slow', null, 'test');
    await eventually('all places run them', () => most(slow) > 8);
    await allEnd('initech', slow);
  });

  test('a key: so many of its runs at once, and two keys do not meet', async () => {
    const [one, two] = await Promise.all(['one', 'two'].map((key) => submit('umbrella', 'quick', 20, { concurrency: { key, limit: 2 } })));
    await allEnd('umbrella', [...one!, ...two!]);
    expect(Math.max(most(one!), most(two!))).toBeLessThanOrEqual(2);
    expect(most([...one!, ...two!])).toBeGreaterThan(1);
  });

  test('a parent that waits holds no permit: parent and children pass a limit of one', async () => {
    await setTenant(pool, 'umbrella', { maxRunning: 1 }, 'test');
    const ids = await submit('umbrella', 'parent', 3, { input: {}, concurrency: { key: 'family', limit: 1 } });
    for (const id of ids) expect((await fleet.ended('umbrella', id)).output).toEqual(['completed', 'completed']);
    await setTenant(pool, 'umbrella', { maxRunning: null }, 'test');
  });

  test('without Redis, runs claimed from Postgres keep to it, and full ones hold up nobody', async () => {
    redis.freeze();
    try {
      const full = await submit('acme', 'quick', 12);
      const keyed = await submit('globex', 'quick', 6, { concurrency: { key: 'k', limit: 1 } });
      const free = await submit('globex', 'quick', 3);
      await allEnd('globex', free);
      await allEnd('acme', full);
      await allEnd('globex', keyed);
      expect(most(full)).toBeLessThanOrEqual(3);
      expect(most(keyed)).toBe(1);
    } finally {
      redis.thaw();
    }
  });
});

test('workers killed in the middle: what they held is taken over under the same permit', async () => {
  await Promise.all(fleet.workers.map((worker) => worker.stop()));
  const journal = await startJournal();
  atFileEnd(() => journal.close());
  await createTenant(pool, 'killed');
  await setTenant(pool, 'killed', { maxRunning: 2 }, 'test');
  const [first, second] = await Promise.all([startAgent(own), startAgent(own)]);
  const inside = journal.hold('note:in');
  const ids = await submit('killed', 'script', 10, { input: { journal: journal.url, steps: [['note:in'], ['note:out']] } });
  await inside;
  const running = async (): Promise<number> => (await fleet.rows<{ n: number }>(`SELECT count(*)::int AS n FROM agent_runs WHERE tenant_id = 'killed' AND status = 'running'`))[0]?.n ?? -1;
  await eventually('two are inside', async () => (await running()) === 2);
  let peak = 0;
  const watching = new AbortController();
  const watched = (async () => { while (!watching.signal.aborted) { peak = Math.max(peak, await running()); await pause(5, watching.signal); } })();
  first.kill('SIGKILL');
  second.kill('SIGKILL');
  const third = await startAgent(own);
  await redis.client.flushall();
  journal.release();
  await allEnd('killed', ids);
  watching.abort();
  await watched;
  expect(peak).toBe(2);
  const counts = await fleet.rows<{ n: number }>(`SELECT count(*)::int AS n FROM run_history WHERE tenant_id = 'killed' AND type = 'run.completed' GROUP BY run_id`);
  expect(counts.map(({ n }) => n)).toEqual(ids.map(() => 1));
  third.kill('SIGTERM');
  expect(await third.ended).toBe(0);
}, 60_000);
