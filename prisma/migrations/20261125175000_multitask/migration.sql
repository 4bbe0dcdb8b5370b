-- What a second message of a busy session does: `steer` is heard by the run under way, `interrupt` ends it and goes first.
ALTER TABLE agent_runs
  -- Until it starts, the run under way may take this one's input as something said meanwhile; it then ends as delivered.
  ADD COLUMN steers boolean NOT NULL DEFAULT false,
  -- The run that took this one's place: with cancel_requested_at it says that the cancel was nobody's wish but the next message.
  ADD COLUMN interrupted_by uuid;
-- Looked into before each turn of a model, and nearly always empty.
CREATE INDEX agent_runs_steers ON agent_runs (tenant_id, user_id, session_id, session_seq) WHERE steers AND started_at IS NULL AND finished_at IS NULL;
