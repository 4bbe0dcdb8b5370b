-- What people say of memories and of runs, and which runs were left without memory so that its worth can be measured.

CREATE TABLE memory_feedback (
  tenant_id text NOT NULL,
  memory_id uuid NOT NULL,
  -- `key:<id>`
  actor text NOT NULL,
  -- The run whose answer it was about; the memory itself where none is named.
  run_id uuid NOT NULL DEFAULT '00000000-0000-0000-0000-000000000000',
  verdict text NOT NULL CHECK (verdict IN ('useful', 'wrong', 'outdated')),
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, memory_id, actor, run_id),
  FOREIGN KEY (tenant_id, memory_id) REFERENCES memories (tenant_id, id) ON DELETE CASCADE
);
CREATE TABLE run_feedback (
  tenant_id text NOT NULL,
  run_id uuid NOT NULL,
  actor text NOT NULL,
  satisfied boolean,
  resolved boolean,
  -- How long the matter took the person, milliseconds.
  handling_ms bigint CHECK (handling_ms >= 0),
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, run_id, actor),
  CONSTRAINT says_something CHECK (num_nonnulls(satisfied, resolved, handling_ms) > 0)
);
CREATE INDEX run_feedback_recent ON run_feedback (tenant_id, created_at);

ALTER TABLE retrieval_traces ADD COLUMN held_out boolean NOT NULL DEFAULT false;
-- Which runs a memory was shown to.
CREATE INDEX retrieval_traces_injected ON retrieval_traces USING gin (injected);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['memory_feedback', 'run_feedback'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY engine_sees_all ON %I TO mainstay_engine USING (true) WITH CHECK (true)', name);
    EXECUTE format('CREATE POLICY one_tenant ON %I TO mainstay_app USING (tenant_id = nullif(current_setting(''app.tenant_id'', true), '''')) '
      'WITH CHECK (tenant_id = nullif(current_setting(''app.tenant_id'', true), ''''))', name);
  END LOOP;
END $$;
-- What hangs on a run is seen by whoever sees the run, what hangs on a memory by whoever sees the memory.
CREATE POLICY one_user ON run_feedback AS RESTRICTIVE TO mainstay_app USING (nullif(current_setting('app.user_id', true), '') IS NULL
  OR EXISTS (SELECT FROM agent_runs r WHERE r.tenant_id = run_feedback.tenant_id AND r.id = run_feedback.run_id));
CREATE POLICY one_user ON memory_feedback AS RESTRICTIVE TO mainstay_app USING (nullif(current_setting('app.user_id', true), '') IS NULL
  OR EXISTS (SELECT FROM memories m WHERE m.tenant_id = memory_feedback.tenant_id AND m.id = memory_feedback.memory_id));
GRANT SELECT, INSERT, UPDATE ON memory_feedback, run_feedback TO mainstay_app;
GRANT SELECT, DELETE ON memory_feedback, run_feedback TO mainstay_engine;
