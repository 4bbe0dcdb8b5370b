-- What every run goes through is told by its rows and written nowhere else: that it was queued, that it started before anything
-- else happened to it, that a step without a next one completed it. Three inserts and a fifth of the log of an empty run less.

-- The history of a run, numbered without a gap: its events, its steps, and what its rows tell where no event says more.
CREATE VIEW run_history WITH (security_invoker = true) AS
  SELECT tenant_id, run_id, seq, type, data, created_at FROM run_events
  UNION ALL
  SELECT tenant_id, run_id, event_seq, 'step.completed', json_build_object('seq', seq, 'step', name, 'next', next_step, 'durationMs', duration_ms), created_at FROM run_steps
  UNION ALL
  SELECT r.tenant_id, r.id, s.event_seq + 1, 'run.completed', '{}', s.created_at
  FROM agent_runs r JOIN run_steps s ON s.tenant_id = r.tenant_id AND s.run_id = r.id AND s.seq = r.step_seq
  WHERE s.next_step IS NULL AND NOT EXISTS (SELECT FROM run_events e WHERE e.tenant_id = r.tenant_id AND e.run_id = r.id AND e.seq = s.event_seq + 1)
  UNION ALL
  SELECT r.tenant_id, r.id, o.seq, o.type, '{}', o.created_at
  FROM agent_runs r, LATERAL (VALUES (1, 'run.queued', r.created_at), (2, 'run.started', r.started_at)) AS o(seq, type, created_at)
  WHERE o.created_at IS NOT NULL AND NOT EXISTS (SELECT FROM run_events e WHERE e.tenant_id = r.tenant_id AND e.run_id = r.id AND e.seq = o.seq)
    AND NOT EXISTS (SELECT FROM run_steps s WHERE s.tenant_id = r.tenant_id AND s.run_id = r.id AND s.seq = 1 AND s.event_seq = o.seq); -- a fork begins with steps
GRANT SELECT ON run_history TO mainstay_engine, mainstay_app;
