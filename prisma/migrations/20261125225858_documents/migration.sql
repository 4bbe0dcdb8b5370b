-- Documents that people add, cut into chunks that are found by meaning and by words. Each chunk is its own outbox, as memories are.

CREATE TYPE document_kind AS ENUM ('document', 'tool_output');

CREATE TABLE documents (
  tenant_id text NOT NULL,
  id uuid NOT NULL,
  -- NULL: the tenant's, seen by all its users.
  user_id text,
  -- NULL: found by every agent.
  agent text,
  kind document_kind NOT NULL DEFAULT 'document',
  title text NOT NULL,
  -- Where it comes from, as its bringer names it: one live version for each owner and source.
  source text,
  -- SHA-256 of owner, source, title and text: the same again is the same row.
  hash bytea NOT NULL,
  -- SHA-256 of owner and source.
  source_hash bytea,
  version integer NOT NULL DEFAULT 1 CHECK (version >= 1),
  -- Bytes of the text as UTF-8, and chunks it was cut into.
  bytes integer NOT NULL CHECK (bytes >= 0),
  chunks integer NOT NULL CHECK (chunks >= 0),
  -- Of a tool's output: which call of which run.
  run_id uuid,
  step_seq integer,
  path text,
  tool text,
  -- `key:<id>` or `run:<id>`
  added_by text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  -- Found no more: replaced or removed.
  closed_at timestamptz(3),
  replaced_by uuid,
  -- Emptied; the row goes once the index has let go of its chunks.
  erased_at timestamptz(3),
  PRIMARY KEY (tenant_id, id),
  CONSTRAINT source_has_its_hash CHECK ((source IS NULL) = (source_hash IS NULL)),
  CONSTRAINT erased_is_closed CHECK (erased_at IS NULL OR closed_at IS NOT NULL),
  CONSTRAINT output_names_its_call CHECK ((kind = 'tool_output') = (run_id IS NOT NULL AND step_seq IS NOT NULL AND path IS NOT NULL AND tool IS NOT NULL))
);
CREATE UNIQUE INDEX documents_once ON documents (tenant_id, hash) WHERE closed_at IS NULL;
CREATE UNIQUE INDEX documents_live_version ON documents (tenant_id, source_hash) WHERE closed_at IS NULL AND source_hash IS NOT NULL;
CREATE UNIQUE INDEX documents_call ON documents (tenant_id, run_id, step_seq, path) WHERE kind = 'tool_output';
CREATE INDEX documents_closed ON documents (closed_at) WHERE closed_at IS NOT NULL;

CREATE TABLE document_chunks (
  tenant_id text NOT NULL,
  id uuid NOT NULL,
  document_id uuid NOT NULL,
  -- Place in its document, from 0.
  ordinal integer NOT NULL CHECK (ordinal >= 0),
  -- As of its document: a search reads no other row to know who may see it.
  user_id text,
  agent text,
  -- Which characters of the document, as JavaScript counts them; the end is not included.
  start_at integer NOT NULL,
  end_at integer NOT NULL,
  text text NOT NULL,
  hash bytea NOT NULL,
  closed_at timestamptz(3),
  erased_at timestamptz(3),
  version integer NOT NULL DEFAULT 1,
  indexed_generation text,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, document_id) REFERENCES documents (tenant_id, id) ON DELETE CASCADE,
  CONSTRAINT some_characters CHECK (end_at > start_at)
);
CREATE UNIQUE INDEX document_chunks_place ON document_chunks (tenant_id, document_id, ordinal);
CREATE INDEX document_chunks_words ON document_chunks USING gin (to_tsvector('english', text)) WHERE closed_at IS NULL;
CREATE INDEX document_chunks_owed ON document_chunks (created_at, id) WHERE indexed_generation IS NULL;
CREATE INDEX document_chunks_generation ON document_chunks (tenant_id, indexed_generation) WHERE closed_at IS NULL;
CREATE INDEX document_chunks_erased ON document_chunks (tenant_id) WHERE erased_at IS NOT NULL;

CREATE TABLE chunk_vectors (
  tenant_id text NOT NULL,
  id uuid NOT NULL,
  version integer NOT NULL,
  embedder text NOT NULL,
  vector bytea NOT NULL CHECK (octet_length(vector) > 0 AND octet_length(vector) % 4 = 0),
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, id) REFERENCES document_chunks (tenant_id, id) ON DELETE CASCADE
);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['documents', 'document_chunks', 'chunk_vectors'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY engine_sees_all ON %I TO mainstay_engine USING (true) WITH CHECK (true)', name);
    EXECUTE format('CREATE POLICY one_tenant ON %I TO mainstay_app USING (tenant_id = nullif(current_setting(''app.tenant_id'', true), '''')) '
      'WITH CHECK (tenant_id = nullif(current_setting(''app.tenant_id'', true), ''''))', name);
  END LOOP;
  -- A user sees what is theirs and what is the tenant's.
  FOREACH name IN ARRAY ARRAY['documents', 'document_chunks'] LOOP
    EXECUTE format('CREATE POLICY one_user ON %I AS RESTRICTIVE TO mainstay_app USING (nullif(current_setting(''app.user_id'', true), '''') IS NULL '
      'OR user_id IS NULL OR user_id = current_setting(''app.user_id'', true))', name);
  END LOOP;
END $$;
CREATE POLICY one_user ON chunk_vectors AS RESTRICTIVE TO mainstay_app
  USING (nullif(current_setting('app.user_id', true), '') IS NULL OR EXISTS (SELECT FROM document_chunks c WHERE c.tenant_id = chunk_vectors.tenant_id AND c.id = chunk_vectors.id));
GRANT SELECT, INSERT, UPDATE ON documents, document_chunks TO mainstay_app;
GRANT SELECT ON chunk_vectors TO mainstay_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON documents, document_chunks, chunk_vectors TO mainstay_engine;
