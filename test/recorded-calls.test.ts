// What steps that run again have on record is read for all that begin together, and each is given its own.
import { expect, test } from '@jest/globals';
import { claimRuns } from '../src/store/engine/claim.ts';
import { Engine } from '../src/store/engine/engine.ts';
import { recordedCalls, recordResultIfHeld, type StepPlace } from '../src/store/engine/ledger.ts';
import { submitRuns } from '../src/store/engine/submit.ts';
import { startFleet } from './support/fleet.ts';
import { MACHINES, newRun, newWorker, TENANT } from './support/run-bench.ts';
import { useStack } from './support/stack.ts';

const HASH = '00'.repeat(32);
const { base } = await startFleet(await useStack(), []);
const { pool } = base.engine;
const worker = await newWorker(pool);

const runs = Array.from({ length: 3 }, () => newRun());
await submitRuns(pool, runs);
for (const run of await claimRuns(pool, runs.map(({ id }) => ({ tenant: TENANT, id })), worker, MACHINES, 600_000)) {
  for (const [stepSeq, paths] of [[1, ['a']], [2, ['b', 'c']]] as const) {
    for (const path of paths) await recordResultIfHeld(pool, { tenant: TENANT, run: run!.id, fence: run!.fence, claimedBy: worker, stepSeq, path }, 'note', HASH, { json: JSON.stringify(`${run!.id} ${path}`), blob: null });
  }
}
const [first, second, third] = runs.map(({ id }) => id) as [string, string, string];
const step = (run: string, stepSeq: number, tenant = TENANT): StepPlace => ({ tenant, run, stepSeq });

test('answers come in the order of the steps, also of one asked twice, of one without any, and of another tenant\'s', async () => {
  const answers = await recordedCalls(pool, [step(second, 2), step(first, 1), step(third, 3), step(first, 1, 'another'), step(first, 1)]);
  expect(answers.map((calls) => calls.map(({ kind, path, result }) => [kind, path, result]).sort())).toEqual([
    [['record', 'b', `${second} b`], ['record', 'c', `${second} c`]], [['record', 'a', `${first} a`]], [], [], [['record', 'a', `${first} a`]],
  ]);
});

test('steps that begin in one turn are read by one statement', async () => {
  let statements = 0;
  const counting = new Proxy(pool, { get: (target, name) => { if (name === 'query') statements++; return (Reflect.get(target, name, target) as (...given: unknown[]) => unknown).bind(target); } });
  const engine = new Engine(counting);
  const answers = await Promise.all([first, second, third].map((run) => engine.recordedCalls(step(run, 1))));
  expect(answers.map((calls) => calls[0]?.result)).toEqual([`${first} a`, `${second} a`, `${third} a`]);
  expect(statements).toBe(1);
});
