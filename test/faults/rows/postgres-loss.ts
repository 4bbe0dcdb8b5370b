// Postgres goes, or its answers do: killed and started again, an answer lost after the commit, deadlocks and lock timeouts, a
// backend ended in the middle. What was committed counts, what was not is done again under the same ids.
import { pause } from '../../../src/clock.ts';
import { check } from '../check.ts';
import type { Ground } from '../ground.ts';
import { defineRow, holds, type Claim } from '../row.ts';

/** I15: what a run ended with is its own, step by step. */
async function ownRows(ground: Ground): Promise<Claim> {
  const wrong = await ground.rows<{ id: string }>(`
    SELECT r.id FROM agent_runs r WHERE r.agent = 'fault' AND r.status = 'completed' AND (r.output ->> 'mark' IS DISTINCT FROM r.input ->> 'mark'
      OR EXISTS (SELECT FROM run_steps s WHERE s.tenant_id = r.tenant_id AND s.run_id = r.id AND s.data ->> 'mark' IS NOT NULL AND s.data ->> 'mark' <> r.input ->> 'mark'))`);
  return holds('I15 no run was given the rows of another', wrong.length === 0, wrong.length === 0 ? 'every output and checkpoint carries its own mark' : wrong.slice(0, 5));
}

const noneFailed = async (ground: Ground): Promise<Claim> => {
  const failed = (await ground.runs()).filter(({ status }) => status === 'failed');
  return holds('no run failed for it', failed.length === 0, failed.slice(0, 3).map(({ id, error_code }) => `${id}: ${error_code}`));
};

export const R18 = defineRow({
  id: 'R18', title: 'Postgres killed, and stopped at once', needs: { ownPostgres: true },
  short: { runs: 12, outages: [['SIGKILL', 1_500]] as [NodeJS.Signals, number][] }, full: { runs: 200, outages: [['SIGKILL', 10_000], ['SIGQUIT', 10_000], ['SIGKILL', 40_000]] as [NodeJS.Signals, number][] },
  async inject(ground, { runs, outages }) {
    const workers = await ground.workers(2);
    const maintenance = await ground.maintenance();
    for (const [signal, outageMs] of outages) {
      await ground.submitMany(runs, (n) => [[{ do: 'keyed', line: `a${n}` }, { do: 'work', ms: 400 }], [{ do: 'work', ms: 400 }, { do: 'keyed', line: `b${n}` }], [{ do: 'keyed', line: `c${n}` }]]);
      await ground.until('effects are under way', () => ground.sink.of({ kind: 'keyed' }).length, (n) => n > 0);
      await ground.postgres.kill(signal as 'SIGKILL' | 'SIGQUIT');
      const during = ground.submitMany(Math.ceil(runs / 4), (n) => [[{ do: 'keyed', line: `d${n}` }]]);
      await pause(outageMs);
      await ground.postgres.startAgain();
      await during;
      await ground.rest();
    }
    return {
      landed: { outages: outages.length, 'runs accepted': ground.accepts.length },
      held: [holds('no process of the fleet ended', [...workers, maintenance].every(({ alive }) => alive), [...workers, maintenance].map(({ alive, stderr }) => (alive ? 'alive' : stderr.slice(-500)))), await noneFailed(ground), await ownRows(ground), ...(await check(ground))],
    };
  },
});

/** A statement of the engine, as it shows on the wire: the named commit in its Bind, the others in their text. */
const LOST_REPLIES: readonly { readonly what: string; readonly pattern: string }[] = [
  { what: 'checkpoint', pattern: '\u0000checkpoint\u0000' }, { what: 'completion', pattern: '\u0000completion\u0000' }, { what: 'submit', pattern: '\u0000submit\u0000' }, { what: 'intent', pattern: 'INSERT INTO tool_calls' }, { what: 'result', pattern: 'UPDATE tool_calls k SET status' }, { what: 'claim', pattern: '\u0000claim-fresh\u0000' },
];

export const R19 = defineRow({
  id: 'R19', title: 'the statement was committed, its answer lost', needs: { postgresProxy: true },
  short: { runs: 8, times: 3 }, full: { runs: 100, times: 20 },
  async inject(ground, { runs, times }) {
    await ground.workers(2);
    await ground.maintenance();
    const proxy = ground.postgresProxy;
    if (!proxy) throw new Error('no proxy');
    const dropped: Record<string, number> = {};
    for (const { what, pattern } of LOST_REPLIES) {
      const before = proxy.counts.repliesDropped;
      proxy.dropReplies(pattern, times, what === 'submit' ? 1 : 0.5); // submits come in few groups
      await ground.submitMany(runs, (n) => [[{ do: 'note', line: 'ran' }, { do: 'keyed', line: `${what} a${n}` }], [{ do: 'read', line: `${what} r${n}` }], [{ do: 'keyed', line: `${what} b${n}` }]]);
      await ground.rest();
      dropped[`answers lost to ${what}`] = proxy.counts.repliesDropped - before;
    }
    proxy.dropReplies('', 0);
    return { landed: dropped, held: [await noneFailed(ground), await ownRows(ground), ...(await check(ground))] };
  },
});

export const R20 = defineRow({
  id: 'R20', title: 'deadlocks and lock timeouts',
  short: { runs: 6, rounds: 2 }, full: { runs: 40, rounds: 20 },
  async inject(ground, { runs, rounds }) {
    // The fleet looks for a ring once, a deadlock_timeout after it began to wait: late enough that a busy machine has closed the ring by then.
    for (const setting of [`lock_timeout = '3s'`, `deadlock_timeout = '2s'`]) await ground.rows(`DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET ${setting.replaceAll(`'`, `''`)}', current_database()); END $$`);
    await ground.workers(1, { concurrency: runs * 2 });
    await ground.maintenance();
    const [holder, second] = [await ground.client(), await ground.client()];
    for (let round = 0; round < rounds; round++) {
      ground.sink.hold(({ line }) => line.startsWith('inside'));
      const inside = ground.sink.next(({ line }) => line.startsWith('inside'), runs);
      const accepted = await ground.submitMany(runs, [[{ do: 'keyed', line: 'before' }, { do: 'note', line: 'inside' }], [{ do: 'keyed', line: 'after' }]], { tenant: 'acme' });
      await inside;
      const ids = accepted.map(({ id }) => id).sort();
      const last = ids.at(-1);
      // A group of commits locks rows by id: it gets the first ones and waits for the last, which is held here; asking for one of
      // those it got closes the ring. This session is patient, so the fleet's is the one that is chosen.
      await holder.query(`SET deadlock_timeout = '20s'; SET lock_timeout = '20s'; BEGIN`);
      await holder.query('SELECT FROM agent_runs WHERE id = $1 FOR UPDATE', [last]);
      ground.sink.release();
      await ground.until('the fleet waits for a lock', () => second.query<{ n: number }>(`SELECT count(*)::int AS n FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`), ({ rows }) => (rows[0]?.n ?? 0) > 0, 5_000).catch(() => undefined);
      const { rows: free } = await second.query<{ id: string }>('SELECT id FROM agent_runs WHERE id = ANY ($1) FOR UPDATE SKIP LOCKED', [ids]);
      const got = ids.find((id) => id !== last && !free.some((one) => one.id === id));
      if (got) await holder.query('SELECT FROM agent_runs WHERE id = $1 FOR UPDATE', [got]).catch(() => undefined); // the victim may be us, the ring was there
      await pause(round % 2 === 0 ? 0 : 5_000); // every other time also past the lock timeout
      await holder.query('ROLLBACK').catch(() => undefined);
      await ground.rest();
    }
    // the cumulative statistics come with a delay
    const deadlocks = await ground.until('the server has counted', () => ground.rows<{ n: number }>(`SELECT deadlocks::int AS n FROM pg_stat_database WHERE datname = current_database()`), ([row]) => (row?.n ?? 0) > 0, 10_000).then(([row]) => row?.n ?? 0, () => 0);
    const said = ground.processes.flatMap((one) => one.said(/deadlock detected|lock timeout/));
    const calm = holds('a group met by a deadlock is repeated one by one, a lock timeout is tried again', true, `the fleet spoke of ${said.length}`);
    return { landed: { deadlocks, 'rounds of locks': rounds }, held: [calm, await noneFailed(ground), ...(await check(ground))] };
  },
});

export const R22 = defineRow({
  id: 'R22', title: 'backends ended in the middle of their work',
  short: { runs: 20, kills: 15, everyMs: 150 }, full: { runs: 400, kills: 300, everyMs: 200 },
  async inject(ground, { runs, kills, everyMs }) {
    const workers = await ground.workers(2);
    const maintenance = await ground.maintenance();
    const submitted = ground.submitMany(runs, (n) => [[{ do: 'keyed', line: `a${n}` }, { do: 'work', ms: 300 }], [{ do: 'work', ms: 300 }, { do: 'keyed', line: `b${n}` }], [{ do: 'read', line: `r${n}` }, { do: 'work', ms: 300 }], [{ do: 'keyed', line: `c${n}` }]]);
    let ended = 0;
    for (let n = 0; n < kills; n++) {
      const [killed] = await ground.rows<{ n: number }>(`SELECT count(pg_terminate_backend(pid))::int AS n FROM (SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'mainstay-engine' ORDER BY random() LIMIT 2) one`);
      ended += killed?.n ?? 0;
      await pause(everyMs * (0.5 + ground.random()));
    }
    await submitted;
    await ground.rest();
    return {
      landed: { 'backends ended': ended },
      held: [holds('no process of the fleet ended', [...workers, maintenance].every(({ alive }) => alive), [...workers, maintenance].map(({ alive, child, stderr, lines }) => (alive ? 'alive' : `${child.exitCode ?? child.signalCode}: ${stderr.slice(-1_500)} ${lines.at(-1)?.text.slice(0, 600)}`))), await noneFailed(ground), await ownRows(ground), ...(await check(ground))],
    };
  },
});
