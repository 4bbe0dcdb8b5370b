// Two calls that end at once both look for runs to wake. The slower one, which saw the word of before, must not forget for the
// budget that a run has left word again meanwhile: neither the next call that ends nor maintenance would look for it any more.
import { expect, test } from '@jest/globals';
import { wakeForBudget, wakeForRoom, wantBudgetIfHeld } from '../../src/store/engine/budgets.ts';
import type { EnginePool } from '../../src/store/engine/pool.ts';
import { openBench, placeOf, TENANT } from '../support/run-bench.ts';
import { useStack } from '../support/stack.ts';

const KEY = 'tenant/total';
const bench = await openBench(await useStack(), 4);
const { pool } = bench;

test('a run that leaves word again while a late look for waiting runs comes to nothing is woken by the next', async () => {
  const [run] = await bench.make('running', 1);
  if (!run) throw new Error('no run');
  await pool.query(`INSERT INTO budgets (tenant_id, subject, limit_micro_usd) VALUES ($1, 'tenant', 10)`, [TENANT]);
  const wants = () => wantBudgetIfHeld(pool, placeOf(run, '7'), KEY, 10n);
  const word = async (): Promise<unknown> => (await pool.query(`SELECT wants_budget AS word FROM agent_runs WHERE id = $1`, [run.id])).rows[0];
  const wanted = async (): Promise<number> => (await pool.query<{ wanted: number }>(`SELECT wanted FROM budgets WHERE tenant_id = $1`, [TENANT])).rows[0]?.wanted ?? NaN;

  await wants();
  const seen = await wanted(); // by both
  await wakeForBudget(pool, TENANT, KEY, seen);
  expect(await word()).toEqual({ word: null });
  let looked = false;
  const late = { query: async (text: string, values: unknown[]) => {
    const answer = await pool.query(text, values);
    if (!looked) { looked = true; await wants(); }
    return answer;
  } } as unknown as EnginePool;
  await wakeForBudget(late, TENANT, KEY, seen);
  expect([looked, await word()]).toEqual([true, { word: KEY }]);
  expect(await wanted()).toBeGreaterThan(0);
  await wakeForRoom(pool);
  expect(await word()).toEqual({ word: null });
});
