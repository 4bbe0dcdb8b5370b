// Room in a budget that is made while runs leave word for it goes to those that wait, and no word is lost.
import { beforeEach, expect, test } from '@jest/globals';
import { NO_USAGE } from '../../src/domain/model.ts';
import { reserve, type ModelDeps } from '../../src/run/call-model.ts';
import { wakeForBudget, wakeForRoom, wantBudgetIfHeld } from '../../src/store/engine/budgets.ts';
import { commitRunsIfHeld } from '../../src/store/engine/commit.ts';
import { Engine } from '../../src/store/engine/engine.ts';
import type { ModelIntent } from '../../src/store/engine/model-ledger.ts';
import type { EnginePool } from '../../src/store/engine/pool.ts';
import { commitOf, HASH, openBench, placeOf, TENANT } from '../support/run-bench.ts';
import { useStack } from '../support/stack.ts';

const KEY = 'tenant/total';
const bench = await openBench(await useStack(), 4);
const { pool } = bench;

beforeEach(async () => { await pool.query('DELETE FROM budgets'); });

// Two calls that end at once both look for runs to wake. The slower one saw the word of before, and must not forget for the
// budget what a run has said since: neither the next call that ends nor maintenance would look for it any more.
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

test('a run that finds room after it has left word is not woken in the place of one that waits', async () => {
  const [first, second] = (await bench.make('running', 2)).sort((a, b) => (a.id < b.id ? -1 : 1)); // made at once: the first by its id is the older
  if (!first || !second) throw new Error('no runs');
  await pool.query(`INSERT INTO budgets (tenant_id, subject, limit_micro_usd) VALUES ($1, 'tenant', 5)`, [TENANT]);
  const word = await wantBudgetIfHeld(pool, placeOf(second, '7'), KEY, 10n);
  await commitRunsIfHeld(pool, [commitOf(second, { status: 'waiting', waitReason: 'budget', wakeInMs: null, inboxSeq: word?.inboxSeq ?? -1 })]);
  const engine = new Engine(pool);
  const asked: unknown[] = [];
  const roomAfterOne = { pool, reserveModelCall: async (intent: ModelIntent) => {
    asked.push(await engine.reserveModelCall(intent));
    await pool.query(`UPDATE budgets SET limit_micro_usd = 10 WHERE tenant_id = $1`, [TENANT]);
    return asked.at(-1);
  } } as unknown as Engine;
  const place = placeOf(first, '7');
  expect(await reserve({ engine: roomAfterOne } as unknown as ModelDeps, { failsOverBudget: false, sawInbox: () => undefined }, { place, attempt: 1, model: 'claude-sonnet-5-5', argsHash: HASH, reservedMicroUsd: 10n, lane: 'live' })).toBeUndefined();
  expect(asked).toEqual([{ exhausted: KEY }, 'reserved']);
  const news = await engine.settleModelCall({ place, attempt: 1, outcome: { status: 'settled', response: '{}', stopReason: 'end_turn', requestId: null, errorCode: null, usage: NO_USAGE, costMicroUsd: 0n, durationMs: 1 } });
  expect(news).toMatchObject([{ key: KEY, wanted: 2 }]);
  await wakeForBudget(pool, TENANT, KEY, 2);
  expect((await pool.query(`SELECT status::text FROM agent_runs WHERE id = $1`, [second.id])).rows).toEqual([{ status: 'queued' }]);
});
