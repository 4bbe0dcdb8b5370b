// A step that kills its process, beside runs that do nothing wrong: the suspects are kept apart from other runs, the guilty one
// is alone when it crashes again, ends as `poison` after three crashes alone, and all others complete.
import { expect, test } from '@jest/globals';
import { startAgent } from '../support/agent-process.ts';
import { startFleet } from '../support/fleet.ts';
import { startJournal } from '../support/journal.ts';
import { scriptMachine } from '../support/script-machine.ts';
import { atFileEnd, useStack } from '../support/stack.ts';

const stack = await useStack();
const fleet = await startFleet(stack, [scriptMachine]);
const journal = await startJournal();
atFileEnd(() => journal.close());
const submit = (tenant: string, ...steps: string[][]): Promise<{ id: string }> => fleet.base.submit({ tenant, door: 'test', agent: 'script', input: { journal: journal.url, steps } });

test('three crashes alone are poison, and the others complete', async () => {
  const harmless = (n: number): string[] => [`note:in${n}`, 'pause:40', `note:out${n}`];
  const others = await Promise.all(['acme', 'globex', 'acme', 'globex'].map((tenant, n) => submit(tenant, ...Array.from({ length: 60 }, () => harmless(n))))); // longer than it takes to find the guilty one
  const { id } = await submit('acme', ['note:guilty', 'pause:20', 'abort']);
  let deaths = 0;
  let agent = await startAgent(stack);
  const killer = async () => (await fleet.rows<{ ran_alone: boolean; crashes: number }>(`SELECT ran_alone, crashes FROM agent_runs WHERE id = $1`, [id]))[0];
  /** Others that were inside a step at the end of what was asked since `from`; one that was only claimed, to be handed back, was not. */
  const beside = (from: number): number => others.filter((_, n) => journal.asked.slice(from).findLast((name) => name.endsWith(`in${n}`) || name.endsWith(`out${n}`)) === `note:in${n}`).length;
  let from = 0;
  for (;;) {
    const over = await Promise.race([agent.ended.then(() => false), fleet.until('acme', id, (run) => run.finished_at !== null).then(() => true)]);
    if (over) break;
    deaths++;
    const row = await killer();
    if (row?.ran_alone) expect(beside(from)).toBe(0);
    from = journal.asked.length;
    expect(row?.ran_alone).toBe((row?.crashes ?? 0) > 1);
    agent = await startAgent(stack);
  }
  expect(await fleet.run('acme', id)).toMatchObject({ status: 'failed', error_code: 'poison' });
  expect((await fleet.rows(`SELECT crashes_alone FROM agent_runs WHERE id = $1`, [id]))[0]).toEqual({ crashes_alone: 3 });
  expect(deaths).toBe(5); // among all, among suspects, and three times alone
  for (const [n, other] of others.entries()) expect((await fleet.ended(n % 2 ? 'globex' : 'acme', other.id)).status).toBe('completed');
  agent.kill('SIGTERM');
  expect(await agent.ended).toBe(0);
}, 180_000);
