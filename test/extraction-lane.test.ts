// By which lane the model is asked what a run teaches: the run's own, unless its tenant has said another.
import { expect, test } from '@jest/globals';
import { defineAgent } from '../src/run/define-agent.ts';
import { openAppStore } from '../src/store/app-store.ts';
import { setMemoryPolicy } from '../src/store/memory-policies.ts';
import { remember } from '../workers/assemble-memory.ts';
import { startMemoryFleet } from './support/fleet.ts';
import { atFileEnd, useStack } from './support/stack.ts';

const stack = await useStack();
const fleet = await startMemoryFleet(stack, [defineAgent({ name: 'talker', version: 1, instructions: 'Answer.' })]);
const store = openAppStore({ url: stack.databaseUrl, asRole: true, log: fleet.base.log });
atFileEnd(() => store.close());

/** How the run that remembers a finished one stands, once it waits for a batch or has ended. */
async function remembering(tenant: string, lane: 'batch' | null): Promise<string> {
  const { id } = await fleet.base.submit({ door: 'test', agent: 'talker', input: { message: 'Our depot is in Graz.' }, tenant, user: 'ada', session: tenant });
  await fleet.ended(tenant, id);
  await remember(fleet.base, { tenant, id, user: 'ada', session: tenant, agent: 'talker', lane });
  for (;;) {
    const [run] = await fleet.rows<{ id: string }>(`SELECT id FROM agent_runs WHERE idempotency_key LIKE 'remember:' || $1 || ':%'`, [id]);
    if (!run) continue;
    const { status, wait_reason: reason } = await fleet.until(tenant, run.id, (row) => row.finished_at !== null || row.wait_reason === 'batch');
    return reason ?? status;
  }
}

test('unset, it goes as the run went; `batch` has it wait for a batch', async () => {
  expect(await remembering('plain', null)).toBe('completed');
  await store.withTenant({ tenant: 'thrifty' }, (tx) => setMemoryPolicy(tx, { extraction: { lane: 'batch' } }, 'test'));
  expect(await remembering('thrifty', null)).toBe('batch');
});

test('`realtime` asks at once, also of a run that went by batch', async () => {
  const submitted = async (tenant: string): Promise<string> => {
    const { id } = await fleet.base.submit({ door: 'test', agent: 'talker', input: { message: 'Our depot is in Linz.' }, tenant, user: 'ada', session: 's' });
    await fleet.until(tenant, id, (row) => row.finished_at !== null && row.memory_state !== 'due');
    await fleet.rows(`UPDATE agent_runs SET memory_state = 'due' WHERE id = $1`, [id]);
    await fleet.rows(`DELETE FROM memory_candidates WHERE run_id = $1`, [id]);
    const again = await fleet.base.submit({ door: 'internal', agent: 'mainstay.remember', input: { run: id }, tenant, user: 'ada', lane: 'batch' });
    const { status, wait_reason: reason } = await fleet.until(tenant, again.id, (row) => row.finished_at !== null || row.wait_reason === 'batch');
    return reason ?? status;
  };
  expect(await submitted('slow')).toBe('batch');
  await store.withTenant({ tenant: 'hasty' }, (tx) => setMemoryPolicy(tx, { extraction: { lane: 'realtime' } }, 'test'));
  expect(await submitted('hasty')).toBe('completed');
});
