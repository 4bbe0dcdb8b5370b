// "Why is it not moving" has one answer for every way a run can stand still: each is made, by a run of a real fleet where that
// can be and by its rows where it takes a crash or a year, and asked over the API. The order is fixed: of two causes the first.
import { randomUUID } from 'node:crypto';
import { expect, test } from '@jest/globals';
import { monoMs, pause } from '../../src/clock.ts';
import { CAUSES, type Cause } from '../../src/domain/explain.ts';
import type { Run, RunExplanation } from '../../src/domain/wire.ts';
import { publicId } from '../../src/ids.ts';
import { SharedCircuit } from '../../src/limits/shared-circuit.ts';
import { startApi } from '../support/api.ts';
import { startOwnRedis } from '../support/own-redis.ts';
import { setAgentLimit } from '../../src/store/engine/limits.ts';
import { spawnCli } from '../support/spawn-cli.ts';
import { atFileEnd, useStack } from '../support/stack.ts';
import { held, stuckMachines } from '../support/stuck-machines.ts';

const stack = await useStack();
const redis = await startOwnRedis(); // one test freezes it
atFileEnd(() => redis.stop());
const api = await startApi({ ...stack, env: { ...stack.env, REDIS_URL: redis.url } }, stuckMachines, { config: { RATE_LIMIT: '100000' } });
const { base, limits } = api.fleet;
const key = await api.makeKey();
await api.makeKey({ tenant: 'small' });
await api.fleet.rows(`UPDATE tenants SET max_running = 1 WHERE id = 'small'`);
const keyOfSmall = await api.makeKey({ tenant: 'small' });
const set = (id: string, change: string): Promise<object[]> => api.fleet.rows(`UPDATE agent_runs SET ${change} WHERE id = $1`, [id]);

/** uuid of a new run of `stuck`, or of `held` with this word. */
async function submit(why: string, over: Partial<Parameters<typeof base.submit>[0]> = {}): Promise<string> {
  return (await base.submit({ tenant: 'acme', door: 'test', agent: 'stuck', input: { why }, ...over })).id;
}

const seen = new Set<string>();

/** Asks until the answer is this cause; fails with the last answer. */
async function because(cause: Cause, id: string, bearer = key): Promise<RunExplanation> {
  for (const endMs = monoMs() + 10_000; ;) {
    const { status, body } = await api.call<RunExplanation>('GET', `/v1/runs/${publicId('run', id)}/explain`, { key: bearer });
    expect(status).toBe(200);
    if (body.because === cause) { seen.add(cause); return body; }
    if (monoMs() > endMs) throw new Error(`not ${cause}: ${JSON.stringify(body)}`);
    await pause(20);
  }
}

/** A worker by its row: alive for an hour, or dead for a minute. */
async function workerRow(name: string, isAlive: boolean): Promise<string> {
  const incarnation = randomUUID();
  await api.fleet.rows(`INSERT INTO workers (id, incarnation, name, pool, machines, lease_until) VALUES (nextval('worker_seq'), $1, $2, 'agent', $3, now() + $4::interval)`,
    [incarnation, name, base.registry.claimable('agent'), isAlive ? '1 hour' : '-1 minute']);
  return incarnation;
}
const runningOn = (incarnation: string, deadline = '1 minute'): string =>
  `status = 'running', claimed_by = '${incarnation}', started_at = now(), step_claims = 1, fence = nextval('fence_seq'), step_deadline_at = now() + interval '${deadline}'`;

test('a run of another, a run that is none and a run nobody may see are not found', async () => {
  const id = await submit('timer', { user: 'ada', delayMs: 60_000 });
  const ask = async (run: string, bearer: string): Promise<unknown> => { const { status, body } = await api.call('GET', `/v1/runs/${run}/explain`, { key: bearer }); return [status, body['code']]; };
  expect(await ask(publicId('run', id), keyOfSmall)).toEqual([404, 'not_found']);
  expect(await ask(publicId('run', id), await api.makeKey({ user: 'eve' }))).toEqual([404, 'not_found']);
  expect(await ask(publicId('run', randomUUID()), key)).toEqual([404, 'not_found']);
  expect(await ask("run_'%20OR%201=1", key)).toEqual([404, 'not_found']);
  expect((await api.call('GET', `/v1/runs/${publicId('run', id)}/explain?verbose=1`, { key })).status).toBe(400);
  expect((await api.call('GET', `/v1/runs/${publicId('run', id)}/explain`, { key: await api.makeKey({ scopes: ['usage:read'] }) })).status).toBe(403);
});

test('without a worker', async () => {
  const id = await submit('timer');
  expect(await because('no_worker', id)).toMatchObject({ run: publicId('run', id), status: 'queued', command: 'mainstay worker --pool agent', since: expect.stringMatching(/Z$/) });
  expect((await because('not_due', await submit('timer', { delayMs: 3_600_000 }))).sentence).toMatch(/may not start before \d{4}-/);
});

test('with a worker that takes nothing: version, session, limit, queue', async () => {
  const alive = await workerRow('busy', true);
  const old = await submit('timer');
  await set(old, 'version = 7');
  expect(await because('version', old)).toMatchObject({ sentence: expect.stringContaining('no live worker runs stuck version 7; they have only 1'), details: { versions: [1] } });

  const session = { user: 'ada', session: 'chat' };
  const [first, second] = [await submit('timer', session), await submit('timer', session)];
  expect(await because('session', second)).toMatchObject({ sentence: expect.stringContaining(`held by ${publicId('run', first)}, which is queued`), command: `mainstay explain ${publicId('run', first)}` });
  await set(second, 'version = 7');
  expect((await because('version', second)).sentence).toContain('Blocked'); // two causes: the first in the order

  const [one, two] = [await submit('timer', { tenant: 'small' }), await submit('timer', { tenant: 'small' })];
  const queue = base.queues.get('agent')!.ready;
  await queue.remove('small', one); // what a worker's take does, but for the claim
  await queue.holdSlots('small', [{ run: one, leftMs: 60_000, limits: '' }]);
  expect((await because('parked', two, keyOfSmall)).sentence).toContain('no free slot');
  expect((await because('not_offered', one, keyOfSmall)).command).toBe('mainstay rebuild queue --pool agent');
  await set(one, `${runningOn(alive)}, tenant_permit = 1`);
  expect(await because('tenant_limit', two, keyOfSmall)).toMatchObject({
    sentence: expect.stringContaining(`has 1 run of the 1 that may be running at once, ${publicId('run', one)} among them`), details: { of: 'tenant', limit: 1, running: 1, holders: [publicId('run', one)] }, command: 'mainstay tenants limit small --max-running 2',
  });
  const concurrency = { key: 'printer 7', limit: 1 };
  const [holder, aside] = [await submit('timer', { concurrency, priority: 9 }), await submit('timer', { concurrency, priority: 8 })];
  await set(holder, `${runningOn(alive)}, key_permit = 1, agent_permit = 1`);
  await queue.remove('acme', holder);
  await queue.holdSlots('acme', [{ run: holder, leftMs: 60_000, limits: '1 key:printer 7' }]);
  expect(await because('key_limit', aside)).toMatchObject({ sentence: expect.stringContaining('The key "printer 7" has 1 run of the 1'), details: { of: 'key', limit: 1, running: 1 }, command: null });
  await setAgentLimit(base.engine.pool, 'acme', 'stuck', 1, 'test');
  expect(await because('agent_limit', aside)).toMatchObject({ details: { of: 'agent', name: 'stuck', holders: [publicId('run', holder)] }, command: 'mainstay tenants limit acme --agent stuck --max-running 2' });
  await setAgentLimit(base.engine.pool, 'acme', 'stuck', null, 'test');
  await set(holder, `status = 'completed', finished_at = now(), claimed_by = NULL`); // Postgres has room, the ready queue does not know yet
  for (let taken = await queue.take(); taken; taken = await queue.take()) await queue.offer({ tenant: taken.tenant, run: taken.run, order: 0, limits: taken.limits, cap: 0 });
  expect((await because('parked', aside)).sentence).toContain('Its agent or its key has no free slot');
  await queue.freeSlots([{ tenant: 'acme', run: holder, limits: '1 key:printer 7' }]);

  const [ahead, behind] = [await submit('timer', { tenant: 'other', priority: 5 }), await submit('timer', { tenant: 'other' })];
  await api.makeKey({ tenant: 'other' });
  expect((await because('ready', behind, await api.makeKey({ tenant: 'other' }))).details).toMatchObject({ runsAhead: 1, runs: 2, weight: 1, tenants: 3 });
  await set(ahead, 'crashes = 2');
  expect((await because('suspect', ahead, await api.makeKey({ tenant: 'other' }))).sentence).toContain('died 2 times');
  await set(ahead, `started_at = now(), wake_at = now() + interval '1 minute'`);
  expect((await because('suspect', ahead, await api.makeKey({ tenant: 'other' }))).sentence).toContain('offered again at');

  const expiring = await submit('timer', { expiresInMs: 3_600_000 });
  await set(expiring, `expires_at = now() - interval '1 second'`);
  expect((await because('expiring', expiring)).sentence).toContain('maintenance ends it');
});

test('in the hands of a worker: running, past its deadline, cancelled, its worker dead', async () => {
  const [alive, dead] = [await workerRow('agent-1', true), await workerRow('agent-2', false)];
  const [late, orphan, cancelled] = [await submit('timer'), await submit('timer'), await submit('timer')];
  await set(late, runningOn(alive, '-1 minute'));
  expect((await because('overdue', late)).sentence).toContain('worker agent-1 has not ended it');
  await set(orphan, runningOn(dead));
  expect(await because('orphaned', orphan)).toMatchObject({ sentence: expect.stringContaining('agent-2 died'), details: { crashes: 1 } });
  await set(cancelled, `${runningOn(alive)}, cancel_requested_at = now()`);
  expect((await because('cancelling', cancelled)).sentence).toContain('agent-1 is told');
});

test('waits that take more than a fleet: batch, restored, rate limited, business key', async () => {
  const waits = async (reason: string, wake = `now() + interval '1 hour'`): Promise<string> => {
    const id = await submit('timer');
    await set(id, `status = 'waiting', wait_reason = '${reason}', wake_at = ${wake}`);
    return id;
  };
  await because('batch', await waits('batch'));
  const restored = await waits('restored', 'NULL');
  expect((await because('restored', restored)).command).toBe(`mainstay runs resume ${publicId('run', restored)}`);
  expect((await api.call<Run>('POST', `/v1/runs/${publicId('run', restored)}/resume`, { key, body: {} })).body).toMatchObject({ waitReason: null });
  expect((await because('rate', await waits('rate'))).sentence).toContain('asks again at');
  const [limited, poor, used] = [await waits('rate'), await waits('rate'), await waits('rate')];
  for (const [run, code] of [[limited, 'rate_limited'], [poor, 'spend_limit'], [used, 'quota_exhausted']]) await api.fleet.rows(`INSERT INTO model_calls (tenant_id, run_id, step_seq, path, attempt, fence, agent, model, status, args_hash, error_code, reserved_micro_usd, finished_at)
    VALUES ('acme', $1, 1, '1', 1, 1, 'stuck', 'claude-haiku-5-5', 'failed', '\\x00', $2, 1, now())`, [run, code]);
  expect(await because('spend_limit', poor)).toMatchObject({ sentence: expect.stringContaining('spend limit is reached'), command: 'mainstay breakers close model:claude-haiku-5-5' });
  expect((await because('quota', used)).command).toBe('mainstay quotas list');
  expect((await because('rate_limited', limited)).sentence).toContain('The model claude-haiku-5-5 limits');
});

test('Redis that does not answer is said where it is the cause', async () => {
  const id = await submit('timer');
  await because('ready', id);
  redis.freeze();
  try {
    expect((await because('queue_silent', id)).command).toBe('mainstay doctor');
  } finally {
    redis.thaw();
  }
  await because('ready', id);
});

test('on a fleet that works: what runs wait for, each with what moves it', async () => {
  await new SharedCircuit(redis.client, base.keys.breaker('tool:flaky'), { openMs: 1_000, openCapMs: 1_000, probeMs: 1_000 }).trip({ forcedMs: 3_600_000 });
  await api.fleet.rows(`INSERT INTO budgets (tenant_id, subject, limit_micro_usd) VALUES ('acme', 'agent:stuck', 3)`);
  const printer = await limits.locks.hold(base.keys.lock('acme', 'printer'));
  atFileEnd(async () => { if (typeof printer === 'object') await printer.release(); });
  await api.fleet.worker();
  const of = async (why: Cause | 'fails', cause: Cause): Promise<[RunExplanation, string]> => { const id = await submit(why); return [await because(cause, id), publicId('run', id)]; };

  const [approval] = await of('approval', 'approval');
  expect(approval).toMatchObject({ sentence: 'It waits for a decision about "Delete the table".', command: expect.stringMatching(/^mainstay approvals approve apr_[0-9a-f]{32}$/) });
  const [signal, signalRun] = await of('signal', 'signal');
  expect(signal).toMatchObject({ sentence: expect.stringMatching(/the signal "go on" until \d{4}-/), command: `mainstay runs signal ${signalRun} 'go on'` });
  const [child] = await of('child', 'child');
  expect(child.command).toMatch(/^mainstay explain run_[0-9a-f]{32}$/);
  const [outcome, outcomeRun] = await of('outcome', 'outcome');
  expect(outcome).toMatchObject({ sentence: expect.stringContaining('whether unsure took effect'), command: expect.stringContaining(`mainstay runs settle ${outcomeRun} --step 1 --path `) });
  expect((await of('timer', 'timer'))[0].command).toBeNull();
  expect((await of('budget', 'budget'))[0]).toMatchObject({ sentence: expect.stringContaining('The budget of agent stuck has 3 micro-dollars left'), command: 'mainstay budgets set --agent stuck --limit DOLLARS', details: { wantsMicroUsd: expect.any(Number) } });
  expect((await of('breaker', 'breaker'))[0]).toMatchObject({ sentence: expect.stringMatching(/The tool flaky fails too often: its breaker is open until \d{4}-/), details: { callee: 'tool:flaky' } });
  expect((await of('lock', 'lock'))[0].details).toMatchObject({ locks: ['printer'] });
  expect((await of('retry', 'retry'))[0]).toMatchObject({ sentence: expect.stringContaining('failed 1 of 4 times, the last time with step_failed: the printer is on fire'), details: { attempt: 1, attempts: 4 } });
  const [ended, endedRun] = await of('fails', 'ended');
  expect(ended).toMatchObject({ status: 'failed', sentence: expect.stringContaining('failed with data_invalid: no such printer'), command: `mainstay runs retry ${endedRun}` });

  const running = (await base.submit({ tenant: 'acme', door: 'test', agent: 'held', input: { word: 'one' } })).id;
  await held.begun('one');
  expect(await because('running', running)).toMatchObject({ sentence: expect.stringMatching(/^Worker w1 runs its step "hold", at the latest until \d{4}-/), details: { worker: 'w1', step: 'hold', attempt: 0, leaseLeftMs: expect.any(Number) } });
  expect((await api.call('POST', `/v1/runs/${publicId('run', running)}/pause`, { key })).status).toBeLessThan(300);
  expect((await because('running', running)).sentence).toContain('It pauses when the step has ended');
  held.letGo('one');
  expect(await because('paused', running)).toMatchObject({ sentence: expect.stringMatching(/^It was paused by key:/), command: `mainstay runs resume ${publicId('run', running)}` });
});

test('the command line prints the same answer, and every cause was seen', async () => {
  const id = await submit('timer');
  const answer = await because('timer', id);
  const env = { MAINSTAY_URL: api.url, MAINSTAY_API_KEY: key };
  const json = await spawnCli(['explain', publicId('run', id), '--json'], { env });
  expect(JSON.parse(json.out)).toEqual(answer);
  expect((await spawnCli(['explain', publicId('run', id)], { env })).out).toContain(answer.sentence);
  expect(await spawnCli(['explain', 'run_x'], { env })).toMatchObject({ code: 1, out: '', err: expect.stringContaining('not_found') });
  expect([...seen].sort()).toEqual([...CAUSES].sort());
});
