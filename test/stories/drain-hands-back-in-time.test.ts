// SIGTERM: the worker takes nothing more, hands its runs back at their next checkpoint or, past the drain time, from the middle
// of a step, and exits with code 0 within the drain time and a few seconds, also with Redis or Postgres gone. No crash is counted.
import { expect, test } from '@jest/globals';
import { monoMs } from '../../src/clock.ts';
import { startAgent, type AgentProcess } from '../support/agent-process.ts';
import { startFleet, type Fleet } from '../support/fleet.ts';
import { startJournal } from '../support/journal.ts';
import { startOwnPostgres } from '../support/own-postgres.ts';
import { startOwnRedis } from '../support/own-redis.ts';
import { scriptMachine } from '../support/script-machine.ts';
import { atFileEnd, useStack, type TestStack } from '../support/stack.ts';

const shared = await useStack();
const journal = await startJournal();
atFileEnd(() => journal.close());
const redis = await startOwnRedis();
atFileEnd(() => redis.stop());
const postgres = await startOwnPostgres();
atFileEnd(() => postgres.stop());
const DRAIN_MS = 1_500;
const WITHIN_MS = DRAIN_MS + 6_000;
const env = { DRAIN_MS: String(DRAIN_MS) };
const on = (change: Record<string, string>): TestStack => ({ ...shared, env: { ...shared.env, ...change } });

const fleet = await startFleet(shared, [scriptMachine]);
async function runHeldAt(where: Fleet, note: string): Promise<string> {
  const inside = journal.hold(`note:${note}`);
  const { id } = await where.base.submit({ tenant: 'acme', door: 'test', agent: 'script', input: { journal: journal.url, steps: [[`note:${note}`], ['note:next']] } });
  await inside;
  return id;
}

async function stops(agent: AgentProcess): Promise<number> {
  const askedMs = monoMs();
  agent.kill('SIGTERM');
  expect(await agent.ended).toBe(0);
  return monoMs() - askedMs;
}

test('a run that reaches its checkpoint in time is handed back there, with nothing lost', async () => {
  const agent = await startAgent(shared, { DRAIN_MS: '10000' });
  const id = await runHeldAt(fleet, 'checkpoint');
  const stopped = stops(agent);
  await agent.said('stopping');
  journal.release();
  expect(await stopped).toBeLessThan(5_000);
  expect(await fleet.run('acme', id)).toMatchObject({ status: 'queued', step_seq: 1, crashes: 0 });
  await fleet.worker();
  expect((await fleet.ended('acme', id)).status).toBe('completed');
  expect(journal.asked.filter((one) => one === 'note:checkpoint')).toHaveLength(1);
  for (const worker of fleet.workers) await worker.stop();
}, 60_000);

test('a run in the middle of a step is handed back when the time is over', async () => {
  const agent = await startAgent(shared, env);
  const id = await runHeldAt(fleet, 'middle');
  const tookMs = await stops(agent);
  expect(tookMs).toBeGreaterThanOrEqual(DRAIN_MS - 50);
  expect(tookMs).toBeLessThan(WITHIN_MS);
  expect(await fleet.run('acme', id)).toMatchObject({ status: 'queued', step_seq: 0, crashes: 0 });
  expect(await fleet.rows(`SELECT count(*)::int AS alive FROM workers WHERE ended_at IS NULL`)).toEqual([{ alive: 0 }]);
  await fleet.rows(`UPDATE agent_runs SET status = 'cancelled', finished_at = now() WHERE id = $1`, [id]);
}, 60_000);

test('with Redis gone', async () => {
  const agent = await startAgent(on({ REDIS_URL: redis.url }), env);
  const id = await runHeldAt(fleet, 'no-redis'); // found in Postgres: the worker's own Redis holds nothing
  redis.freeze();
  expect(await stops(agent)).toBeLessThan(WITHIN_MS);
  redis.thaw();
  expect(await fleet.run('acme', id)).toMatchObject({ status: 'queued', crashes: 0 });
}, 60_000);

test('with Postgres gone', async () => {
  const change = { DATABASE_URL: postgres.url };
  const other = await startFleet({ ...on(change), databaseUrl: postgres.url, redisPrefix: `${shared.redisPrefix}-other` }, [scriptMachine], { REDIS_PREFIX: `${shared.redisPrefix}-other`.slice(0, 32) });
  const agent = await startAgent(on({ ...change, LEASE_MS: '4000', REDIS_PREFIX: `${shared.redisPrefix}-other`.slice(0, 32) }), env);
  const id = await runHeldAt(other, 'no-postgres');
  await postgres.crash();
  expect(await stops(agent)).toBeLessThan(WITHIN_MS);
  await postgres.start();
  journal.release();
  await other.worker();
  expect((await other.ended('acme', id)).status).toBe('completed'); // it could tell nobody: its lease ran out
}, 60_000);
