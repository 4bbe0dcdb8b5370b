// Looks at what is left when all has ended: in Postgres, in Redis, in the schedules; at how long runs took; and at whether the
// chaos deserves the name.
import { monoMs, pause } from '../../src/clock.ts';
import { readConfig } from '../../src/config.ts';
import { DELAYED_JOB_MS, HINT_SKEW_MS } from '../../src/domain/tunables.ts';
import { within } from '../../src/service.ts';
import { assembleBase } from '../../workers/assemble.ts';
import type { Evidence } from './check-runs.ts';
import type { Look } from './invariants.ts';
import { machines } from './machines.ts';
import { openIntake, type Stand } from './stand.ts';
import { witnessed } from './witness.ts';

/** The longest wait of a delayed job, which outlives a run that was cancelled meanwhile, and a little, in which those that lie further
 *  off are removed; a lock lives shorter. What is left after this is left for good. */
const CALM_MS = DELAYED_JOB_MS + 3 * HINT_SKEW_MS;

const LEFT = `
  SELECT 'running with no live worker' AS what, count(*)::int AS n FROM agent_runs r WHERE status = 'running' AND NOT EXISTS (SELECT FROM workers w WHERE w.incarnation = r.claimed_by AND w.ended_at IS NULL AND w.lease_until > now())
  UNION ALL SELECT 'ended and still claimed, or holding their session', count(*)::int FROM agent_runs WHERE finished_at IS NOT NULL AND (claimed_by IS NOT NULL OR holds_session OR step_deadline_at IS NOT NULL)
  UNION ALL SELECT 'ended and still waiting for a time', count(*)::int FROM agent_runs WHERE finished_at IS NOT NULL AND wait_reason IS NOT NULL
  UNION ALL SELECT 'runs owed to memory', count(*)::int FROM agent_runs WHERE memory_state = 'due'
  UNION ALL SELECT 'memories owed to the index', count(*)::int FROM memories WHERE indexed_generation IS NULL
  UNION ALL SELECT 'summaries owed to the index', count(*)::int FROM run_summaries WHERE indexed_generation IS NULL
  UNION ALL SELECT 'chunks owed to the index', count(*)::int FROM document_chunks WHERE indexed_generation IS NULL
  UNION ALL SELECT 'open questions of ended runs', count(*)::int FROM approvals a JOIN agent_runs r ON r.tenant_id = a.tenant_id AND r.id = a.run_id WHERE a.status = 'pending' AND r.finished_at IS NOT NULL
  UNION ALL SELECT 'workers that ended and were not retired', count(*)::int FROM workers WHERE ended_at IS NULL AND lease_until < now() - interval '15 s'`;

interface Left { what: string; n: number }

/** `calmMs`: how long what is left may take to go. */
export async function nothingLeft({ stand }: Evidence, calmMs = CALM_MS): Promise<Look> {
  const intake = openIntake(stand);
  const base = await assembleBase(readConfig({ ...stand.env, DATABASE_URL: stand.databaseUrl, REDIS_URL: stand.redis.url, LOG_LEVEL: 'silent' }), 'chaos', machines);
  try {
    const look = async (): Promise<{ left: Left[]; keys: number }> => {
      const { client } = stand.redis;
      const queues = await Promise.all([...base.queues].map(async ([pool, { ready, wakeUps }]) => ({ pool, held: (await ready.depth()).held, ...(await wakeUps.counts()) })));
      const locks = await client.keys(`${stand.env['REDIS_PREFIX']}:lock:*`);
      const left: Left[] = [
        ...(await stand.rows<Left>(LEFT)),
        ...queues.flatMap(({ pool, held, delayed, waiting, active }) => [{ what: `runs in the ready queue of ${pool}`, n: held }, { what: `delayed jobs of ${pool}`, n: delayed }, { what: `wake-ups of ${pool} that nobody takes`, n: waiting }, { what: `wake-ups of ${pool} in hand`, n: active }]),
        ...Object.entries(await intake.getJobCounts('wait', 'active', 'delayed', 'failed')).map(([state, n]) => ({ what: `jobs of the intake that are ${state}`, n })),
        { what: 'locks', n: locks.length },
      ];
      return { left: left.filter(({ n }) => n > 0), keys: await client.dbsize() };
    };
    let seen = await look();
    for (const endMs = monoMs() + calmMs; seen.left.length > 0 && monoMs() < endMs; await pause(250)) seen = await look();
    const [runs] = await stand.rows<{ n: number }>('SELECT count(*)::int AS n FROM agent_runs');
    return { evidence: (runs?.n ?? 0) + seen.keys, wrong: seen.left.map(({ what, n }) => `${n} ${what}`), note: `${seen.keys} keys in Redis` };
  } finally {
    await base.close();
    await within(intake.close(), 1_000);
  }
}

/** An occurrence due so shortly before its schedule was paused may have been missed by it. */
const PAUSE_MS = 5_000;

export async function schedulesKept({ stand: { rows } }: Evidence): Promise<Look> {
  const schedules = await rows<{ id: string; anchor: number; every: number; due: number; at: number[] | null; runs: number; fired: number }>(`
    SELECT s.id, (extract(epoch FROM s.anchor_at) * 1000)::float8 AS anchor, s.every_ms::float8 AS every, floor((extract(epoch FROM s.paused_at - s.anchor_at) * 1000 - ${PAUSE_MS}) / s.every_ms)::int AS due,
      (SELECT json_agg((extract(epoch FROM o.occurrence) * 1000)::float8 ORDER BY o.occurrence) FROM schedule_occurrences o WHERE o.tenant_id = s.tenant_id AND o.schedule_id = s.id) AS at,
      (SELECT count(*)::int FROM schedule_occurrences o WHERE o.tenant_id = s.tenant_id AND o.schedule_id = s.id AND o.outcome = 'fired') AS fired,
      (SELECT count(*)::int FROM agent_runs r WHERE r.tenant_id = s.tenant_id AND r.idempotency_key LIKE 'schedule:' || s.id || ':at:%') AS runs
    FROM schedules s`);
  const wrong = schedules.flatMap(({ id, anchor, every, due, at, fired, runs }) => {
    const seen = at ?? [];
    const expected = seen.map((_, n) => Math.round(anchor + every * (n + 1)));
    const off = seen.findIndex((ms, n) => Math.round(ms) !== expected[n]);
    return [...(off >= 0 ? [`schedule ${id}: occurrence ${off + 1} is ${seen[off]}, not ${expected[off]}`] : []), ...(seen.length < due ? [`schedule ${id} named ${due} moments until it was paused, ${seen.length} of them were noticed`] : []), ...(fired === runs ? [] : [`schedule ${id} fired ${fired} times and has ${runs} runs`])];
  });
  return { evidence: schedules.reduce((sum, { at }) => sum + (at?.length ?? 0), 0), wrong };
}

/** Runs that wait for nobody, from submission to end: 99 of 100, and every one. */
const BOUND_MS = 120_000;
const LONGEST_MS = 240_000;
const FOR_PEOPLE = ['signal', 'approval', 'question', 'unkeyed', 'session', 'agent', 'frugal'];

export async function inTime({ stand: { rows }, log }: Evidence, healed: { readonly workers: number; readonly seen: number; readonly tookMs: number }): Promise<Look> {
  const ids = log.accepted.filter(({ kind }) => !FOR_PEOPLE.includes(kind)).map(({ id }) => id);
  const took = (await rows<{ id: string; ms: number | null }>(`SELECT id, (extract(epoch FROM finished_at - created_at) * 1000)::float8 AS ms FROM agent_runs WHERE id = ANY ($1::uuid[])`, [ids])).map(({ ms }) => ms ?? Infinity).sort((a, b) => a - b);
  const late = took.filter((ms) => ms > BOUND_MS).length;
  const longest = took.at(-1) ?? 0;
  const at = (share: number): number => Math.round(took[Math.min(took.length - 1, Math.floor(took.length * share))] ?? 0);
  return {
    evidence: took.length,
    wrong: [...(late * 100 > took.length ? [`${late} of ${took.length} runs took longer than ${BOUND_MS} ms`] : []), ...(longest > LONGEST_MS ? [`a run took ${Math.round(longest)} ms`] : []), ...(healed.seen < healed.workers ? [`${healed.seen} of ${healed.workers} workers ran a fresh run within ${Math.round(healed.tookMs)} ms after the last fault`] : [])],
    note: `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, longest ${at(1)} ms; healed in ${Math.round(healed.tookMs)} ms`,
  };
}

/** Faults after which others take runs over. */
const OVERTAKING: readonly string[] = ['kill-agent', 'stop-process', 'block-loop', 'fault-point', 'postgres-cut-off'];

/** Faults after which a worker that lives meets that it is fenced. */
const FENCING: readonly string[] = ['block-loop', 'postgres-cut-off'];

export interface Floors { readonly faults: number; readonly runs: number }

export async function wasReal({ stand }: Evidence, landed: Readonly<Record<string, number>>, floors: Floors): Promise<Look> {
  const { takeovers } = await witnessed(stand.rows);
  const [row] = await stand.rows<{ n: number }>(`SELECT count(*)::int AS n FROM agent_runs WHERE status = 'completed'`);
  const completed = row?.n ?? 0;
  const total = Object.values(landed).reduce((sum, n) => sum + n, 0);
  const never = Object.entries(landed).filter(([, n]) => n === 0).map(([kind]) => kind);
  return {
    evidence: total + takeovers,
    wrong: [
      ...(total < floors.faults ? [`${total} faults landed, at least ${floors.faults} must`] : []),
      ...never.map((kind) => `${kind} never landed`),
      ...(completed < floors.runs ? [`${completed} runs completed, at least ${floors.runs} must`] : []),
      ...(stand.fenced === 0 && FENCING.some((kind) => (landed[kind] ?? 0) > 0) ? ['no worker met that it was fenced'] : []),
      ...(takeovers === 0 && OVERTAKING.some((kind) => kind in landed) ? ['no worker was overtaken'] : []),
    ],
    note: `${takeovers} takeovers, ${stand.fenced} workers fenced, ${stand.restarts} processes started again, ${completed} runs completed`,
  };
}

/** Lines of people: what stands still now. */
export async function unfinished({ rows }: Pick<Stand, 'rows'>): Promise<{ ended: number; open: number; oldestMs: number; owed: number }> {
  const [row] = await rows<{ ended: number; open: number; oldest: number | null; owed: number }>(`SELECT count(*) FILTER (WHERE finished_at IS NOT NULL)::int AS ended, count(*) FILTER (WHERE finished_at IS NULL)::int AS open, (extract(epoch FROM now() - min(created_at) FILTER (WHERE finished_at IS NULL)) * 1000)::float8 AS oldest,
    (count(*) FILTER (WHERE memory_state = 'due') + (SELECT count(*) FROM memories WHERE indexed_generation IS NULL) + (SELECT count(*) FROM run_summaries WHERE indexed_generation IS NULL))::int AS owed FROM agent_runs`);
  return { ended: row?.ended ?? 0, open: row?.open ?? 0, oldestMs: row?.oldest ?? 0, owed: row?.owed ?? 0 };
}
