// Between a caller and the queue: answers that never arrive, crashes between the row and its hint, and hints by the dozen. One
// key is one run, an accepted run starts, and a hint decides nothing.
import { monoMs, pause } from '../../../src/clock.ts';
import { SCOPES } from '../../../src/domain/status.ts';
import { LEASE_MS } from '../../../src/domain/tunables.ts';
import { startAll } from '../../../src/service.ts';
import { createKey, createTenant } from '../../../src/store/engine/api-keys.ts';
import { assembleApi } from '../../../workers/assemble-api.ts';
import { check } from '../check.ts';
import type { Ground } from '../ground.ts';
import { Proxy } from '../proxy.ts';
import { defineRow, holds } from '../row.ts';

export interface Door { readonly port: number; readonly key: string; close(): Promise<void> }

/** The product's HTTP API over the harness's own base, with a key of tenant `acme`. */
export async function openDoor(ground: Ground): Promise<Door> {
  const base = await ground.base();
  const api = assembleApi({ ...base, config: { ...base.config, PORT: 0, HOST: '127.0.0.1', RATE_LIMIT: 1_000_000, SUBMIT_RATE_LIMIT: 1_000_000 } });
  const stop = await startAll(api.services, base.log);
  await createTenant(base.engine.pool, 'acme');
  const { key } = await createKey(base.engine.pool, { tenant: 'acme', user: undefined, name: 'faults', scopes: SCOPES, expiresAt: undefined }, 'test');
  return { port: api.server.port ?? 0, key, close: async () => { await stop(); await api.close(); } };
}

export interface Posted { readonly status: number; readonly id: string | undefined; readonly code: string | undefined; readonly retryAfter: string | null }

/** The wire's `run_…` as the database's uuid. */
export const uuidOf = (id: string): string => id.replace(/^run_(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');

/** POST /v1/runs; undefined: no answer came. */
export async function post(port: number, key: string, idempotencyKey: string, body: unknown, timeoutMs: number): Promise<Posted | undefined> {
  try {
    const answer = await fetch(`http://127.0.0.1:${port}/v1/runs`, { method: 'POST', signal: AbortSignal.timeout(timeoutMs), headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json', 'idempotency-key': idempotencyKey }, body: JSON.stringify(body) });
    const said = (await answer.json()) as { id?: string; code?: string };
    return { status: answer.status, id: said.id, code: said.code, retryAfter: answer.headers.get('retry-after') };
  } catch {
    return undefined;
  }
}

/** As a careful client does: 503 means later, with the same key. */
async function postUntilTaken(ground: Ground, port: number, key: string, idempotencyKey: string, body: unknown): Promise<Posted | undefined> {
  return ground.until('the post is taken', () => post(port, key, idempotencyKey, body, ground.patienceMs), (one) => one?.status !== 503 || one.retryAfter === null);
}

export const R24 = defineRow({
  id: 'R24', title: 'a client that times out and posts again',
  short: { requests: 8, delayMs: 1_500, timeoutMs: 400 }, full: { requests: 100, delayMs: 12_000, timeoutMs: 2_000 },
  async inject(ground, { requests, delayMs, timeoutMs }) {
    const door = await openDoor(ground);
    const slow = await Proxy.open(door.port, ground.random);
    const body = (n: number) => ({ agent: 'fault', input: { sink: ground.sink.url, plan: [[{ do: 'keyed', line: 'effect' }]], mark: `n${n}` } });
    let timedOut = 0;
    const ids: (string | undefined)[] = [];
    const repeats: (Posted | undefined)[] = [];
    await ground.worker();
    try {
      slow.delay(delayMs / 2); // there and back
      await Promise.all(Array.from({ length: requests }, async (_, n) => {
        if ((await post(slow.port, door.key, `k${n}`, body(n), timeoutMs)) === undefined) timedOut++; // on its way, and given up
        const together = await Promise.all([1, 2, 3].map(() => postUntilTaken(ground, door.port, door.key, `k${n}`, body(n))));
        await pause(delayMs); // the slow one arrives as well
        repeats.push(...together, await postUntilTaken(ground, door.port, door.key, `k${n}`, body(n)));
        ids.push(...together.map((one) => one?.id));
      }));
      const other = await post(door.port, door.key, 'k0', body(99_999), ground.patienceMs);
      const runs = await ground.rows<{ id: string; key: string }>(`SELECT id, idempotency_key AS key FROM agent_runs`);
      for (const { id, key } of runs) ground.accepts.push({ tenant: 'acme', key, id, atMs: monoMs() });
      await ground.rest();
      return {
        landed: { 'posts given up by their client': timedOut, 'posts repeated': repeats.length },
        held: [
          holds('every answer is 202, and one id for each key', repeats.every((one) => one?.status === 202 || one?.status === 200) && new Set(ids).size === requests, { ids: new Set(ids).size, statuses: [...new Set(repeats.map((one) => one?.status))] }),
          holds('the same key with another body: 422', other?.status === 422 && other.code === 'idempotency_conflict', other), holds('as many runs as keys', runs.length === requests, `${runs.length} runs`), ...(await check(ground)),
        ],
      };
    } finally {
      await slow.close();
      await door.close();
    }
  },
});

export const R25 = defineRow({
  id: 'R25', title: 'crash between the row and its hint', needs: { redisProxy: true },
  short: { crashes: 3, withinMs: 30_000 }, full: { crashes: 30, withinMs: 30_000 },
  async inject(ground, { crashes, withinMs }) {
    let killed = 0;
    for (let n = 0; n < crashes; n++) {
      const key = `crash-${n}`;
      const submitter = await ground.process({ role: 'submit', args: [JSON.stringify([{ tenant: 'acme', door: 'test', agent: 'fault', idempotencyKey: key, input: { sink: ground.sink.url, plan: [[{ do: 'keyed', line: 'effect' }]], mark: key } }])] });
      ground.redisProxy?.blackhole('standing'); // it hangs in the offer, its row committed
      submitter.tell('go');
      const [row] = await ground.until('the row is there', () => ground.rows<{ id: string }>(`SELECT id FROM agent_runs WHERE idempotency_key = $1`, [key]), (rows) => rows.length === 1);
      const told = submitter.lines.some(({ text }) => text.startsWith('accepted'));
      await submitter.kill();
      if (!told && submitter.child.signalCode === 'SIGKILL') killed++;
      ground.accepts.push({ tenant: 'acme', key, id: row?.id ?? '', atMs: monoMs() });
    }
    ground.redisProxy?.pass();
    const offered = (await ground.redis.client.keys('*')).filter((name) => !name.endsWith(':meta')).length; // BullMQ marks a queue it has opened
    const startMs = monoMs();
    await ground.maintenance();
    await ground.worker();
    await ground.rest();
    const tookMs = monoMs() - startMs;
    return {
      landed: { 'submitters killed between row and hint': killed, 'rows without a hint': offered === 0 ? crashes : 0 },
      held: [holds(`started and ended within ${withinMs} ms`, tookMs <= withinMs, `${Math.round(tookMs)} ms, with the start of the fleet`), ...(await check(ground))],
    };
  },
});

export const R26 = defineRow({
  id: 'R26', title: 'the same run offered fifty times',
  short: { runs: 5, times: 50 }, full: { runs: 100, times: 50 },
  async inject(ground, { runs, times }) {
    const queue = (await ground.base()).queues.get('agent');
    if (!queue) throw new Error('no pool agent');
    const plan = [[{ do: 'note' as const, line: 'ran' }, { do: 'keyed' as const, line: 'effect' }, { do: 'work' as const, ms: 300 }]];
    const accepted = await ground.submitMany(runs, plan);
    const flood = (): Promise<unknown> => Promise.all(accepted.flatMap(({ tenant, id }) => Array.from({ length: times }, async (_, n) => {
      if (n % 2 === 0) await queue.ready.offer({ tenant, run: id, order: n });
      else await queue.wakeUps.offerLater({ tenant, run: id }, 1 + (n % 7) * 100);
    })));
    await flood();
    await ground.workers(2, { leaseMs: LEASE_MS }); // none is to be taken over, however slow the machine
    await ground.maintenance();
    await ground.until('runs are under way', () => ground.sink.of({ kind: 'note' }).length, (n) => n >= 1);
    await flood(); // and again, while they run
    await queue.wakeUps.ring(times);
    await ground.rest();
    await ground.until('all hints are used up', async () => ({ ...(await queue.wakeUps.counts()), ...(await queue.ready.depth()) }), ({ waiting, delayed, held }) => waiting === 0 && delayed === 0 && held === 0);
    const rows = await ground.runs();
    const ran = ground.sink.of({ kind: 'note' }).length;
    return {
      landed: { hints: 2 * runs * times + times },
      held: [holds('each run was executed once', ran === runs && rows.every(({ crashes, attempt }) => crashes === 0 && attempt === 0), `${ran} executions of ${runs} runs`), ...(await check(ground))],
    };
  },
});
