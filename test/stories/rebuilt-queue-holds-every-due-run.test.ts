// `mainstay rebuild queue` drops what the ready queue holds and fills it from Postgres: every due run and no other, in order,
// with the slots of what is running; also while workers take from it, and each run still runs once.
import { randomUUID } from 'node:crypto';
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../../src/domain/machine.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { rebuildQueue } from '../../src/run/rebuild-queue.ts';
import { seatRunning } from '../../src/store/engine/permits.ts';
import { startFleet } from '../support/fleet.ts';
import { startOwnRedis } from '../support/own-redis.ts';
import { spawnCli } from '../support/spawn-cli.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

const ran: number[] = [];
const machine = defineMachine({
  name: 'count', version: 1, input: z.strictObject({ n: z.number() }), start: 'one', remembers: false,
  steps: { one: (step: Step<{ n: number }>) => { ran.push(step.input.n); return Promise.resolve(step.done(step.input.n)); } },
});

const stack = await useStack();
const redis = await startOwnRedis();
atFileEnd(() => redis.stop());
const env = { ...stack.env, REDIS_URL: redis.url };
const fleet = await startFleet({ ...stack, env }, [machine]);
const { engine, queues, submit } = fleet.base;
const queue = queues.get('agent')!;
const rebuild = (...words: string[]) => spawnCli(['rebuild', 'queue', ...words], { env });

/** A live worker of the pool, by its row: what nobody can run is no due run. */
const alive = randomUUID();
await fleet.rows(`INSERT INTO workers (id, incarnation, name, pool, machines, lease_until) VALUES (nextval('worker_seq'), $1, 'agent-1', 'agent', '{count@1}', now() + interval '1 hour')`, [alive]);
await fleet.rows(`INSERT INTO tenants (id, max_running) VALUES ('acme', 2), ('globex', NULL)`);
const submitted = async (tenant: string, n: number, over: object = {}): Promise<string> => (await submit({ tenant, door: 'test', agent: 'count', input: { n }, ...over })).id;

const due: string[] = [];
test('every due run is held again, what is not due is not, and a tenant at its limit stays within it', async () => {
  for (let n = 0; n < 25; n++) due.push(await submitted(n % 2 ? 'acme' : 'globex', n));
  const later = await submitted('acme', 100, { delayMs: 3_600_000 });
  const behind = [await submitted('globex', 25, { user: 'ada', session: 's' }), await submitted('globex', 26, { user: 'ada', session: 's' })];
  due.push(behind[0] as string);
  const unknown = await submitted('acme', 101);
  await fleet.rows(`UPDATE agent_runs SET version = 9 WHERE id = $1`, [unknown]);
  const running = [await submitted('acme', 102), await submitted('acme', 103)];
  await fleet.rows(`UPDATE agent_runs SET status = 'running', claimed_by = $1, started_at = now(), step_deadline_at = now() + interval '1 hour' WHERE id = ANY ($2::uuid[])`, [alive, running]);
  expect(await seatRunning(engine.pool)).toBe(2); // the permits their claims would have taken
  await redis.client.flushall();
  await queue.ready.offer({ tenant: 'acme', run: randomUUID(), order: 1 }); // one that no row stands for

  const said = await rebuild('--pool', 'agent', '--json');
  expect(said).toMatchObject({ code: 0, err: '' });
  expect(JSON.parse(said.out)).toEqual({ data: [{ pool: 'agent', heldBefore: 1, offered: 26, slots: 2, isKnown: true }] });
  expect(await queue.ready.depth()).toEqual({ held: 26, tenants: 2 });
  expect(await queue.ready.isKnown()).toBe(true);
  for (const id of due) expect([id, (await queue.ready.placeOf(due.indexOf(id) % 2 && id !== behind[0] ? 'acme' : 'globex', id)).held]).toEqual([id, expect.not.stringMatching('none')]);
  for (const id of [later, unknown, behind[1] as string, ...running]) expect((await queue.ready.placeOf('acme', id)).held).toBe('none');
  expect(await queue.ready.placeOf('acme', due[1] as string)).toMatchObject({ held: 'parked', runsAhead: 0, runs: 12 }); // two run already, and two is its limit
  await fleet.rows(`DELETE FROM agent_runs WHERE id = ANY ($1::uuid[])`, [[...running, unknown, later]]);
});

test('while workers run: each runs once, whatever is rebuilt beneath them', async () => {
  await fleet.rows(`UPDATE tenants SET max_running = NULL`);
  await fleet.worker({ concurrency: 4 });
  const more: string[] = [];
  for (let n = 27; n < 60; n++) {
    more.push(await submitted('acme', n));
    if (n % 4 === 0) await Promise.all([rebuildQueue(engine.pool, 'agent', queue), rebuildQueue(engine.pool, 'agent', queue)]);
  }
  for (const id of more) expect((await fleet.ended('acme', id)).status).toBe('completed');
  for (const id of due) expect((await fleet.ended((await fleet.rows<{ tenant_id: string }>(`SELECT tenant_id FROM agent_runs WHERE id = $1`, [id]))[0]!.tenant_id, id)).status).toBe('completed');
  expect(new Set(ran).size).toBe(ran.length);
  expect(await rebuildQueue(engine.pool, 'agent', queue)).toMatchObject({ offered: expect.any(Number), isKnown: true });
});

test('what cannot be done is said: no such pool, no configuration, Redis away', async () => {
  expect(await rebuild('--pool', 'swimming')).toMatchObject({ code: 2, out: '', err: expect.stringContaining('Allowed choices are agent, memory') });
  expect(await spawnCli(['rebuild', 'queue'], { env: { DATABASE_URL: stack.databaseUrl } })).toMatchObject({ code: 1, out: '', err: expect.stringContaining('REDIS_URL') });
  expect(await spawnCli(['rebuild', 'queue'], { env: { ...env, REDIS_URL: 'redis://:hush@127.0.0.1:1' } })).toMatchObject({ code: 1, out: '', err: expect.stringMatching(/^unavailable: Redis does not answer/) });
  expect(await spawnCli(['rebuild', 'queue'], { env: { ...env, DATABASE_URL: 'postgresql://u:hush@127.0.0.1:1/x' } })).toMatchObject({ code: 1, out: '', err: expect.stringMatching(/^unavailable: Postgres does not answer(?!.*hush)/) });
  expect(await rebuild()).toMatchObject({ code: 0, out: expect.stringMatching(/^agent: held \d+ before, holds \d+ due runs.*\nmemory: held 0 before, holds 0/) });
});
