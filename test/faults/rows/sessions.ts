// Sessions whose workers die all the time: every run of a session waits for the one before it, also when that one's worker is
// gone, and the next is woken by whoever ends the last. Half of the callers enqueue, half have a busy session refuse them.
import { pause } from '../../../src/clock.ts';
import { MULTITASK_STRATEGIES } from '../../../src/domain/status.ts';
import { check } from '../check.ts';
import type { FleetProcess } from '../fleet-process.ts';
import type { Accepted, Ground } from '../ground.ts';
import { defineRow, holds } from '../row.ts';
import { pick } from '../seed.ts';
import { takenOver } from './workers.ts';

interface Talk { readonly session: string; readonly accepted: Accepted[]; early: number }

const lineOf = (session: string, n: number, word: 'begins' | 'ends'): string => `${session} ${n} ${word}`;

/** Submits one after the other, as one person would; an answer tells that all before it is over, where `reject` was asked for. */
async function talk(ground: Ground, at: number, runs: number, workMs: number): Promise<Talk> {
  const multitaskStrategy = MULTITASK_STRATEGIES[at % 2] ?? 'enqueue';
  const [tenant, session] = [at % 3 === 0 ? 'acme' : 'globex', `s${at}-${multitaskStrategy}`];
  const one: Talk = { session, accepted: [], early: 0 };
  for (let n = 0; n < runs; n++) {
    const plan = [[{ do: 'keyed', line: lineOf(session, n, 'begins') } as const], [{ do: 'work', ms: workMs } as const, { do: 'keyed', line: lineOf(session, n, 'ends') } as const]];
    one.accepted.push(await ground.submit(plan, { tenant, user: 'ann', session, multitaskStrategy }));
    if (multitaskStrategy === 'reject') one.early += (await ground.runs(one.accepted.slice(0, -1))).filter(({ finished_ms }) => finished_ms === null).length;
  }
  return one;
}

export const S1 = defineRow({
  id: 'S1', title: 'SIGKILL of workers while sessions have long queues',
  short: { sessions: 6, runs: 10, kills: 3, everyMs: 500, workMs: 150 }, full: { sessions: 20, runs: 50, kills: 15, everyMs: 2_000, workMs: 300 },
  async inject(ground, { sessions, runs, kills, everyMs, workMs }) {
    await ground.maintenance();
    const fleet: FleetProcess[] = await ground.workers(2, { concurrency: Math.ceil(sessions / 2) });
    const talking = Promise.all(Array.from({ length: sessions }, (_, at) => talk(ground, at, runs, workMs)));
    let killed = 0;
    for (let n = 0; n < kills; n++) {
      await pause(everyMs * (0.5 + ground.random()));
      const dead = pick(fleet, ground.random);
      const inside = ground.sink.next(({ pid, line }) => pid === dead.pid && line.endsWith('begins')).then(() => 1);
      killed += await Promise.race([inside, talking.then(() => 0)]); // it has just begun a run's work, or all is over
      await dead.kill();
      fleet[fleet.indexOf(dead)] = await ground.worker({ concurrency: Math.ceil(sessions / 2) });
    }
    const talks = await talking;
    await ground.rest();
    const told = (session: string): string[] => ground.sink.effects.map(({ line }) => line).filter((line) => line.startsWith(`${session} `));
    const disordered = talks.filter(({ session }) => told(session).join() !== Array.from({ length: runs }, (_, n) => [lineOf(session, n, 'begins'), lineOf(session, n, 'ends')]).flat().join());
    const together = await ground.rows<{ id: string }>(`SELECT id FROM (SELECT id, session_seq, started_at, lag(finished_at) OVER (PARTITION BY tenant_id, user_id, session_id ORDER BY session_seq) AS before FROM agent_runs WHERE session_id IS NOT NULL) r WHERE started_at < before`);
    const ends = await ground.runs(talks.flatMap(({ accepted }) => accepted));
    return {
      landed: { kills: killed, takeovers: takenOver(ground.sink.requests) },
      held: [
        holds('each session in order of submission, one run at a time', disordered.length === 0, disordered.length === 0 ? `${sessions} sessions of ${runs}` : disordered.map(({ session }) => told(session).slice(0, 20))),
        holds('no run began before the one before it had ended', together.length === 0, together.slice(0, 5)),
        holds('none is left behind', ends.length === sessions * runs && ends.every(({ status }) => status === 'completed'), `${ends.filter(({ status }) => status === 'completed').length} of ${sessions * runs}`),
        holds('`reject` accepted none while another was unfinished', talks.every(({ early }) => early === 0), talks.map(({ session, early }) => `${session}: ${early}`)), ...(await check(ground)),
      ],
    };
  },
});
