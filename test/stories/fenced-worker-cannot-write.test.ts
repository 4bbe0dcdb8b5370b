// Every guarded write, held and fenced: once another claim has minted a newer fence, the older holder's writes touch nothing.
import { beforeEach, describe, expect, test } from '@jest/globals';
import { randomUUID } from 'node:crypto';
import { z } from 'zod';
import { NO_USAGE } from '../../src/domain/model.ts';
import { defineMachine } from '../../src/run/define-machine.ts';
import type { ClaimedRun } from '../../src/store/engine/claim.ts';
import type { Commit } from '../../src/store/engine/commit.ts';
import { fillToolResult, openToolCallIfHeld, recordResultIfHeld, type Place } from '../../src/store/engine/ledger.ts';
import { wantBudgetIfHeld } from '../../src/store/engine/budgets.ts';
import { registerWorker, renewLeaseIfHeld, retireWorker } from '../../src/store/engine/workers.ts';
import { startFleet } from '../support/fleet.ts';
import { useStack } from '../support/stack.ts';

const machine = defineMachine({ name: 'still', version: 1, input: z.strictObject({}), start: 'only', steps: { only: (step) => Promise.resolve(step.done(null)) }, remembers: false });
const stack = await useStack();
const fleet = await startFleet(stack, [machine]);
const { engine } = fleet.base;
const HASH = 'ab'.repeat(32);

let old: { incarnation: string; run: ClaimedRun };
let now: { incarnation: string; run: ClaimedRun };

async function claimBy(id: string): Promise<{ incarnation: string; run: ClaimedRun }> {
  const incarnation = randomUUID();
  await registerWorker(engine.pool, { incarnation, name: 'w', pool: 'agent', machines: ['still@1'], leaseMs: 60_000 });
  const run = await engine.claimer(incarnation, ['still@1'], 'agent', 60_000).claim('acme', id);
  if (!run) throw new Error('not claimed');
  return { incarnation, run };
}

/** A run claimed by `old`, whose lease then ends, and claimed again by `now`. */
beforeEach(async () => {
  const { id } = await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'still', input: {} });
  old = await claimBy(id);
  await retireWorker(engine.pool, old.incarnation);
  now = await claimBy(id);
});

const placeOf = (holder: typeof old): Place => ({ tenant: 'acme', run: holder.run.id, fence: holder.run.fence, claimedBy: holder.incarnation, stepSeq: 1, path: '0' });
const commitOf = (holder: typeof old, change: Partial<Commit>): Commit => ({
  tenant: 'acme', id: holder.run.id, inSession: false, version: 1, fence: holder.run.fence, claimedBy: holder.incarnation, stepSeq: 0, step: null, status: 'running', waitReason: null, wakeInMs: 0, stepMs: 1_000,
  failedAttempt: false, inboxSeq: 0, event: null, output: null, outputBlob: null, errorCode: null, errorMessage: null, remember: false, sessionState: null, messages: null, ...change,
});
const tables = async (): Promise<unknown> => (await engine.pool.query(`SELECT (SELECT json_agg(r) FROM agent_runs r WHERE id = $1) AS run, (SELECT count(*) FROM run_steps) AS steps,
  (SELECT count(*) FROM run_history) AS events, (SELECT json_agg(t) FROM tool_calls t) AS tools, (SELECT json_agg(m) FROM model_calls m) AS models, (SELECT count(*) FROM step_records) AS records`, [now.run.id])).rows[0];
const intent = { key: 'k', tool: 't', version: 1, effect: 'unkeyed' as const, argsHash: HASH, request: '{}', timeoutMs: 1_000, business: undefined };
const outcome = { status: 'succeeded' as const, response: { json: '1', blob: null }, meta: '{}', errorCode: null, errorMessage: null, durationMs: 1 };
const modelOutcome = { status: 'settled' as const, response: '{}', stopReason: 'end_turn', requestId: null, errorCode: null, usage: NO_USAGE, costMicroUsd: 5n, durationMs: 1 };

const WRITES: [string, (holder: typeof old) => Promise<unknown>, unknown, unknown][] = [
  ['checkpoint', (holder) => engine.commitIfHeld(commitOf(holder, { step: { name: 'only', next: 'only', data: '{}', dataBlob: null, durationMs: 1 } })), { fenced: false }, { fenced: true }],
  ['wait', (holder) => engine.commitIfHeld(commitOf(holder, { status: 'waiting', waitReason: 'timer', wakeInMs: 1_000 })), { fenced: false }, { fenced: true }],
  ['retry', (holder) => engine.commitIfHeld(commitOf(holder, { status: 'queued', failedAttempt: true })), { fenced: false }, { fenced: true }],
  ['finish', (holder) => engine.commitIfHeld(commitOf(holder, { status: 'completed', output: '1' })), { fenced: false }, { fenced: true }],
  ['fail', (holder) => engine.commitIfHeld(commitOf(holder, { status: 'failed', errorCode: 'step_failed' })), { fenced: false }, { fenced: true }],
  ['record', (holder) => recordResultIfHeld(engine.pool, placeOf(holder), 'r', HASH, { json: '1', blob: null }), true, false],
  ['tool intent', (holder) => openToolCallIfHeld(engine.pool, placeOf(holder), { ...intent, key: randomUUID() }), true, false],
  ['model reserve', (holder) => engine.reserveModelCall({ place: placeOf(holder), attempt: 1, model: 'm', argsHash: HASH, reservedMicroUsd: 5n, lane: 'live' }), 'reserved', 'fenced'],
  ['word of a budget', (holder) => wantBudgetIfHeld(engine.pool, placeOf(holder), 'tenant/total', 5n), { inboxSeq: 0 }, undefined],
];

describe.each(WRITES)('%s', (_name, write, held, fenced) => {
  test('by the holder is written', async () => {
    const answer = await write(now);
    if (typeof held === 'object') expect(answer).toMatchObject(held as object);
    else expect(answer).toBe(held);
  });
  test('by an older fence is refused and changes nothing', async () => {
    const before = await tables();
    expect(await write(old)).toEqual(fenced);
    expect(await tables()).toEqual(before);
  });
});

test('the lease of a worker that was declared dead is not renewed; a live one is', async () => {
  expect(await renewLeaseIfHeld(engine.pool, old.incarnation, 1_000)).toBeUndefined();
  expect(await renewLeaseIfHeld(engine.pool, now.incarnation, 1_000)).toEqual({ cancelled: [] });
});

test('a result is a fact: whoever wrote the intent fills it once, also after a takeover, and never again', async () => {
  const { id } = await fleet.base.submit({ tenant: 'acme', door: 'test', agent: 'still', input: {} });
  const first = await claimBy(id);
  await openToolCallIfHeld(engine.pool, placeOf(first), { ...intent, key: randomUUID() });
  await engine.reserveModelCall({ place: { ...placeOf(first), path: '1' }, attempt: 1, model: 'm', argsHash: HASH, reservedMicroUsd: 9n, lane: 'live' });
  await retireWorker(engine.pool, first.incarnation);
  const second = await claimBy(id);
  expect(second.run.fence).toBeGreaterThan(first.run.fence);
  expect(await fillToolResult(engine.pool, placeOf(first), outcome)).toBe(true);
  expect(await fillToolResult(engine.pool, placeOf(second), { ...outcome, response: { json: '2', blob: null } })).toBe(false);
  const tool = await engine.pool.query(`SELECT status::text, response FROM tool_calls WHERE run_id = $1`, [id]);
  expect(tool.rows).toEqual([{ status: 'succeeded', response: 1 }]);
  const booked = async (): Promise<unknown> => (await engine.pool.query(`SELECT status::text, cost_micro_usd::int AS cost FROM model_calls WHERE run_id = $1`, [id])).rows[0];
  expect(await booked()).toEqual({ status: 'booked', cost: 9 }); // the claim books what an older fence left open
  await engine.settleModelCall({ place: { ...placeOf(first), path: '1' }, attempt: 1, outcome: modelOutcome });
  expect(await booked()).toEqual({ status: 'settled', cost: 5 }); // true usage corrects it
  await engine.settleModelCall({ place: { ...placeOf(first), path: '1' }, attempt: 1, outcome: { ...modelOutcome, costMicroUsd: 7n } });
  expect(await booked()).toEqual({ status: 'settled', cost: 5 }); // once
});
