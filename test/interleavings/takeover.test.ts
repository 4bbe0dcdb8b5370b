// The one write that ignores the fence: the result of a call, filled by a worker that has lost the run, while the one that
// took it over looks at the ledger, asks again or parks to wait for that very result. In no order may the run wait for a
// result that is there, and no two of them may lock each other out. And what the dead worker had under way when it was taken over
// counts: its checkpoint is gone on from, its open call of the model is booked.
import { afterAll, expect, test } from '@jest/globals';
import { claimRuns } from '../../src/store/engine/claim.ts';
import { commitRunsIfHeld } from '../../src/store/engine/commit.ts';
import { openToolCallIfHeld, recordedCalls } from '../../src/store/engine/ledger.ts';
import { reserveModelCallsIfHeld } from '../../src/store/engine/model-ledger.ts';
import type { EnginePool } from '../../src/store/engine/pool.ts';
import { CALL, commitOf, HASH, MACHINES, newWorker, openBench, placeOf, TENANT, type Subject } from '../support/run-bench.ts';
import { useStack } from '../support/stack.ts';
import { ORDERS, TwoSessions, type Order } from '../support/two-sessions.ts';

const stack = await useStack();
const bench = await openBench(stack, 6);
const sessions = await TwoSessions.open(bench.pool);
const taker = await newWorker(bench.pool);
afterAll(() => sessions.close());

interface Taken { readonly subject: Subject; readonly mine: Pick<Subject, 'id' | 'holder' | 'fence' | 'inboxRead'> }

async function take(door: EnginePool, subject: Subject): Promise<Taken['mine']> {
  const [run] = await claimRuns(door, [{ tenant: TENANT, id: subject.id }], taker, MACHINES, 600_000);
  if (!run) throw new Error('not claimed');
  return { id: subject.id, holder: taker, fence: run.fence, inboxRead: run.inboxSeq };
}

const callOf = async (door: EnginePool, { id }: Pick<Subject, 'id'>): Promise<string | undefined> => (await recordedCalls(door, [{ tenant: TENANT, run: id, stepSeq: 1 }]))[0]?.find(({ path }) => path === 'call')?.status;
const fill = (subject: Subject) => (door: EnginePool): Promise<string> => bench.move(door, subject, 'fill', 'a');
const park = (mine: Taken['mine']) => async (door: EnginePool): Promise<string> => {
  const [answer] = await commitRunsIfHeld(door, [commitOf(mine, { status: 'waiting', waitReason: 'outcome' })]);
  if (!answer || answer instanceof Error) throw answer ?? new Error('no answer');
  return answer.fenced ? 'fenced' : answer.status;
};
const openAgain = (mine: Taken['mine']) => async (door: EnginePool): Promise<string> => (await openToolCallIfHeld(door, placeOf(mine, 'call'), CALL) ? 'open' : 'not open');

async function taken(): Promise<Taken> {
  const [subject] = await bench.make('dead', 1);
  if (!subject) throw new Error('no run');
  return { subject, mine: await take(bench.pool, subject) };
}

const standing = async ({ subject }: Taken): Promise<{ status: string; tool: string | null }> => {
  const [image] = await bench.images([subject]);
  return { status: image?.status ?? '', tool: image?.tool ?? null };
};

test.each(ORDERS.flatMap((order): [Order, 'fill first' | 'park first'][] => [[order, 'fill first'], [order, 'park first']]))('%s, %s: a late result and a wait for it never miss each other', async (order, who) => {
  const one = await taken();
  const [first, second] = who === 'fill first' ? [fill(one.subject), park(one.mine)] : [park(one.mine), fill(one.subject)];
  const { answers } = await sessions.play(order, TENANT, one.subject.id, first, second);
  expect(answers.join(' ')).not.toMatch(/threw/);
  const lone = order === 'rolled back' && who === 'fill first';
  expect(await standing(one)).toEqual(lone ? { status: 'waiting', tool: 'intent' } : order === 'rolled back' ? { status: 'running', tool: 'succeeded' } : { status: 'queued', tool: 'succeeded' });
});

test.each(ORDERS.flatMap((order): [Order, 'fill first' | 'call first'][] => [[order, 'fill first'], [order, 'call first']]))('%s, %s: a late result and a second call of the taker do not lock each other out', async (order, who) => {
  const one = await taken();
  const [first, second] = who === 'fill first' ? [fill(one.subject), openAgain(one.mine)] : [openAgain(one.mine), fill(one.subject)];
  const { answers } = await sessions.play(order, TENANT, one.subject.id, first, second);
  expect(answers.join(' ')).not.toMatch(/threw/);
  expect((await standing(one)).tool).toBe(order === 'rolled back' && who === 'fill first' ? 'intent' : 'succeeded');
});

test.each(['overlap', 'gate'] as const)('%s: a claim that overlaps a late result waits for it, and its ledger shows it', async (order) => {
  const [subject] = await bench.make('dead', 1);
  if (!subject) throw new Error('no run');
  const takeAndLook = async (door: EnginePool): Promise<string> => { await take(door, subject); return await callOf(door, subject) ?? ''; };
  expect(await sessions.play(order, TENANT, subject.id, fill(subject), takeAndLook)).toEqual({ waited: true, answers: ['filled', 'succeeded'] });
});

test.each(['overlap', 'gate'] as const)('%s: a claim that waits for the checkpoint of a dead worker goes on from it', async (order) => {
  const [subject] = await bench.make('dead', 1);
  if (!subject) throw new Error('no run');
  const claim = async (door: EnginePool): Promise<string> => {
    const [run] = await claimRuns(door, [{ tenant: TENANT, id: subject.id }], taker, MACHINES, 600_000);
    return JSON.stringify({ step: run?.nextStep, seq: run?.stepSeq, data: run?.data });
  };
  expect(await sessions.play(order, TENANT, subject.id, (door) => bench.move(door, subject, 'checkpoint', 'a'), claim)).toEqual({ waited: true, answers: ['running', '{"step":"two","seq":1,"data":{"n":1}}'] });
});

test.each(['overlap', 'gate'] as const)('%s: a claim that waits for the reserve of a dead worker books it', async (order) => {
  const [subject] = await bench.make('dead', 1);
  if (!subject) throw new Error('no run');
  const intent = { place: placeOf(subject, 'model'), attempt: 1, model: 'm', argsHash: HASH, reservedMicroUsd: 7n, lane: 'live' as const };
  const reserve = async (door: EnginePool): Promise<string> => JSON.stringify(await reserveModelCallsIfHeld(door, [intent]));
  const claim = async (door: EnginePool): Promise<string> => { await take(door, subject); return (await recordedCalls(door, [{ tenant: TENANT, run: subject.id, stepSeq: 1 }]))[0]?.find(({ kind }) => kind === 'model')?.status ?? ''; };
  expect(await sessions.play(order, TENANT, subject.id, reserve, claim)).toEqual({ waited: true, answers: ['["reserved"]', 'booked'] });
});
