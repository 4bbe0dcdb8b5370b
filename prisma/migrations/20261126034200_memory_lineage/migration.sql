-- What a memory was made of, where it was made of others: old outcomes rolled into one. Its statement is made of these lines and of
-- nothing else, so that it can be made again when one of them has to go, also when the row the line is from went long ago.
CREATE TABLE memory_lineage (
  tenant_id text NOT NULL,
  child_id uuid NOT NULL,
  source_id uuid NOT NULL,
  -- As its child's.
  user_id text,
  -- Runs that have borne the source out: when the last of them is erased, the line goes.
  runs uuid[] NOT NULL,
  line text NOT NULL,
  said_at timestamptz(3) NOT NULL,
  PRIMARY KEY (tenant_id, child_id, source_id),
  FOREIGN KEY (tenant_id, child_id) REFERENCES memories (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX memory_lineage_source ON memory_lineage (tenant_id, source_id);
CREATE INDEX memory_lineage_runs ON memory_lineage USING gin (runs);

ALTER TABLE memories ADD COLUMN rolls_up boolean NOT NULL DEFAULT false;
-- One that holds, for an owner and subject.
CREATE UNIQUE INDEX memories_one_roll_up ON memories (tenant_id, scope, coalesce(user_id, ''), coalesce(agent, ''), subject) WHERE rolls_up AND valid_to IS NULL;
CREATE INDEX memories_outcomes ON memories (tenant_id, last_seen_at) WHERE type = 'outcome' AND valid_to IS NULL AND NOT rolls_up;

ALTER TABLE memory_lineage ENABLE ROW LEVEL SECURITY;
ALTER TABLE memory_lineage FORCE ROW LEVEL SECURITY;
CREATE POLICY engine_sees_all ON memory_lineage TO mainstay_engine USING (true) WITH CHECK (true);
CREATE POLICY one_tenant ON memory_lineage TO mainstay_app USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
CREATE POLICY one_user ON memory_lineage AS RESTRICTIVE TO mainstay_app USING (nullif(current_setting('app.user_id', true), '') IS NULL
  OR user_id IS NULL OR user_id = current_setting('app.user_id', true));
GRANT SELECT, INSERT ON memory_lineage TO mainstay_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON memory_lineage TO mainstay_engine;
GRANT INSERT ON memories TO mainstay_engine;
