// Postgres goes down and comes back, or recovers from the crash of one of its processes: every session lock is gone and nobody
// is dead. No run changes hands, no step runs again, no crash is counted; after it a dead worker is noticed at once as before.
import { expect, test } from '@jest/globals';
import { monoMs } from '../../src/clock.ts';
import { eventually, startAgent, type AgentProcess } from '../support/agent-process.ts';
import { startFleet } from '../support/fleet.ts';
import { startJournal } from '../support/journal.ts';
import { startOwnPostgres } from '../support/own-postgres.ts';
import { scriptMachine } from '../support/script-machine.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

const shared = await useStack();
const postgres = await startOwnPostgres();
atFileEnd(() => postgres.stop());
const stack = { ...shared, databaseUrl: postgres.url, env: { ...shared.env, DATABASE_URL: postgres.url } };
const fleet = await startFleet(stack, [scriptMachine]);
const pool = fleet.base.engine.pool;
const journal = await startJournal();
atFileEnd(() => journal.close());
let agents: AgentProcess[] = [];

async function runHeldAt(note: string): Promise<string> {
  const inside = journal.hold(`note:${note}`);
  const { id } = await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'script', input: { journal: journal.url, steps: [[`note:${note}`], ['note:end']] } });
  await inside;
  return id;
}
const workers = async (): Promise<unknown[]> => (await pool.query(`SELECT incarnation, ended_at FROM workers ORDER BY id`)).rows;

/** Both workers have their locks again, the held run ends as if nothing had been, and both are who they were. */
async function nothingHappened(id: string, note: string, before: unknown[], times: number): Promise<void> {
  await Promise.all(agents.map((agent) => agent.said('lock taken again', times)));
  journal.release();
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', step_seq: 2 });
  const claims = await pool.query(`SELECT count(DISTINCT fence)::int AS claims FROM run_steps WHERE run_id = $1`, [id]);
  expect(claims.rows).toEqual([{ claims: 1 }]);
  expect(journal.asked.filter((one) => one === `note:${note}`)).toHaveLength(1);
  expect(await workers()).toEqual(before);
}

test('a restart', async () => {
  agents = await Promise.all([startAgent(stack), startAgent(stack)]);
  const id = await runHeldAt('restart');
  const before = await workers();
  await postgres.crash();
  await postgres.start();
  await nothingHappened(id, 'restart', before, 1);
}, 60_000);

test('a recovery within the same server process', async () => {
  const id = await runHeldAt('recovery');
  const before = await workers();
  const { rows } = await pool.query<{ pid: number }>(`SELECT pid FROM pg_stat_activity WHERE application_name = 'mainstay-engine' AND pid <> pg_backend_pid() LIMIT 1`);
  process.kill(rows[0]?.pid ?? 0, 'SIGKILL');
  await nothingHappened(id, 'recovery', before, 2);
}, 60_000);

test('afterwards a dead worker is noticed at once', async () => {
  const id = await runHeldAt('again');
  const holder = (await pool.query<{ name: string }>(`SELECT w.name FROM agent_runs r JOIN workers w ON w.incarnation = r.claimed_by WHERE r.id = $1`, [id])).rows[0]?.name;
  const [dead] = agents.filter(({ pid }) => holder === `agent-${pid}`);
  const killedMs = monoMs();
  dead?.kill('SIGKILL');
  await eventually('the other has begun the step', () => journal.asked.filter((one) => one === 'note:again').length === 2);
  expect(monoMs() - killedMs).toBeLessThan(2_000);
  journal.release();
  expect((await fleet.ended('acme', id)).status).toBe('completed');
}, 60_000);
