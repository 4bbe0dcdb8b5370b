// The wall clock of one worker jumps back by a minute and forward by ten while it runs a step longer than its lease: it keeps
// its lease, nobody takes its run, and a sleep that it began ends by the database's clock.
import { expect, test } from '@jest/globals';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { eventually, startAgent } from '../support/agent-process.ts';
import { startFleet } from '../support/fleet.ts';
import { startJournal } from '../support/journal.ts';
import { scriptMachine } from '../support/script-machine.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

const stack = await useStack();
const fleet = await startFleet(stack, [scriptMachine], { LEASE_MS: '3000' });
const journal = await startJournal();
atFileEnd(() => journal.close());
const dir = mkdtempSync(join(tmpdir(), 'mainstay-clock-'));
atFileEnd(() => { rmSync(dir, { recursive: true }); return Promise.resolve(); });
const file = join(dir, 'shift');
const submit = (...steps: string[][]): Promise<{ id: string }> => fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'script', input: { journal: journal.url, steps } });

/** The worker's clock is off by so much, and it has renewed its lease twice since. */
async function jumpAndRenewTwice(shiftMs: number): Promise<void> {
  writeFileSync(file, String(shiftMs));
  const leaseEnd = async (): Promise<number> => (await fleet.rows<{ end: number }>(`SELECT extract(epoch FROM max(lease_until))::float8 * 1000 AS "end" FROM workers WHERE ended_at IS NULL`))[0]?.end ?? 0;
  const atFirst = await leaseEnd();
  await eventually('the lease is renewed twice', async () => (await leaseEnd()) > atFirst + 1_500);
}

test('a minute back and ten forward', async () => {
  const agent = await startAgent(stack, { LEASE_MS: '3000', NODE_OPTIONS: '--import ./test/support/shifted-clock.mjs', CLOCK_SHIFT_FILE: file });
  const inside = journal.hold('note:in');
  const { id } = await submit(['note:in', 'sleep:1500'], ['note:awake']);
  await inside;
  const { fence } = await fleet.run('acme', id);
  await jumpAndRenewTwice(-60_000);
  await jumpAndRenewTwice(600_000);
  expect(await fleet.run('acme', id)).toMatchObject({ status: 'running', fence, crashes: 0 });
  journal.release();
  expect(await fleet.ended('acme', id)).toMatchObject({ status: 'completed', step_seq: 2 });
  expect(journal.asked).toEqual(['note:in', 'note:awake']);
  const slept = await fleet.rows<{ ms: number }>(`SELECT extract(epoch FROM r.finished_at - s.created_at)::float8 * 1000 AS ms FROM agent_runs r JOIN run_steps s ON s.run_id = r.id AND s.seq = 1 WHERE r.id = $1`, [id]);
  expect(slept[0]?.ms).toBeGreaterThanOrEqual(1_500);
  expect(slept[0]?.ms).toBeLessThan(10_000);
  expect(await fleet.rows(`SELECT count(*)::int AS workers FROM workers`)).toEqual([{ workers: 1 }]); // it never had to register anew
  expect(agent.lines.some((line) => line.includes('fenced'))).toBe(false);
  agent.kill('SIGTERM');
  expect(await agent.ended).toBe(0);
}, 60_000);
