// For each invariant a state that breaks it, made by hand and taken back: the look of that name must see it. What the mutants
// break (I1, I5, I6, I7, I17) is not all there is to see.
import type { Evidence } from './check-runs.ts';
import { nothingLeft } from './check-rest.ts';
import type { InvariantId, Look } from './invariants.ts';
import { openIntake } from './stand.ts';

interface BrokenState {
  readonly id: InvariantId;
  readonly what: string;
  readonly breaks: (evidence: Evidence) => unknown;
  readonly mends: (evidence: Evidence) => unknown;
  /** Other than the run's own of that name. */
  readonly look?: (evidence: Evidence) => Promise<Look>;
}

/** By SQL, past the triggers that forbid it. */
const bySql = (id: InvariantId, what: string, breaks: string, mends: string): BrokenState => {
  const run = (text: string) => ({ stand }: Evidence): Promise<unknown> => stand.rows(`BEGIN; SET LOCAL session_replication_role = replica; ${text}; COMMIT`);
  return { id, what, breaks: run(breaks), mends: run(mends) };
};

const AN_ENDED_RUN = `(SELECT id FROM agent_runs WHERE status = 'completed' ORDER BY id LIMIT 1)`;
const A_LONG_RUN = `(SELECT run_id FROM run_steps WHERE seq = 2 ORDER BY run_id LIMIT 1)`;
const A_TRANSCRIPT = `run_id = (SELECT id FROM agent_runs WHERE agent = 'chaos-agent' AND status = 'completed' ORDER BY id LIMIT 1) AND seq = 1`;

export const BROKEN_STATES: readonly BrokenState[] = [
  { id: 'I1', what: 'a run that was accepted and is gone', breaks: ({ log }) => log.accepted.push({ tenant: 'acme', key: 'ghost', id: '00000000-0000-7000-8000-000000000000', kind: 'steps', atMs: 0 }), mends: ({ log }) => log.accepted.pop() },
  bySql('I1', 'a second terminal event', `INSERT INTO run_events (tenant_id, run_id, seq, type) SELECT tenant_id, id, 999, 'run.failed' FROM agent_runs WHERE id = ${AN_ENDED_RUN}`, `DELETE FROM run_events WHERE seq = 999`),
  { id: 'I2', what: 'a run that nobody asked for', breaks: ({ log }) => log.accepted.push(...log.accepted.splice(0, 1).map((run) => ({ ...run, id: 'other' }))), mends: ({ log, stand }) => restore(log, stand) },
  { id: 'I3', what: 'one key answered with two runs', breaks: ({ log }) => { const [first] = log.accepted; if (first) log.accepted.push({ ...first, id: 'other' }); }, mends: ({ log }) => log.accepted.pop() },
  bySql('I4', 'a gap in the steps', `UPDATE run_steps SET seq = 900 WHERE run_id = ${A_LONG_RUN} AND seq = 2`, `UPDATE run_steps SET seq = 2 WHERE seq = 900`),
  bySql('I5', 'a step under a younger fence than the next', `UPDATE run_steps SET fence = fence + 1000000 WHERE run_id = ${A_LONG_RUN} AND seq = 1`, `UPDATE run_steps SET fence = fence - 1000000 WHERE fence > 1000000`),
  { id: 'I6', what: 'a step that comes under another fence than its run has', breaks: ({ stand }) => stand.rows(`INSERT INTO run_steps (tenant_id, run_id, seq, event_seq, fence, name, duration_ms) SELECT tenant_id, id, 901, 901, 0, 'late', 1 FROM agent_runs WHERE id = ${AN_ENDED_RUN}`), mends: ({ stand }) => stand.rows(`DELETE FROM run_steps WHERE seq = 901; DELETE FROM chaos_witness WHERE note = 'step 901'`) },
  { id: 'I7', what: 'an effect applied twice', breaks: ({ stand: { sink } }) => { const [first] = sink.effects; if (first) sink.effects.push({ ...first, key: 'another' }); }, mends: ({ stand: { sink } }) => sink.effects.pop() },
  { id: 'I8', what: 'an effect that no ledger row knows', breaks: ({ stand: { sink } }) => sink.effects.push({ kind: 'unkeyed', key: 'unheard of', run: 'nobody', line: 'z' }), mends: ({ stand: { sink } }) => sink.effects.pop() },
  bySql('I9', 'calls of users who hold no scope', `UPDATE permissions SET scopes = '{}'`, `UPDATE permissions SET scopes = '{effects:write}'`),
  bySql('I10', 'a call that cost more than it is booked at', `UPDATE model_calls SET cost_micro_usd = cost_micro_usd + 1 WHERE status = 'settled'`, `UPDATE model_calls SET cost_micro_usd = cost_micro_usd - 1 WHERE status = 'settled'`),
  bySql('I11', 'a budget that was passed', `UPDATE budgets SET spent_micro_usd = spent_micro_usd + 1000000000000`, `UPDATE budgets SET spent_micro_usd = spent_micro_usd - 1000000000000`),
  bySql('I12', 'a tool use that was never answered', `ALTER TABLE run_steps ADD COLUMN kept json; UPDATE run_steps SET kept = data, data = '{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t"}]},{"role":"user","content":[{"type":"text"}]}]}' WHERE ${A_TRANSCRIPT}`, `UPDATE run_steps SET data = kept WHERE kept IS NOT NULL; ALTER TABLE run_steps DROP COLUMN kept`),
  bySql('I14', 'memories newer than the index', `UPDATE memories SET version = version + 1`, `UPDATE memories SET version = version - 1`),
  bySql('I19', 'an occurrence at a moment that the calendar does not name', `UPDATE schedule_occurrences SET occurrence = occurrence + interval '1 s'`, `UPDATE schedule_occurrences SET occurrence = occurrence - interval '1 s'`),
  bySql('I19', 'a schedule that fell silent', `UPDATE schedules SET paused_at = paused_at + interval '1 minute'`, `UPDATE schedules SET paused_at = paused_at - interval '1 minute'`),
  bySql('I21', 'runs that took an hour', `UPDATE agent_runs SET created_at = created_at - interval '1 hour'`, `UPDATE agent_runs SET created_at = created_at + interval '1 hour'`),
  {
    id: 'I17', what: 'a job of the intake that nobody takes', look: (evidence) => nothingLeft(evidence, 0),
    breaks: ({ stand }) => withIntake(stand, async (intake) => { await intake.pause(); await intake.add('run', {}, { jobId: 'left' }); }),
    mends: ({ stand }) => withIntake(stand, async (intake) => { await intake.remove('left'); await intake.resume(); }),
  },
];

async function withIntake(stand: Evidence['stand'], work: (intake: ReturnType<typeof openIntake>) => Promise<void>): Promise<void> {
  const intake = openIntake(stand);
  try { await work(intake); } finally { await intake.close(); }
}

function restore(log: Evidence['log'], { rows }: Evidence['stand']): Promise<unknown> {
  const moved = log.accepted.pop();
  return rows<{ id: string }>('SELECT id FROM agent_runs WHERE tenant_id = $1 AND idempotency_key = $2', [moved?.tenant, moved?.key]).then(([run]) => { if (moved && run) log.accepted.unshift({ ...moved, id: run.id }); });
}
