// Locks, rates, session state and live job state on a Redis of this file's own, which it freezes and wipes.
import { afterAll, beforeAll, beforeEach, describe, expect, test } from '@jest/globals';
import type { Redis } from 'ioredis';
import { emptySession, noteStep, parseSession, RECENT_STEPS, type SessionState } from '../src/domain/session.ts';
import { JobStates } from '../src/limits/job-state.ts';
import { LockLease, Locks } from '../src/limits/locks.ts';
import { Rates } from '../src/limits/rates.ts';
import { openLimitsRedis } from '../src/limits/redis-script.ts';
import { SessionStates } from '../src/limits/session-state.ts';
import { makeLog } from '../src/log.ts';
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

/** What has a limit of its own has ended by then on the busiest machine; what has none waits for as long as Redis is frozen. */
const BOUND_MS = 10_000;

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
const aborted = (signal: AbortSignal): Promise<void> => new Promise((resolve) => { if (signal.aborted) resolve(); else signal.addEventListener('abort', () => resolve(), { once: true }); });
const after = (ms: number): Promise<void> => new Promise((resolve) => { setTimeout(resolve, ms); });

describe('locks', () => {
  const key = keys.lock('acme', 'report');

  test('one holder at a time; only its token renews and releases', async () => {
    const locks = new Locks(redis);
    expect(await locks.acquire(key, 'one', 5_000)).toBe('held');
    expect(await locks.acquire(key, 'two', 5_000)).toBe('busy');
    expect(await locks.acquire(key, 'one', 5_000)).toBe('held');
    expect(await locks.renew(key, 'two', 60_000)).toBe('lost');
    expect(await locks.release(key, 'two')).toBe(false);
    expect(await own.client.pttl(key)).toBeLessThanOrEqual(5_000);
    expect(await locks.renew(key, 'one', 60_000)).toBe('held');
    expect(await own.client.pttl(key)).toBeGreaterThan(5_000);
    expect(await locks.release(key, 'one')).toBe(true);
    expect(await locks.acquire(key, 'two', 5_000)).toBe('held');
  });

  test('a lease is renewed past its life, ends once, and is free afterwards', async () => {
    const locks = new Locks(redis);
    const lease = await locks.hold(key, 1_500);
    if (!(lease instanceof LockLease)) throw new Error(`not held: ${lease}`);
    await after(2_000);
    lease.throwIfLost();
    expect(await locks.hold(key, 150)).toBe('busy');
    await Promise.all([lease.release(), lease.release()]);
    expect([lease.endReason, lease.signal.aborted]).toEqual(['released', true]);
    expect(() => lease.throwIfLost()).toThrow(expect.objectContaining({ code: 'lock_busy' }));
    expect(await own.client.exists(key)).toBe(0);
  });

  test('a lease whose key was lost or taken tells its holder, and does not touch the new owner', async () => {
    const lease = await new Locks(redis).hold(key, 150) as LockLease;
    await own.client.set(key, 'another');
    await aborted(lease.signal);
    expect(lease.endReason).toBe('lost');
    await lease.release();
    expect(await own.client.get(key)).toBe('another');
  });

  test('several locks are taken together or not at all', async () => {
    const locks = new Locks(redis);
    const wanted = ['c', 'a', 'b', 'a'].map((name) => keys.lock('acme', name));
    const leases = await locks.holdAll(wanted, 5_000) as LockLease[];
    expect(leases.map((lease) => lease.key)).toEqual([...new Set(wanted)].sort());
    await leases[2]?.release();
    expect(await locks.holdAll([wanted[0] ?? '', wanted[1] ?? ''], 5_000)).toBe('busy');
    expect(await own.client.exists(wanted[0] ?? '')).toBe(0); // not left behind
    await Promise.all(leases.map((lease) => lease.release()));
  });

  test('a frozen Redis gives nobody a lock, within the limit; a holder stops by its own clock', async () => {
    const locks = new Locks(redis);
    const lease = await locks.hold(keys.lock('acme', 'mine'), 400) as LockLease;
    const { result, tookMs } = await whileFrozen(async () => {
      const answer = await locks.acquire(key, 'one', 5_000);
      await aborted(lease.signal);
      return answer;
    });
    expect(result).toBe('unavailable');
    expect(lease.endReason).toBe('lost');
    expect(tookMs).toBeLessThan(BOUND_MS);
  });
});

describe('rates', () => {
  const rates = (): Rates => new Rates(redis, keys, { requestsPerMinute: 3, submissionsPerMinute: 2 });

  test('count down, refuse beyond the limit, and say when the window ends', async () => {
    const answers = [];
    for (let call = 0; call < 4; call++) answers.push(await rates().request('key-1')); // a new process each time: Redis counts
    expect(answers.map(({ allowed, remaining }) => [allowed, remaining])).toEqual([[true, 2], [true, 1], [true, 0], [false, 0]]);
    expect(answers.every(({ limit, resetS }) => limit === 3 && resetS >= 1 && resetS <= 60)).toBe(true);
    expect((await rates().request('key-2')).allowed).toBe(true);
  });

  test('tenants and users are counted apart, whatever their names', async () => {
    for (const user of ['ada', 'ada']) await rates().submission('acme', user);
    expect((await rates().submission('acme', 'ada')).allowed).toBe(false);
    for (const [tenant, user] of [['acme', 'bob'], ['globex', 'ada'], ['acme:ada', ''], ['acme', undefined], ['key', 'key-1']] as const) expect(await rates().submission(tenant, user)).toMatchObject({ allowed: true, remaining: 1 });
    expect(await own.client.keys(`${keys.ratePrefix}*`)).toContain(keys.rate('acme', 'ada'));
    expect(await own.client.ttl(keys.rate('acme', 'ada'))).toBeGreaterThan(0);
  });

  test('with Redis gone a process counts for itself', async () => {
    const mine = rates();
    const { result, tookMs } = await whileFrozen(async () => {
      const allowed = [];
      for (let call = 0; call < 4; call++) allowed.push((await mine.request('key-9')).allowed);
      return allowed;
    });
    expect(result).toEqual([true, true, true, false]);
    expect(tookMs).toBeLessThan(BOUND_MS);
  });
});

describe('session state', () => {
  const states = (ttlS = 60): SessionStates => new SessionStates(redis, keys, log, ttlS);
  const state = (version: number, intent = 'return a parcel'): SessionState => ({ ...emptySession('2026-11-24T10:00:00Z', version), intent, user: { plan: 'pro' }, scratchpad: { seen: ['a', 1, null] } });
  const where = ['acme', 'ada', 'chat-1'] as const;

  test('comes back as it was, when it is as new as asked for', async () => {
    expect(await states().put(...where, state(3))).toBe('written');
    expect(await states().get(...where, 3)).toEqual(state(3));
    expect(await states().get(...where, 2)).toEqual(state(3));
    expect(await states().get(...where, 4)).toBeUndefined();
    expect(await states().get('acme', 'ada', 'chat-2', 0)).toBeUndefined();
    expect(await states().get('globex', 'ada', 'chat-1', 0)).toBeUndefined();
    expect(await states().get('acme', 'ada:chat-1', '', 0)).toBeUndefined();
  });

  test('is written only upward', async () => {
    await states().put(...where, state(5, 'five'));
    expect(await states().put(...where, state(5, 'another five'))).toBe('older');
    expect(await states().put(...where, state(4, 'four'))).toBe('older');
    expect((await states().get(...where, 0))?.intent).toBe('five');
    expect(await states().put(...where, state(10, 'ten'))).toBe('written'); // a number, not a text
    expect(await states().put(...where, state(9, 'nine'))).toBe('older');
  });

  test('what cannot be read counts as gone and is replaced', async () => {
    const key = keys.session(...where);
    for (const junk of ['', 'not json', '[]', '7', 'null', '{"version":"9"}', JSON.stringify({ ...state(9), flags: { a: 'yes' } })]) {
      await own.client.set(key, junk);
      expect(await states().get(...where, 0)).toBeUndefined();
    }
    await own.client.set(key, '{"version":"9"}');
    expect(await states().put(...where, state(1))).toBe('written');
  });

  test('lives as long as it is used, then is gone', async () => {
    const key = keys.session(...where);
    await states(60).put(...where, state(1));
    expect(await own.client.ttl(key)).toBeGreaterThan(50);
    await own.client.expire(key, 5);
    await states(60).get(...where, 0);
    expect(await own.client.ttl(key)).toBeGreaterThan(50);
    await own.client.expire(key, 5);
    expect(await states(60).touch(...where)).toBe(true);
    expect(await own.client.ttl(key)).toBeGreaterThan(50);
    expect(await states().touch('acme', 'ada', 'none')).toBe(false);
    await own.client.pexpire(key, 1);
    await after(20);
    expect(await states().get(...where, 0)).toBeUndefined();
  });

  test('a frozen Redis or a state that cannot be stored is an answer, not an error', async () => {
    const { result, tookMs } = await whileFrozen(() => Promise.all([states().get(...where, 0), states().put(...where, state(1)), states().touch(...where)]));
    expect(result).toEqual([undefined, 'failed', false]);
    expect(tookMs).toBeLessThan(BOUND_MS);
    expect(await states().put('acme', 'ada', 'chat-3', { ...state(1), scratchpad: { big: 'x'.repeat(300_000) } })).toBe('failed');
  });

  test('recent steps keep the last twenty', () => {
    const session = emptySession('2026-11-24T10:00:00Z');
    for (let step = 0; step < RECENT_STEPS + 5; step++) noteStep(session, 'run-1', `step-${step}`, '2026-11-24T10:00:00Z');
    expect(session.recentSteps).toHaveLength(20);
    expect(session.recentSteps[0]?.step).toBe('step-5');
    expect(parseSession(JSON.stringify(session))).toEqual(session);
  });
});

describe('live job state', () => {
  const run = '0190-run';
  const update = { status: 'running', step: 'think', progress: 0.5, note: 'half way', worker: 'w1', fence: 10n } as const;
  /** The write is fire and forget: asks until it is seen. */
  async function shown(jobs: JobStates, expected: object, of = run): Promise<void> {
    for (let tries = 0; tries < 400; tries++) {
      const state = await jobs.read(of);
      if (state && Object.entries(expected).every(([name, value]) => state[name as keyof typeof state] === value)) return;
      await after(5);
    }
    expect(await jobs.read(of)).toMatchObject(expected);
  }

  test('shows the latest, with a life, and never an older fence', async () => {
    const jobs = new JobStates(redis, keys);
    expect(await jobs.read(run)).toBeUndefined();
    for (let percent = 0; percent <= 100; percent++) jobs.write(run, { ...update, progress: percent / 100 });
    await shown(jobs, { progress: 1, fence: '10', step: 'think', note: 'half way', worker: 'w1' });
    expect(await own.client.ttl(keys.job(run))).toBeGreaterThan(3_000);
    new JobStates(redis, keys).write(run, { ...update, step: 'act', fence: 11n });
    await shown(jobs, { step: 'act', fence: '11' });
    jobs.write(run, { ...update, step: 'zombie', fence: 9n });
    jobs.write(run, { ...update, step: 'zombie', fence: 10n });
    const witness = new JobStates(redis, keys);
    witness.write('other', update); // later than the zombies', whose write is sent first
    await shown(witness, { step: 'think' }, 'other');
    expect(await jobs.read(run)).toMatchObject({ step: 'act', fence: '11' });
  });

  test('a run that ends sooner than it would be written leaves nothing, one that was written is cleared', async () => {
    const jobs = new JobStates(redis, keys);
    jobs.write('short', update);
    jobs.clear('short');
    jobs.write('long', update);
    await shown(jobs, { step: 'think' }, 'long');
    expect(await jobs.read('short')).toBeUndefined();
    jobs.clear('long');
    for (let tries = 0; tries < 400 && (await jobs.read('long')) !== undefined; tries++) await after(5);
    expect(await jobs.read('long')).toBeUndefined();
  });

  test('never throws: Redis frozen, numbers out of range, junk in the key', async () => {
    const jobs = new JobStates(redis, keys);
    await whileFrozen(async () => {
      jobs.write(run, update);
      jobs.write(run, update);
      expect(await jobs.read(run)).toBeUndefined();
    });
    jobs.write(run, { ...update, progress: Number.NaN, note: 'n'.repeat(1_000), fence: 12n });
    await shown(jobs, { progress: 0, fence: '12', note: 'n'.repeat(200) });
    await own.client.set(keys.job(run), 'junk');
    expect(await jobs.read(run)).toBeUndefined();
  });
});
