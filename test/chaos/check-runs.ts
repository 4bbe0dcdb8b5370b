// Looks at runs, steps, fences and effects once all has come to rest, against the witnesses outside of the product: the
// callers' log, the sink's log, and the harness's own record of every claim, step and intent.
import type { AcceptLog } from './accept-log.ts';
import { EFFECTS_SCOPE } from '../faults/machines.ts';
import type { Look } from './invariants.ts';
import type { Rows, Stand } from './stand.ts';

export interface Evidence { readonly stand: Stand; readonly log: AcceptLog }

const count = async (rows: Rows, from: string): Promise<number> => (await rows<{ n: number }>(`SELECT count(*)::int AS n FROM ${from}`))[0]?.n ?? 0;

export async function endsOnce({ stand: { rows }, log }: Evidence): Promise<Look> {
  const runs = new Map((await rows<{ id: string; status: string; finished: boolean; reason: string | null; step: string }>(`SELECT id, status::text AS status, finished_at IS NOT NULL AS finished, wait_reason::text AS reason, next_step AS step FROM agent_runs`)).map((run) => [run.id, run]));
  const events = await rows<{ id: string; n: number }>(`
    SELECT r.id, count(e.seq)::int AS n FROM agent_runs r LEFT JOIN run_history e ON e.tenant_id = r.tenant_id AND e.run_id = r.id AND e.type IN ('run.completed', 'run.failed', 'run.cancelled', 'run.expired', 'run.delivered')
    GROUP BY r.tenant_id, r.id HAVING count(e.seq) <> (r.finished_at IS NOT NULL)::int LIMIT 20`);
  return {
    evidence: log.accepted.length,
    wrong: [
      ...log.accepted.filter(({ id }) => !runs.has(id)).map(({ id, kind }) => `run ${id} (${kind}) was accepted and is gone`),
      ...[...runs.values()].filter(({ finished }) => !finished).map(({ id, status, reason, step }) => `run ${id} is ${status}${reason === null ? '' : ` (${reason})`} at "${step}"`),
      ...events.map(({ id, n }) => `run ${id} has ${n} terminal events`),
    ],
  };
}

/** Asked for by a caller, a schedule, a parent, or by the product for its memory. */
export async function asked({ stand: { rows }, log }: Evidence): Promise<Look> {
  const roots = await rows<{ id: string; tenant: string; key: string | null }>(`SELECT id, tenant_id AS tenant, idempotency_key AS key FROM agent_runs r WHERE parent_id IS NULL
    AND NOT EXISTS (SELECT FROM schedule_occurrences o WHERE o.tenant_id = r.tenant_id AND o.run_id = r.id)`);
  const made = await rows<{ id: string }>(`SELECT r.id FROM agent_runs r WHERE r.parent_id IS NOT NULL AND NOT EXISTS (SELECT FROM agent_runs p WHERE p.tenant_id = r.tenant_id AND p.id = r.parent_id)`);
  const known = new Set(log.accepted.map(({ id }) => id));
  const lost = new Set(log.lost.map(({ tenant, key }) => `${tenant} ${key}`));
  return {
    evidence: await count(rows, 'agent_runs'),
    wrong: [...roots.filter(({ id, tenant, key }) => !known.has(id) && !lost.has(`${tenant} ${key}`)).map(({ id, key }) => `run ${id} (key ${key}) was accepted by nobody`), ...made.map(({ id }) => `run ${id} has no parent`)],
  };
}

export async function oneRunPerKey({ stand: { rows }, log }: Evidence): Promise<Look> {
  const twice = await rows<{ key: string; n: number }>(`SELECT idempotency_key AS key, count(*)::int AS n FROM agent_runs WHERE idempotency_key IS NOT NULL GROUP BY tenant_id, idempotency_key HAVING count(*) > 1 LIMIT 20`);
  const told = new Map<string, Set<string>>();
  for (const { tenant, key, id } of log.accepted) told.set(`${tenant} ${key}`, (told.get(`${tenant} ${key}`) ?? new Set()).add(id));
  return { evidence: told.size, wrong: [...twice.map(({ key, n }) => `key ${key} has ${n} runs`), ...[...told].filter(([, ids]) => ids.size > 1).map(([key, ids]) => `key ${key} was answered with ${ids.size} runs`)] };
}

export async function denseSteps({ stand: { rows } }: Evidence): Promise<Look> {
  const gaps = await rows<{ id: string; n: number; top: number; seq: number }>(`
    SELECT r.id, count(s.seq)::int AS n, coalesce(max(s.seq), 0)::int AS top, r.step_seq AS seq FROM agent_runs r LEFT JOIN run_steps s ON s.tenant_id = r.tenant_id AND s.run_id = r.id
    GROUP BY r.tenant_id, r.id HAVING count(s.seq) <> r.step_seq OR coalesce(max(s.seq), 0) <> r.step_seq OR coalesce(min(s.seq), 1) <> 1 LIMIT 20`);
  const changed = await rows<{ run: string; note: string }>(`SELECT run_id AS run, note FROM chaos_witness WHERE what = 'step-changed' LIMIT 20`);
  return { evidence: await count(rows, 'run_steps'), wrong: [...gaps.map(({ id, n, top, seq }) => `run ${id}: ${n} steps up to ${top}, the run is at ${seq}`), ...changed.map(({ run, note }) => `run ${run}: ${note} was changed`)] };
}

export async function risingFences({ stand: { rows } }: Evidence): Promise<Look> {
  const claims = await rows<{ run: string; fence: string; before: string }>(`SELECT run_id AS run, fence::text, run_fence::text AS before FROM chaos_witness WHERE what = 'claim' AND fence <= run_fence LIMIT 20`);
  const reused = await rows<{ fence: string; n: number }>(`SELECT fence::text, count(*)::int AS n FROM chaos_witness WHERE what = 'claim' GROUP BY fence HAVING count(*) > 1 LIMIT 20`);
  const steps = await rows<{ run: string; seq: number }>(`
    SELECT run_id AS run, seq FROM (SELECT tenant_id, run_id, seq, fence, lag(fence) OVER w AS before, event_seq, lag(event_seq) OVER w AS event_before FROM run_steps WINDOW w AS (PARTITION BY tenant_id, run_id ORDER BY seq)) s
    WHERE fence < before OR event_seq <= event_before LIMIT 20`);
  return {
    evidence: await count(rows, `chaos_witness WHERE what = 'claim'`),
    wrong: [...claims.map(({ run, fence, before }) => `run ${run} was claimed under ${fence} after ${before}`), ...reused.map(({ fence, n }) => `fence ${fence} was minted ${n} times`), ...steps.map(({ run, seq }) => `run ${run}: step ${seq} is older than the one before`)],
  };
}

export async function noZombies({ stand: { rows } }: Evidence): Promise<Look> {
  const late = await rows<{ what: string; run: string; fence: string; held: string; note: string }>(`SELECT what, run_id AS run, fence::text, run_fence::text AS held, note FROM chaos_witness WHERE what IN ('step', 'intent') AND fence <> run_fence ORDER BY n LIMIT 20`);
  return { evidence: await count(rows, `chaos_witness WHERE what IN ('step', 'intent')`), wrong: late.map(({ what, run, fence, held, note }) => `run ${run}: ${what} "${note}" was written under ${fence} when ${held} held it`) };
}

/** A line is unique in its run: twice under whatever key is twice too often. */
export function effectsOnce({ stand: { sink } }: Evidence): Look {
  const times = new Map<string, number>();
  for (const { kind, run, line } of sink.effects) times.set(`${kind} "${line}" of run ${run}`, (times.get(`${kind} "${line}" of run ${run}`) ?? 0) + 1);
  return { evidence: sink.effects.length, wrong: [...times].filter(([, n]) => n > 1).map(([effect, n]) => `${effect} was applied ${n} times`), note: `${sink.requests.length} requests` };
}

export async function ledgerMatches({ stand: { rows, sink } }: Evidence): Promise<Look> {
  const ledger = await rows<{ key: string; status: string; run: string; tool: string; ended: boolean; completed: boolean }>(`
    SELECT k.key, k.status::text AS status, k.run_id AS run, k.tool, r.finished_at IS NOT NULL AS ended, r.status = 'completed' AS completed FROM tool_calls k JOIN agent_runs r ON r.tenant_id = k.tenant_id AND r.id = k.run_id WHERE k.effect <> 'read'`);
  const applied = new Set(sink.effects.map(({ run, key }) => `${run} ${key}`));
  const known = new Set(ledger.map(({ run, key }) => `${run} ${key}`));
  return {
    evidence: ledger.length,
    wrong: [
      ...ledger.filter(({ status, run, key }) => status === 'succeeded' && !applied.has(`${run} ${key}`)).map(({ run, tool }) => `run ${run}: ${tool} has a result and no effect`),
      ...ledger.filter(({ status, run, key }) => (status === 'not_applied' || status === 'denied') && applied.has(`${run} ${key}`)).map(({ run, tool, status }) => `run ${run}: ${tool} counts as ${status} and was applied`),
      ...ledger.filter(({ status, completed }) => completed && (status === 'intent' || status === 'unknown')).map(({ run, tool, status }) => `run ${run} completed over a ${tool} that is ${status}`),
      ...[...applied].filter((effect) => !known.has(effect)).map((effect) => `effect ${effect} is not in the ledger`),
    ],
  };
}

export async function permitted({ stand: { rows } }: Evidence): Promise<Look> {
  const calls = await rows<{ run: string; tool: string; status: string; granted: boolean; used: number }>(`
    SELECT k.run_id AS run, k.tool, k.status::text AS status,
      k.tool <> 'scoped' OR EXISTS (SELECT FROM permissions p WHERE p.tenant_id = k.tenant_id AND p.user_id = r.user_id AND $1 = ANY (p.scopes)) AS granted,
      CASE WHEN k.tool = 'asked' THEN (SELECT count(*)::int FROM approvals a WHERE a.tenant_id = k.tenant_id AND a.run_id = k.run_id AND a.step_seq = k.step_seq AND a.path = k.path AND a.status = 'used' AND a.decided_at <= k.started_at + interval '5 ms') ELSE 1 END AS used
    FROM tool_calls k JOIN agent_runs r ON r.tenant_id = k.tenant_id AND r.id = k.run_id WHERE k.tool IN ('scoped', 'asked')`, [EFFECTS_SCOPE]);
  return {
    evidence: calls.length,
    wrong: [
      ...calls.filter(({ status, granted }) => status !== 'denied' && !granted).map(({ run, tool }) => `run ${run}: ${tool} was called without its scope`),
      ...calls.filter(({ status, used }) => status !== 'denied' && used !== 1).map(({ run, tool, used }) => `run ${run}: ${tool} was called on ${used} decisions`),
      ...calls.filter(({ status, granted, tool }) => tool === 'scoped' && status === 'denied' && granted).map(({ run }) => `run ${run}: scoped was denied to one who holds the scope`),
    ],
  };
}
