// Breakers of several processes (each its own `Breakers`) over one Redis of this file's own, which it freezes and wipes.
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Redis } from 'ioredis';
import { startModelStub } from '../src/dev/model-stub/server.ts';
import { MainstayError, type ErrorCode } from '../src/domain/errors.ts';
import { Breakers, type BreakerOptions, type BreakerState } from '../src/limits/breakers.ts';
import { guardedCall } from '../src/limits/guarded-call.ts';
import { openLimitsRedis } from '../src/limits/redis-script.ts';
import { makeLog } from '../src/log.ts';
import { makeAnthropicModel } from '../src/model/anthropic.ts';
import { redisKeys, redisReady } from '../src/redis.ts';
import { startOwnRedis, type OwnRedis } from './support/own-redis.ts';

const log = makeLog('silent', 'test');
const keys = redisKeys('limits-test');
let own: OwnRedis;
let redis: Redis;

beforeAll(async () => {
  own = await startOwnRedis();
  redis = openLimitsRedis(own.url, log);
  await redisReady(redis);
});
beforeEach(() => own.client.flushall());
afterAll(async () => {
  redis.disconnect();
  await own.stop();
});

/** Runs `work` while Redis accepts bytes and answers nothing. */
async function whileFrozen<T>(work: () => Promise<T>): Promise<{ result: T; tookMs: number }> {
  own.freeze();
  const startedMs = performance.now();
  try {
    return { result: await work(), tookMs: performance.now() - startedMs };
  } finally {
    own.thaw();
    await own.client.ping();
  }
}
const codeOfFailure = (call: Promise<unknown>): Promise<string> => call.then(() => 'succeeded', (error: unknown) => (error instanceof MainstayError ? error.code : `foreign: ${String(error)}`));
/** For a test that does not see it close: however slow the machine, it is open until the end. */
const STAYS_OPEN = { openMs: 60_000, openCapMs: 60_000 };
const after = (ms: number): Promise<void> => new Promise((resolve) => { setTimeout(resolve, ms); });

describe('breakers', () => {
  const open: Breakers[] = [];
  afterEach(() => { for (const breakers of open.splice(0)) breakers.close(); });
  /** One process of the fleet: times short enough for a test to see a whole life, and long beside a slow machine's pauses. */
  function fleetMember(options: Partial<BreakerOptions> = {}): { breakers: Breakers; seen: string[] } {
    const seen: string[] = [];
    const onState = (name: string, state: BreakerState): void => { seen.push(`${name} ${state}`); };
    const breakers = new Breakers({ redis, keys, log, onState, minimumCalls: 4, openMs: 1_200, openCapMs: 4_000, probeMs: 1_600, trustClosedMs: 0, ...options });
    open.push(breakers);
    return { breakers, seen };
  }
  const failing = (code: ErrorCode, retryAfterMs?: number) => async (): Promise<never> => { throw new MainstayError(code, 'on purpose', retryAfterMs === undefined ? {} : { retryAfterMs }); };
  const works = async (): Promise<string> => 'fine';
  async function fail(breakers: Breakers, times: number, code: ErrorCode = 'model_unavailable', name = 'model:m'): Promise<string[]> {
    const codes: string[] = [];
    for (let call = 0; call < times; call++) codes.push(await codeOfFailure(breakers.run(name, failing(code))));
    return codes;
  }
  const openMsLeft = async (breakers: Breakers, name = 'model:m'): Promise<number | undefined> => {
    const error = await breakers.run(name, works).then(() => undefined, (thrown: unknown) => thrown as MainstayError);
    return error?.retryAfterMs;
  };

  test('failures that a caller met in other processes open it for the fleet, enough of them', async () => {
    const [a, b, c] = [fleetMember(), fleetMember(), fleetMember()];
    for (const [at, { breakers }] of [a, b, c].entries()) { // one each: none of them has seen enough by itself
      await fail(breakers, 1);
      expect(await breakers.openAfter('model:m', at + 1)).toBe(0);
    }
    await fail(a.breakers, 1);
    expect(await a.breakers.openAfter('model:m', 4)).toBeGreaterThan(0);
    expect(await codeOfFailure(b.breakers.run('model:m', works))).toBe('breaker_open');
    await after(1_400);
    expect([await b.breakers.run('model:m', works), await a.breakers.run('model:m', works)]).toEqual(['fine', 'fine']);
  });

  test('opens at the minimum of calls, not before, for the whole fleet, and says when to come back', async () => {
    const [one, two] = [fleetMember(STAYS_OPEN), fleetMember(STAYS_OPEN)];
    expect(await fail(one.breakers, 3)).toEqual(['model_unavailable', 'model_unavailable', 'model_unavailable']);
    expect(await two.breakers.run('model:m', works)).toBe('fine');
    expect(await fail(one.breakers, 2)).toEqual(['model_unavailable', 'breaker_open']);
    let called = false;
    expect(await codeOfFailure(two.breakers.run('model:m', async () => { called = true; }))).toBe('breaker_open');
    expect(called).toBe(false);
    expect(await openMsLeft(two.breakers)).toBeGreaterThan(0);
    expect(await two.breakers.run('model:other', works)).toBe('fine'); // breakers are by name
    expect([one.seen, two.seen]).toEqual([['model:m closed', 'model:m open'], ['model:m closed', 'model:m open', 'model:other closed']]);
  });

  test('the caller’s own faults, limits and cancels never open it; a foreign error does', async () => {
    const { breakers } = fleetMember(STAYS_OPEN);
    for (const code of ['input_invalid', 'tool_input_invalid', 'tool_denied', 'rate_limited', 'model_rejected', 'cancelled', 'fenced'] as const) await fail(breakers, 6, code);
    expect(await breakers.run('model:m', works)).toBe('fine');
    const crashes = async (): Promise<never> => { throw new TypeError('a bug in the tool'); };
    for (let call = 0; call < 6; call++) await codeOfFailure(breakers.run('tool:t', crashes));
    expect(await codeOfFailure(breakers.run('tool:t', works))).toBe('breaker_open');
  });

  test('after its time one probe goes out for the whole fleet; its success closes it everywhere', async () => {
    const fleet = [fleetMember(), fleetMember(), fleetMember()];
    await fail(fleet[0]?.breakers as Breakers, 4);
    await after(1_280);
    let letGo = (): void => undefined;
    let probes = 0;
    const probe = async (): Promise<string> => { probes++; await new Promise<void>((resolve) => { letGo = resolve; }); return 'fine'; };
    const calls = fleet.map(({ breakers }) => codeOfFailure(breakers.run('model:m', probe)));
    const refused = await Promise.race([Promise.all(calls.map((call) => call.then((code) => code === 'breaker_open'))), after(200).then(() => 'waiting')]);
    expect(refused).toBe('waiting'); // the probe is out
    expect(probes).toBe(1);
    letGo();
    expect((await Promise.all(calls)).sort()).toEqual(['breaker_open', 'breaker_open', 'succeeded']);
    await after(1_600); // those refused may have been told to wait for the probe's life
    for (const { breakers } of fleet) expect(await breakers.run('model:m', works)).toBe('fine');
    expect(await own.client.exists(keys.breaker('model:m'))).toBe(0);
  });

  test('a failed probe doubles the time; one that proves nothing lets the next be the probe', async () => {
    const { breakers, seen } = fleetMember();
    await fail(breakers, 4);
    await after(1_280);
    expect(await codeOfFailure(breakers.run('model:m', failing('input_invalid')))).toBe('input_invalid'); // a filtered error must not close it
    expect(breakers.stateOf('model:m')).toBe('half_open');
    const failedAfterMs = Date.now();
    expect(await fail(breakers, 1)).toEqual(['model_unavailable']); // is the probe, and fails
    const untilMs = Number(await own.client.hget(keys.breaker('model:m'), 'openUntil'));
    expect(untilMs - failedAfterMs).toBeGreaterThan(1_800);
    expect(untilMs - Date.now()).toBeLessThanOrEqual(2_400);
    expect(await fail(breakers, 1)).toEqual(['breaker_open']);
    await after(2_480);
    expect(await breakers.run('model:m', works)).toBe('fine');
    expect(seen.map((line) => line.split(' ')[1])).toEqual(['closed', 'open', 'half_open', 'open', 'half_open', 'closed']);
  });

  test('a probe whose process died is given up for another', async () => {
    const { breakers } = fleetMember();
    await fail(breakers, 4);
    await after(1_280);
    void breakers.run('model:m', () => new Promise(() => undefined)).catch(() => undefined); // never answers
    await after(20);
    const other = fleetMember().breakers;
    expect(await codeOfFailure(other.run('model:m', works))).toBe('breaker_open');
    await after(1_680);
    expect(await other.run('model:m', works)).toBe('fine');
  });

  test('a callee that names its own time (a spend limit) opens it at once for that long', async () => {
    const [one, two] = [fleetMember(), fleetMember()];
    const error = await one.breakers.run('model:m', failing('spend_limit', 900_000)).catch((thrown: unknown) => thrown as MainstayError);
    expect(error).toMatchObject({ code: 'spend_limit', retryAfterMs: 900_000 });
    for (const { breakers } of [one, two]) expect(await openMsLeft(breakers)).toBeGreaterThan(890_000);
  });

  test('with Redis gone each process judges for itself, quickly, and tells the fleet afterwards', async () => {
    const [one, two] = [fleetMember(), fleetMember()];
    const { result: codes, tookMs } = await whileFrozen(() => fail(one.breakers, 6));
    expect(codes).toEqual([...Array.from({ length: 4 }, () => 'model_unavailable'), 'breaker_open', 'breaker_open']);
    expect(tookMs).toBeLessThan(1_700); // asked in vain, it stops asking
    expect(await two.breakers.run('model:m', works)).toBe('fine'); // was not told
    await after(1_000);
    expect(await codeOfFailure(one.breakers.run('model:m', works))).toBe('breaker_open');
    expect(await codeOfFailure(two.breakers.run('model:m', works))).toBe('breaker_open');
  });

  test('with Redis gone a process sends its own probe, which a filtered error does not pass', async () => {
    const { breakers } = fleetMember();
    const { result } = await whileFrozen(async () => {
      await fail(breakers, 4);
      await after(1_280);
      const filtered = await fail(breakers, 2, 'input_invalid');
      await after(1_280);
      return [...filtered, await breakers.run('model:m', works), await breakers.run('model:m', works)];
    });
    expect(result).toEqual(['input_invalid', 'breaker_open', 'fine', 'fine']);
  });

  test('a model that overloads is left alone by the fleet, and a spend limit is asked about once', async () => {
    const stub = await startModelStub();
    try {
      const model = makeAnthropicModel({ apiKey: 'stub', baseUrl: stub.url, log });
      const ask = ({ breakers }: { breakers: Breakers }, name: string): Promise<string> => codeOfFailure(breakers.run(name, (signal) =>
        model.turn({ model: 'claude-haiku-5-5', system: '', messages: [{ role: 'user', content: [{ type: 'text', text: 'Hi' }] }], maxTokens: 10 }, { signal })));
      const [one, two] = [fleetMember(STAYS_OPEN), fleetMember(STAYS_OPEN)];
      stub.addFault({ kind: 'overloaded' }, 20);
      for (let call = 0; call < 20; call++) await ask(call % 2 ? one : two, 'model:busy');
      expect(stub.calls()).toHaveLength(7); // four of one process, three of the other
      stub.reset();
      stub.addFault({ kind: 'spend_limit' }, 10);
      for (let call = 0; call < 6; call++) expect(await ask(call % 2 ? one : two, 'model:poor')).toBe('spend_limit');
      expect(stub.calls()).toHaveLength(1);
    } finally {
      await stub.stop();
    }
  });

  test('each call has its own signal: one over its time does not disturb another, and its late end is unheard', async () => {
    const { breakers } = fleetMember();
    const signals: AbortSignal[] = [];
    const hangs = (signal: AbortSignal): Promise<string> => { signals.push(signal); return new Promise(() => undefined); };
    const slow = async (signal: AbortSignal): Promise<string> => { signals.push(signal); await after(100); return 'fine'; };
    const [late, fine] = await Promise.all([codeOfFailure(breakers.run('tool:t', hangs, { timeoutMs: 40 })), breakers.run('tool:t', slow)]);
    expect([late, fine]).toEqual(['tool_timeout', 'fine']);
    expect(signals.map((signal) => signal.aborted)).toEqual([true, false]);
    const caller = new AbortController();
    const stopped = codeOfFailure(breakers.run('tool:t', hangs, { signal: caller.signal }));
    await after(10);
    caller.abort(new MainstayError('fenced', 'the run was lost'));
    expect(await stopped).toBe('fenced');
    expect(await codeOfFailure(guardedCall(hangs, { signal: AbortSignal.abort() }))).toBe('cancelled');
    expect(signals).toHaveLength(3); // an aborted caller never begins
  });
});
