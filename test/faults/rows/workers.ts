// Workers that die, stop, block or are cut off between an effect and its record. Others take over within a lease and a few
// seconds; what the late one still does is refused, and no effect is doubled or guessed.
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { monoMs, pause } from '../../../src/clock.ts';
import { settleToolCall, unsettledCalls } from '../../../src/store/engine/outcomes.ts';
import { check } from '../check.ts';
import type { FleetProcess } from '../fleet-process.ts';
import type { Ground } from '../ground.ts';
import { HANG_TIMEOUT_MS, type Plan } from '../machines.ts';
import { defineRow, holds, type Claim } from '../row.ts';
import { pick } from '../seed.ts';
import type { SinkRequest } from '../sink.ts';

/** Longest takeover that is promised. The short form adds what a busy machine of two cores may cost. */
const takeoverMs = (ground: Ground): number => ground.leaseMs + (ground.form === 'short' ? 15_000 : 5_000);

/** Every place where a run of this plan can be inside a call when its worker dies. */
const PLACES: readonly { readonly name: string; readonly at: (request: SinkRequest) => boolean }[] = [
  { name: 'before the effect', at: ({ line }) => line === 'before' },
  { name: 'inside the keyed effect', at: ({ line }) => line === 'effect' },
  { name: 'after the effect, before the checkpoint', at: ({ line }) => line === 'after' },
  { name: 'in the next step', at: ({ line }) => line === 'next' },
];
const JOURNEY: Plan = [[{ do: 'keyed', line: 'first' }], [{ do: 'note', line: 'before' }, { do: 'keyed', line: 'effect' }, { do: 'note', line: 'after' }], [{ do: 'note', line: 'next' }, { do: 'keyed', line: 'last' }]];

/** Runs that were claimed again after a crash, told by two fences among the requests of one run. */
export const takenOver = (requests: readonly SinkRequest[]): number => {
  const pids = new Map<string, Set<number>>();
  for (const { run, pid } of requests) pids.set(run, (pids.get(run) ?? new Set()).add(pid));
  return [...pids.values()].filter((of) => of.size > 1).length;
};

export const R1 = defineRow({
  id: 'R1', title: 'SIGKILL of a worker inside a step',
  short: { storm: 12, kills: 1, everyMs: 700 }, full: { storm: 300, kills: 30, everyMs: 2_000 },
  async inject(ground, { storm, kills, everyMs }) {
    await ground.maintenance();
    const late: number[] = [];
    let [first, second] = [await ground.worker(), await ground.worker()];
    const fleet = (): FleetProcess[] => [first, second];
    const replace = async (dead: FleetProcess): Promise<void> => {
      const fresh = await ground.worker();
      if (dead === first) first = fresh; else second = fresh;
    };
    for (const { at } of PLACES) {
      ground.sink.hold(at);
      const inside = ground.sink.next(at);
      const { id } = await ground.submit(JOURNEY);
      const { pid } = await inside;
      const holder = fleet().find((one) => one.pid === pid);
      const again = ground.sink.next((request) => request.run === id && request.pid !== pid);
      await holder?.kill();
      const killedMs = monoMs();
      const fresh = holder && replace(holder);
      ground.sink.release();
      await ground.until('the run is taken over', () => Promise.race([again, pause(50)]), (request) => request !== undefined);
      late.push(monoMs() - killedMs);
      await fresh;
    }
    const stormed = ground.submitMany(storm, (n) => [[{ do: 'work', ms: 200 }, { do: 'keyed', line: `s${n}` }], [{ do: 'work', ms: 200 }], [{ do: 'keyed', line: `t${n}` }]]);
    for (let n = 0; n < kills; n++) {
      await pause(everyMs * (0.5 + ground.random()));
      const dead = pick(fleet(), ground.random);
      await dead.kill();
      await replace(dead);
    }
    await stormed;
    await ground.rest();
    const failed = (await ground.runs()).filter(({ status }) => status !== 'completed');
    return {
      landed: { kills: PLACES.length + kills, takeovers: takenOver(ground.sink.requests) },
      held: [
        holds(`taken over within ${takeoverMs(ground)} ms`, late.every((ms) => ms <= takeoverMs(ground)), PLACES.map(({ name }, n) => `${name}: ${Math.round(late[n] ?? 0)} ms`).join(', ')),
        holds('all completed', failed.length === 0, failed.slice(0, 3)), ...(await check(ground)),
      ],
    };
  },
});

/** A worker loses its runs while it is away, and comes back to them. What it did afterwards under the old claim. */
async function zombie(ground: Ground, runs: number, away: (worker: FleetProcess, others: () => Promise<unknown>) => Promise<void>, plan: Plan): Promise<{ takeovers: number; zombieCalls: number; fencedLines: number; sinceMs: number }> {
  const late = await ground.worker({ concurrency: runs + 1 });
  await ground.maintenance();
  ground.sink.hold(({ line, pid }) => line === 'inside' && pid === late.pid);
  const inside = ground.sink.next(({ line }) => line === 'inside', runs);
  const accepted = await ground.submitMany(runs, plan);
  await inside;
  const sinceMs = monoMs();
  await away(late, () => ground.worker({ concurrency: runs + 1 }));
  ground.sink.release();
  await ground.rest();
  await ground.until('the late worker has found out', () => late.said(/fenced|lease not renewed|registered/, sinceMs).length, (n) => n > 0);
  await ground.submit([[{ do: 'note', line: 'still alive' }]]);
  await ground.rest();
  const theirs = new Map(accepted.map(({ id }) => [id, ground.sink.requests.filter(({ run, pid }) => run === id && pid !== late.pid)]));
  const zombieCalls = ground.sink.requests.filter(({ pid, run, atMs, kind }) => pid === late.pid && kind === 'keyed' && (theirs.get(run)?.some((other) => other.atMs < atMs) ?? false)).length;
  return { takeovers: [...theirs.values()].filter((requests) => requests.length > 0).length, zombieCalls, fencedLines: late.said(/fenced/, sinceMs).length, sinceMs };
}

const RETURNS: Plan = [[{ do: 'keyed', line: 'first' }], [{ do: 'note', line: 'inside' }, { do: 'keyed', line: 'effect' }], [{ do: 'keyed', line: 'last' }]];

export const R2 = defineRow({
  id: 'R2', title: 'SIGSTOP of a worker for two leases, then SIGCONT',
  short: { runs: 4, leases: 2 }, full: { runs: 20, leases: 2 },
  async inject(ground, { runs, leases }) {
    const { takeovers, zombieCalls, fencedLines } = await zombie(ground, runs, async (worker, others) => {
      worker.freeze();
      await others();
      await pause(leases * ground.leaseMs + 500);
      await ground.until('others have taken over', () => ground.runs(), (rows) => rows.every(({ status }) => status === 'completed'));
      worker.thaw();
    }, RETURNS);
    return {
      landed: { takeovers, 'ms stopped': leases * ground.leaseMs },
      held: [holds('the late worker called no tool under its old claim', zombieCalls === 0, `${zombieCalls} calls`), holds('it says that it is fenced', fencedLines > 0, `${fencedLines} lines`), ...(await check(ground))],
    };
  },
});

export const R3 = defineRow({
  id: 'R3', title: 'event loop of a worker blocked for several leases',
  short: { runs: 3, blockMs: 5_000 }, full: { runs: 10, blockMs: 60_000 },
  async inject(ground, { runs, blockMs }) {
    const { takeovers, zombieCalls } = await zombie(ground, runs, async (worker, others) => {
      const enough = join(ground.dir, 'enough');
      const once = ground.sink.next(({ kind }) => kind === 'once');
      await ground.submit([[{ do: 'block', ms: blockMs, file: enough }, { do: 'keyed', line: 'after the block' }]]);
      const blocked = await once;
      if (blocked.pid !== worker.pid) throw new Error('another worker blocked');
      ground.sink.release(); // answers wait in its sockets until it comes back
      await others();
      await pause(blockMs);
      await ground.until('others have taken over', () => ground.runs(), (rows) => rows.every(({ status }) => status === 'completed')).finally(() => writeFileSync(enough, ''));
    }, RETURNS);
    return {
      landed: { 'ms blocked': ground.sink.of({ kind: 'once' }).length > 0 ? blockMs : 0, takeovers },
      held: [holds('no tool was called after the deadline under an old claim', zombieCalls === 0, `${zombieCalls} calls`), ...(await check(ground))],
    };
  },
});

export const R33 = defineRow({
  id: 'R33', title: 'killed between a tool call and its result',
  short: { each: 1 }, full: { each: 10 },
  async inject(ground, { each }) {
    const calls = ['read', 'keyed', 'unkeyed'] as const;
    const doomed = await ground.worker({ concurrency: each * calls.length });
    ground.sink.hold(({ line, pid }) => line === 'inside' && pid === doomed.pid);
    const inside = ground.sink.next(({ line }) => line === 'inside', each * calls.length);
    const runs = (await Promise.all(calls.map((call) => ground.submitMany(each, [[{ do: call, line: 'inside' }], [{ do: 'keyed', line: 'last' }]])))).flat();
    await inside;
    await doomed.kill();
    ground.sink.release();
    await ground.worker();
    await ground.maintenance();
    const unknown = runs.slice(each * 2);
    await ground.until('unkeyed calls ask a person', () => ground.runs(unknown), (rows) => rows.every(({ wait_reason }) => wait_reason === 'outcome'));
    const asked = ground.sink.of({ kind: 'unkeyed' }).length;
    const { engine } = await ground.base();
    const settled = (await Promise.all(unknown.map(async ({ tenant, id }) => {
      const open = await unsettledCalls(engine.pool, tenant, id);
      return Promise.all(open.map(({ stepSeq, path }) => settleToolCall(engine.pool, { target: { tenant, id, user: undefined }, stepSeq, path, outcome: 'succeeded', response: '{"first":true}', by: 'key:test' })));
    }))).flat();
    await ground.rest();
    const rows = await ground.runs(runs);
    return {
      landed: { 'calls cut off': each * calls.length },
      held: [
        holds('unkeyed calls were made once, and waited for a person', asked === each, `${asked} calls for ${each} runs`), holds('a person settled them and they went on', settled.length === each && settled.every((one) => one === 'done') && rows.every(({ status }) => status === 'completed'), { settled, ended: rows.map(({ status }) => status) }),
        ...(await check(ground)),
      ],
    };
  },
});

export const R34 = defineRow({
  id: 'R34', title: 'a tool that neither answers nor heeds its signal',
  short: { hanging: 1 }, full: { hanging: 10 },
  async inject(ground, { hanging }) {
    await ground.worker({ concurrency: 2 }); // two places: hanging calls would fill them for ever
    await ground.maintenance();
    const startMs = monoMs();
    const unkeyed = await ground.submitMany(hanging, [[{ do: 'hang_unkeyed', line: 'hangs' }]]);
    const keyed = await ground.submitMany(hanging, [[{ do: 'hang_keyed', line: 'hangs' }]]);
    await ground.until('calls are under way', () => ground.sink.requests.length, (n) => n > 0);
    // after some that timed out the tool's breaker opens: the rest waits behind it and has called nobody
    const rested = await ground.until('unkeyed calls ask a person, or wait for the breaker', () => ground.runs(unkeyed), (rows) => rows.every(({ wait_reason }) => wait_reason === 'outcome' || wait_reason === 'rate') && rows.some(({ wait_reason }) => wait_reason === 'outcome'));
    const askedMs = monoMs() - startMs;
    const other = await ground.submit([[{ do: 'keyed', line: 'others go on' }]]);
    await ground.until('others go on', () => ground.run(other), ({ status }) => status === 'completed');
    await ground.until('keyed calls are given up or tried again', () => ground.runs(keyed), (rows) => rows.every(({ attempt, status, wait_reason }) => attempt > 0 || status === 'failed' || wait_reason === 'rate'));
    const parked = new Set([...unkeyed, ...keyed].map(({ id }) => id)); // keyed ones go on trying, each time at their limit
    const ledger = await ground.rows<{ status: string; code: string }>(`SELECT status::text, error_code AS code FROM tool_calls WHERE tool = 'hang_unkeyed'`);
    return {
      landed: { 'calls that never answered': ground.sink.requests.filter(({ line }) => line === 'hangs').length },
      held: [
        holds('unkeyed: given up at its limit, marked unknown, a person is asked', ledger.some(({ status }) => status === 'unknown') && ledger.every(({ status, code }) => (status === 'unknown' && code === 'tool_timeout') || status === 'intent' || (status === 'not_applied' && code === 'breaker_open')), { ledger: ledger.slice(0, 3), askedMs: Math.round(askedMs), limitMs: HANG_TIMEOUT_MS }),
        holds('unkeyed: no run called twice, and each that asks has called', calledOnce(ground, rested), `${ground.sink.of({ kind: 'unkeyed' }).length} calls of ${hanging} runs`), ...(await check(ground, { parked })).filter(settledAlready),
      ],
    };
  },
});

function calledOnce(ground: Ground, runs: readonly { id: string; wait_reason: string | null }[]): boolean {
  const calls = (run: string): number => ground.sink.of({ kind: 'unkeyed', run }).length;
  return runs.every(({ id, wait_reason }) => calls(id) <= 1 && (wait_reason !== 'outcome' || calls(id) === 1));
}

/** Keyed runs are still trying while the checker looks. */
const settledAlready = ({ claim }: Claim): boolean => !claim.startsWith('I17');
