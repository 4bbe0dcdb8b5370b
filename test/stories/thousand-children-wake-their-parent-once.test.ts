// A parent may have a thousand children without being a row that all of them wait for: their ends change nothing of its row but
// when its wait is answered. Nobody is forgotten for that: a child that ends while the parent is about to park, two that
// end at the same moment, and a worker that dies after a child's last commit.
import { expect, test } from '@jest/globals';
import { z } from 'zod';
import { pause } from '../../src/clock.ts';
import type { Step } from '../../src/domain/machine.ts';
import { newId } from '../../src/ids.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import { sendSignal, wakeAllAnswered } from '../../src/store/engine/waits.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const child = defineMachine<{ n: number }>({
  name: 'child', version: 1, input: z.strictObject({ n: z.number() }), start: 'go', remembers: false,
  steps: { go: async (step: Step<{ n: number }>) => Promise.resolve(step.done(step.input.n * 2)) },
});
let looks = 0;
interface Input { count: number; any: boolean; signal: boolean }
const parent = defineMachine<Input>({
  name: 'parent', version: 1, input: z.strictObject({ count: z.number(), any: z.boolean().default(false), signal: z.boolean().default(false) }), start: 'spawn', remembers: false,
  steps: {
    spawn: async (step: Step<Input>) => {
      looks++;
      const children = await step.all(Array.from({ length: step.input.count }, (_, n) => (branch: Step<unknown, unknown>) => branch.spawn('child', { n }, { delayMs: step.input.any && n > 0 ? 3_600_000 : 0 })));
      const [ended] = await step.all([
        (branch: Step<unknown, unknown>) => branch.waitForChildren(children, { any: step.input.any }),
        async (branch: Step<unknown, unknown>) => (step.input.signal ? (await branch.waitForSignal('go')) && [] : []),
      ]);
      return step.done(ended?.map(({ output }) => output) ?? null);
    },
  },
});
const stack = await useStack();
const fleet = await startFleet(stack, [child, parent]);
const workers = [await fleet.worker(), await fleet.worker()];
const submit = async (input: object): Promise<string> => { looks = 0; return (await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'parent', input })).id; };
const doubles = (count: number): number[] => Array.from({ length: count }, (_, n) => n * 2);

test('a thousand children: all outputs, and the parent was changed and woken a few times, not a thousand', async () => {
  const id = await submit({ count: 1_000 });
  let row: { finished: boolean; inbox: number } | undefined;
  while (!row?.finished) {
    [row] = await fleet.rows<{ finished: boolean; inbox: number }>(`SELECT finished_at IS NOT NULL AS finished, inbox_seq AS inbox FROM agent_runs WHERE id = $1`, [id]);
    await pause(100);
  }
  expect((await fleet.run('acme', id)).output).toEqual(doubles(1_000));
  expect(row.inbox).toBeLessThanOrEqual(2);
  expect(looks).toBeLessThanOrEqual(3);
}, 120_000);

test('children that end while their parent is about to park are not missed, whatever the timing', async () => {
  const ids = await Promise.all(Array.from({ length: 60 }, (_, n) => submit({ count: 1 + (n % 4) })));
  for (const [n, id] of ids.entries()) expect((await fleet.ended('acme', id)).output).toEqual(doubles(1 + (n % 4)));
}, 60_000);

test('any: the first end wakes it; beside a signal both waits are kept', async () => {
  expect((await fleet.ended('acme', await submit({ count: 3, any: true }))).output).toEqual([0]);
  const id = await submit({ count: 2, signal: true });
  await fleet.until('acme', id, (run) => run.status === 'waiting');
  await sendSignal(fleet.base.engine.pool, { tenant: 'acme', run: id, user: undefined, id: newId(), name: 'go', payload: 'null', sentBy: 'test', idempotencyKey: undefined });
  expect((await fleet.ended('acme', id)).output).toEqual([0, 2]);
});

test('a worker that dies between a child\'s end and the look leaves it to the sweep', async () => {
  await Promise.all(workers.map((worker) => worker.stop()));
  const other = await fleet.worker({ concurrency: 1 });
  const id = await submit({ count: 2, any: true });
  await fleet.ended('acme', id);
  await other.stop();
  // as that worker left it: its wait open, the first child ended, and nobody told
  await fleet.rows(`UPDATE agent_runs SET status = 'waiting', wait_reason = 'child', wake_at = NULL, finished_at = NULL, step_seq = 0, output = NULL WHERE id = $1`, [id]);
  await fleet.rows(`UPDATE step_waits SET settled_at = NULL WHERE run_id = $1`, [id]);
  const of = async (): Promise<string> => (await fleet.run('acme', id)).status;
  await fleet.rows(`UPDATE agent_runs SET finished_at = NULL, status = 'queued' WHERE parent_id = $1`, [id]);
  expect([await wakeAllAnswered(fleet.base.engine.pool, 10), await of()]).toEqual([0, 'waiting']);
  await fleet.rows(`UPDATE agent_runs SET finished_at = now(), status = 'completed' WHERE parent_id = $1 AND id = (SELECT min(id::text)::uuid FROM agent_runs WHERE parent_id = $1)`, [id]);
  expect([await wakeAllAnswered(fleet.base.engine.pool, 10), await of()]).toEqual([1, 'queued']);
});
