// The checker every row ends with, once its runs have come to rest: the invariants of the fault matrix that concern the engine,
// against three witnesses outside of it: the caller's log of what was accepted, the sink's log of what was done, and snapshots
// of steps and fences taken while the faults went on. Each broken invariant names rows.
import type { Ground } from './ground.ts';
import type { Claim } from './row.ts';

export interface CheckOptions {
  /** I21: 99 of 100 runs end within this. */
  readonly boundMs?: number;
  /** Runs that are meant to wait at the end, by id: for a person, or for a worker that never comes. */
  readonly parked?: ReadonlySet<string>;
}

export async function check(ground: Ground, { boundMs, parked = new Set() }: CheckOptions = {}): Promise<Claim[]> {
  const claims = [await accepted(ground, parked), await oneTerminalEvent(ground), await oneRunPerKey(ground), await denseSteps(ground), await ground.watch.compare(), await risingFences(ground), ground.watch.fences(), effectsOnce(ground), await ledgerMatches(ground), await nothingLeft(ground, parked)];
  return boundMs === undefined ? claims : [...claims, await inTime(ground, boundMs, parked)];
}

const claim = (name: string, faults: readonly string[], of: string): Claim => ({ claim: name, ok: faults.length === 0, evidence: faults.length === 0 ? of : `${faults.length}: ${faults.slice(0, 5).join('; ')}` });

async function accepted({ accepts, lost, rows }: Ground, parked: ReadonlySet<string>): Promise<Claim> {
  const runs = new Map((await rows<{ id: string; key: string | null; status: string; finished: boolean }>(`SELECT id, idempotency_key AS key, status::text AS status, finished_at IS NOT NULL AS finished FROM agent_runs WHERE parent_id IS NULL`)).map((run) => [run.id, run]));
  const ids = new Set(accepts.map(({ id }) => id));
  const keys = new Set(lost.map(({ key }) => key));
  return claim('I1 I2 every accepted run is there and has ended, and there is no other', [
    ...(ids.size === 0 ? ['nothing was accepted'] : []),
    ...[...ids].filter((id) => !runs.has(id)).map((id) => `${id} was accepted and is gone`),
    ...[...ids].flatMap((id) => { const run = runs.get(id); return run && !run.finished && !parked.has(id) ? [`${id} is ${run.status}`] : []; }),
    ...[...runs.values()].filter(({ id, key }) => !ids.has(id) && !keys.has(key ?? '')).map(({ id }) => `${id} was accepted by nobody`),
  ], `${ids.size} accepted, ${runs.size} runs`);
}

async function oneTerminalEvent({ rows }: Ground): Promise<Claim> {
  const wrong = await rows<{ id: string; n: number }>(`
    SELECT r.id, count(e.seq)::int AS n FROM agent_runs r LEFT JOIN run_history e ON e.tenant_id = r.tenant_id AND e.run_id = r.id AND e.type IN ('run.completed', 'run.failed', 'run.cancelled', 'run.expired')
    GROUP BY r.tenant_id, r.id HAVING count(e.seq) <> (r.finished_at IS NOT NULL)::int LIMIT 20`);
  return claim('I1 each end has one terminal event', wrong.map(({ id, n }) => `${id} has ${n}`), 'one each');
}

async function oneRunPerKey({ rows, accepts }: Ground): Promise<Claim> {
  const wrong = await rows<{ key: string; n: number }>(`SELECT idempotency_key AS key, count(*)::int AS n FROM agent_runs WHERE idempotency_key IS NOT NULL GROUP BY tenant_id, idempotency_key HAVING count(*) > 1 LIMIT 20`);
  const answers = new Map<string, Set<string>>();
  for (const { tenant, key, id } of accepts) answers.set(`${tenant} ${key}`, (answers.get(`${tenant} ${key}`) ?? new Set()).add(id));
  const told = [...answers].filter(([, ids]) => ids.size > 1);
  return claim('I3 one key, one run', [...wrong.map(({ key, n }) => `${key} has ${n} runs`), ...told.map(([key, ids]) => `${key} was answered with ${ids.size} ids`)], `${answers.size} keys`);
}

async function denseSteps({ rows }: Ground): Promise<Claim> {
  const wrong = await rows<{ id: string; n: number; top: number; seq: number }>(`
    SELECT r.id, count(s.seq)::int AS n, coalesce(max(s.seq), 0)::int AS top, r.step_seq AS seq FROM agent_runs r LEFT JOIN run_steps s ON s.tenant_id = r.tenant_id AND s.run_id = r.id
    GROUP BY r.tenant_id, r.id HAVING count(s.seq) <> r.step_seq OR coalesce(max(s.seq), 0) <> r.step_seq OR coalesce(min(s.seq), 1) <> 1 LIMIT 20`);
  return claim('I4 steps are numbered 1..n without a gap', wrong.map(({ id, n, top, seq }) => `${id}: ${n} rows up to ${top}, the run is at ${seq}`), 'dense');
}

async function risingFences({ rows }: Ground): Promise<Claim> {
  const wrong = await rows<{ run: string; seq: number }>(`
    SELECT run_id AS run, seq FROM (SELECT tenant_id, run_id, seq, fence, lag(fence) OVER w AS before, lag(event_seq) OVER w AS event_before, event_seq FROM run_steps WINDOW w AS (PARTITION BY tenant_id, run_id ORDER BY seq)) s
    WHERE fence < before OR event_seq <= event_before LIMIT 20`);
  const above = await rows<{ run: string }>(`SELECT r.id AS run FROM agent_runs r WHERE abs(r.fence) < (SELECT max(fence) FROM run_steps s WHERE s.tenant_id = r.tenant_id AND s.run_id = r.id) LIMIT 20`);
  return claim('I5 fences never fall from step to step', [...wrong.map(({ run, seq }) => `${run} step ${seq}`), ...above.map(({ run }) => `${run} has a step newer than its fence`)], 'rising');
}

/** A keyed effect once per run and line, whatever the keys were; an unkeyed one at most once. */
function effectsOnce({ sink }: Ground): Claim {
  const times = new Map<string, number>();
  for (const { kind, run, line } of sink.effects) times.set(`${kind} ${run} ${line}`, (times.get(`${kind} ${run} ${line}`) ?? 0) + 1);
  return claim('I7 each effect was applied once', [...times].filter(([, n]) => n > 1).map(([effect, n]) => `${effect}: ${n} times`), `${sink.effects.length} effects, ${sink.requests.length} requests`);
}

/** The ledger's results and the sink's effects are the same; what is missing on one side is listed as unknown on the other. */
async function ledgerMatches({ rows, sink }: Ground): Promise<Claim> {
  const ledger = await rows<{ key: string; status: string; run: string; line: string; waits: boolean }>(`
    SELECT k.key, k.status::text AS status, k.run_id AS run, k.request ->> 'line' AS line, coalesce(r.wait_reason = 'outcome', false) AS waits
    FROM tool_calls k JOIN agent_runs r ON r.tenant_id = k.tenant_id AND r.id = k.run_id WHERE k.effect <> 'read'`);
  const applied = new Set(sink.effects.map(({ run, key }) => `${run} ${key}`));
  const known = new Map(ledger.map((call) => [`${call.run} ${call.key}`, call]));
  return claim('I8 the ledger knows every effect, and the sink every result', [
    ...ledger.filter(({ status, run, key }) => status === 'succeeded' && !applied.has(`${run} ${key}`)).map(({ run, line }) => `${run}: "${line}" has a result and no effect`),
    ...[...applied].filter((effect) => !known.has(effect)).map((effect) => `${effect} is not in the ledger`),
    ...ledger.filter(({ status, run, key }) => status === 'not_applied' && applied.has(`${run} ${key}`)).map(({ run, line }) => `${run}: "${line}" counts as not applied and was`),
  ], `${ledger.length} calls`);
}

async function nothingLeft({ rows }: Ground, parked: ReadonlySet<string>): Promise<Claim> {
  const left = await rows<{ what: string; n: number }>(`
    SELECT 'running with no live worker' AS what, count(*)::int AS n FROM agent_runs r WHERE status = 'running' AND NOT EXISTS (SELECT FROM workers w WHERE w.incarnation = r.claimed_by AND w.ended_at IS NULL AND w.lease_until > now())
    UNION ALL SELECT 'ended and still claimed', count(*)::int FROM agent_runs WHERE finished_at IS NOT NULL AND (claimed_by IS NOT NULL OR holds_session OR step_deadline_at IS NOT NULL)
    UNION ALL SELECT 'open calls of completed runs', count(*)::int FROM tool_calls k JOIN agent_runs r ON r.tenant_id = k.tenant_id AND r.id = k.run_id WHERE k.status = 'intent' AND r.status = 'completed'
    UNION ALL SELECT 'open reserves of ended runs', count(*)::int FROM model_calls k JOIN agent_runs r ON r.tenant_id = k.tenant_id AND r.id = k.run_id WHERE k.status = 'open' AND r.finished_at IS NOT NULL`);
  return claim('I17 nothing is held without a live holder', left.filter(({ n }) => n > 0).map(({ what, n }) => `${n} ${what}`), parked.size > 0 ? `${parked.size} parked on purpose` : 'nothing left');
}

async function inTime({ rows }: Ground, boundMs: number, parked: ReadonlySet<string>): Promise<Claim> {
  const runs = await rows<{ id: string; ms: number | null }>(`SELECT id, (extract(epoch FROM finished_at - created_at) * 1000)::float8 AS ms FROM agent_runs`);
  const late = runs.filter(({ id, ms }) => !parked.has(id) && (ms === null || ms > boundMs));
  const longestMs = Math.max(0, ...runs.map(({ ms }) => ms ?? 0));
  return { claim: `I21 99 of 100 runs ended within ${boundMs} ms`, ok: late.length * 100 <= runs.length, evidence: `${late.length} of ${runs.length} late, longest ${Math.round(longestMs)} ms` };
}
