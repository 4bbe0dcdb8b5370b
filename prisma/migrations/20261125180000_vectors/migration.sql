-- Vectors as they were embedded, beside the rows they stand for: an index is rebuilt from here without a model, and recall
-- without an index compares them exactly. In tables of their own, so that reading memories stays as cheap as it was; a vector goes with its row.
CREATE TABLE memory_vectors (
  tenant_id text NOT NULL,
  id uuid NOT NULL,
  -- of the row that was embedded: another version has another text
  version integer NOT NULL,
  -- fingerprint of the embedder: vectors of two of them are never compared
  embedder text NOT NULL,
  -- 32-bit floats, little-endian
  vector bytea NOT NULL CHECK (octet_length(vector) > 0 AND octet_length(vector) % 4 = 0),
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, id) REFERENCES memories (tenant_id, id) ON DELETE CASCADE
);
CREATE TABLE summary_vectors (
  tenant_id text NOT NULL,
  id uuid NOT NULL,
  version integer NOT NULL,
  embedder text NOT NULL,
  vector bytea NOT NULL CHECK (octet_length(vector) > 0 AND octet_length(vector) % 4 = 0),
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, id) REFERENCES run_summaries (tenant_id, run_id) ON DELETE CASCADE
);
DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['memory_vectors', 'summary_vectors'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY engine_sees_all ON %I TO mainstay_engine USING (true) WITH CHECK (true)', name);
    EXECUTE format('CREATE POLICY one_tenant ON %I TO mainstay_app USING (tenant_id = nullif(current_setting(''app.tenant_id'', true), ''''))', name);
  END LOOP;
END $$;
-- What hangs on a memory or summary is seen by whoever sees that.
CREATE POLICY one_user ON memory_vectors AS RESTRICTIVE TO mainstay_app
  USING (nullif(current_setting('app.user_id', true), '') IS NULL OR EXISTS (SELECT FROM memories m WHERE m.tenant_id = memory_vectors.tenant_id AND m.id = memory_vectors.id));
CREATE POLICY one_user ON summary_vectors AS RESTRICTIVE TO mainstay_app
  USING (nullif(current_setting('app.user_id', true), '') IS NULL OR EXISTS (SELECT FROM run_summaries s WHERE s.tenant_id = summary_vectors.tenant_id AND s.run_id = summary_vectors.id));
GRANT SELECT, INSERT, UPDATE ON memory_vectors, summary_vectors TO mainstay_engine;
GRANT SELECT ON memory_vectors, summary_vectors TO mainstay_app;

-- Memories of one run in the order they were written: a memory is also found by what was said beside it.
CREATE INDEX memories_run ON memories (tenant_id, run_id, id);
-- Recall by key, and recall of what the index does not hold yet: each touches the rows it answers and no other.
CREATE INDEX memories_subject ON memories (tenant_id, scope, user_id, subject) WHERE valid_to IS NULL;
CREATE INDEX memories_generation ON memories (tenant_id, indexed_generation) WHERE valid_to IS NULL;
