// Statements that were carried out and whose answer was lost on the way. A commit is then read back, in a group as well as alone:
// taken for fenced, its run would be held by a worker that has left it. A claim's runs are given back by the worker that does
// not know of them, and not before they were seen twice. A result that is on record is found there, and nobody is asked for it.
import { randomUUID } from 'node:crypto';
import { afterAll, expect, test } from '@jest/globals';
import { z } from 'zod';
import type { Step } from '../src/domain/machine.ts';
import { makeLog } from '../src/log.ts';
import { defineMachine } from '../src/run/define-machine.ts';
import { Strays } from '../src/run/strays.ts';
import { claimRuns, type ClaimedRun } from '../src/store/engine/claim.ts';
import { commitRunsIfHeld, type Commit } from '../src/store/engine/commit.ts';
import { openEnginePool, type EnginePool } from '../src/store/engine/pool.ts';
import { submitRuns } from '../src/store/engine/submit.ts';
import { defineTool } from '../src/tools/define-tool.ts';
import { Proxy } from './faults/proxy.ts';
import { startFleet } from './support/fleet.ts';
import { MACHINES, newRun, TENANT } from './support/run-bench.ts';
import { atFileEnd, useStack } from './support/stack.ts';

const stack = await useStack();
const pool = openEnginePool(stack.databaseUrl, true, 4, makeLog('silent', 'test'));
afterAll(() => pool.end());
const holder = randomUUID();

/** Carries out every statement; the answers to the first `times` named so are lost. */
function losing(name: 'commit' | 'completion' | 'checkpoint' | 'claim-fresh', times = 1): EnginePool {
  let left = times;
  const query = async (...asked: Parameters<EnginePool['query']>): Promise<unknown> => {
    const answer = await (pool.query(...asked) as unknown as Promise<unknown>);
    if ((asked[0] as { name?: string }).name === name && left-- > 0) throw Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' });
    return answer;
  };
  return { query } as unknown as EnginePool;
}

async function claimed(count: number): Promise<ClaimedRun[]> {
  const runs = Array.from({ length: count }, () => newRun());
  await submitRuns(pool, runs);
  return (await claimRuns(pool, runs.map(({ tenant, id }) => ({ tenant, id })), holder, MACHINES, 60_000)).filter((run) => run !== undefined);
}
const commitOf = (run: ClaimedRun, status: 'running' | 'completed', fence = run.fence): Commit => ({
  tenant: TENANT, id: run.id, inSession: false, fence, claimedBy: holder, stepSeq: run.stepSeq, step: { name: 's', next: status === 'running' ? 't' : null, data: '1', dataBlob: null, durationMs: 1 }, version: 1, status, waitReason: null,
  wakeInMs: null, stepMs: 60_000, failedAttempt: false, inboxSeq: 0, event: null, output: status === 'running' ? null : '1', outputBlob: null, errorCode: null, errorMessage: null, remember: false, sessionState: null, messages: null,
});
const steps = async (runs: readonly ClaimedRun[]): Promise<number[]> => {
  const { rows } = await pool.query<{ n: number }>(`SELECT count(s.seq)::int AS n FROM unnest($1::uuid[]) WITH ORDINALITY AS u(id, ord) LEFT JOIN run_steps s ON s.run_id = u.id GROUP BY u.ord ORDER BY u.ord`, [runs.map(({ id }) => id)]);
  return rows.map(({ n }) => n);
};

test.each([1, 3])('the answer to a group of %i commits is lost: each is read back, and none done twice', async (count) => {
  for (const [statement, status, event] of [['checkpoint', 'running', null], ['completion', 'completed', { type: 'run.completed', data: '{}' }], ['commit', 'completed', null]] as const) {
    const runs = await claimed(count);
    const answers = await commitRunsIfHeld(losing(statement), runs.map((run) => ({ ...commitOf(run, status), event })));
    expect(answers).toEqual(runs.map(() => expect.objectContaining({ fenced: false, status })));
    expect(await steps(runs)).toEqual(runs.map(() => 1));
  }
});

test('one of the group was fenced: it is told so, the others are read back', async () => {
  const runs = await claimed(3);
  const answers = await commitRunsIfHeld(losing('checkpoint'), runs.map((run, at) => commitOf(run, 'running', at === 1 ? run.fence + 1_000_000n : run.fence)));
  expect(answers.map((answer) => 'fenced' in answer && answer.fenced)).toEqual([false, true, false]);
  expect(await steps(runs)).toEqual([1, 0, 1]);
});

test('the answer to a claim is lost: its runs are given back at the second look, those in hand are not', async () => {
  const runs = Array.from({ length: 2 }, () => newRun());
  await submitRuns(pool, runs);
  const mine = randomUUID();
  await expect(claimRuns(losing('claim-fresh'), runs.map(({ tenant, id }) => ({ tenant, id })), mine, MACHINES, 60_000)).rejects.toThrow('ECONNRESET');
  const strays = new Strays();
  const knows = (id: string): boolean => id === runs[1]?.id;
  expect(await strays.giveBack(pool, mine, knows)).toEqual([]); // nothing was said to be lost
  strays.suspect();
  expect(await strays.giveBack(pool, mine, knows)).toEqual([]);
  expect((await strays.giveBack(pool, mine, knows)).map(({ id }) => id)).toEqual([runs[0]?.id]);
  const { rows } = await pool.query<{ status: string; crashes: number }>('SELECT status::text, crashes FROM agent_runs WHERE id = ANY ($1::uuid[]) ORDER BY status', [runs.map(({ id }) => id)]);
  expect(rows).toEqual([{ status: 'queued', crashes: 0 }, { status: 'running', crashes: 0 }]);
});

test('the answer to the result of an unkeyed call is lost: its run goes on with the result, without a second call and without a person', async () => {
  let calls = 0;
  const tool = defineTool({ name: 'unkeyed', description: 'Counts how often it is called.', input: z.strictObject({}), run: () => Promise.resolve(++calls) });
  const machine = defineMachine({ name: 'one-call', version: 1, input: z.strictObject({}), start: 'go', tools: [tool], remembers: false, steps: { go: async (step: Step) => step.done(await step.tool('unkeyed', {})) } });
  const proxy = await Proxy.open(Number(new URL(stack.databaseUrl).port), Math.random);
  atFileEnd(() => proxy.close());
  const fleet = await startFleet({ ...stack, env: { ...stack.env, DATABASE_URL: proxy.inFrontOf(stack.databaseUrl) } }, [machine]);
  await fleet.worker();
  proxy.dropReplies('UPDATE tool_calls', 1);
  const { id } = await fleet.base.submit({ tenant: TENANT, door: 'test', agent: 'one-call', input: {} });
  expect(await fleet.ended(TENANT, id)).toMatchObject({ status: 'completed', output: 1 });
  expect({ calls, lost: proxy.counts.repliesDropped }).toEqual({ calls: 1, lost: 1 });
});
