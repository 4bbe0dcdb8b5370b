-- Debounce: the submits of one key are one run until it starts, and the last of them is what it runs.
ALTER TABLE agent_runs
  -- SHA-256 of agent, user, session and the caller's key: one width whatever their lengths.
  ADD COLUMN debounce_key bytea,
  -- No later submit moves the start beyond this; null = the first one named no limit.
  ADD COLUMN debounce_until timestamptz(3),
  -- Submits folded in after the first.
  ADD COLUMN debounced integer NOT NULL DEFAULT 0;
-- A run leaves this index by its start or its end, whichever comes first: the next submit of the key then makes a new run. A
-- paused run that has not started stays in it, so that its resume meets no other.
CREATE UNIQUE INDEX agent_runs_debounce ON agent_runs (tenant_id, debounce_key) WHERE debounce_key IS NOT NULL AND started_at IS NULL AND finished_at IS NULL;
