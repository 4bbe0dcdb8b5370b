-- The first shape of Mainstay's database. Every row of a tenant carries tenant_id first in its key.

-- Roles. Two doors: the engine's grouped statements see all tenants, everything a person sees goes through row-level
-- security. They are roles without login: grant them to the logins of DATABASE_ENGINE_URL and DATABASE_APP_URL, or let
-- the owner take them on (`SET ROLE`), as the development stack does.
DO $$ BEGIN
  CREATE ROLE mainstay_engine NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
DO $$ BEGIN
  CREATE ROLE mainstay_app NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
DO $$ BEGIN
  EXECUTE format('GRANT mainstay_engine, mainstay_app TO %I', current_user);
EXCEPTION WHEN unique_violation OR invalid_grant_operation THEN NULL; END $$;

CREATE TYPE run_status AS ENUM ('queued', 'running', 'waiting', 'completed', 'failed', 'cancelled', 'expired');
CREATE TYPE wait_reason AS ENUM ('timer', 'approval', 'signal', 'child', 'batch', 'budget', 'rate', 'outcome', 'paused', 'restored');
CREATE TYPE tool_effect AS ENUM ('read', 'keyed', 'unkeyed');
CREATE TYPE tool_call_status AS ENUM ('intent', 'succeeded', 'failed', 'unknown', 'not_applied', 'denied');
CREATE TYPE model_call_status AS ENUM ('open', 'settled', 'failed', 'booked');
CREATE TYPE memory_type AS ENUM ('preference', 'fact', 'decision', 'constraint', 'outcome', 'procedure');
CREATE TYPE memory_scope AS ENUM ('user', 'agent', 'workspace');
CREATE TYPE source_role AS ENUM ('user', 'tool', 'agent');
CREATE TYPE verdict_decision AS ENUM ('ADMIT', 'REINFORCE', 'SUPERSEDE', 'MERGE', 'REJECT', 'QUARANTINE');
CREATE TYPE memory_state AS ENUM ('none', 'due', 'done');

-- One sequence for the whole database: a fence minted later is larger, whatever the run.
CREATE SEQUENCE fence_seq CACHE 1;
CREATE SEQUENCE worker_seq CACHE 1;

CREATE TABLE tenants (
  id text PRIMARY KEY CHECK (id ~ '^[a-z0-9][a-z0-9-]{0,62}$'),
  weight double precision NOT NULL DEFAULT 1 CHECK (weight > 0),
  max_running integer CHECK (max_running > 0),
  created_at timestamptz(3) NOT NULL DEFAULT now()
);

CREATE TABLE api_keys (
  id text PRIMARY KEY,
  tenant_id text NOT NULL REFERENCES tenants (id),
  user_id text,
  name text NOT NULL,
  hash bytea NOT NULL CHECK (octet_length(hash) = 32),
  scopes text[] NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  expires_at timestamptz(3),
  revoked_at timestamptz(3),
  last_used_at timestamptz(3)
);
CREATE INDEX api_keys_tenant ON api_keys (tenant_id, id);

CREATE TABLE permissions (
  tenant_id text NOT NULL,
  user_id text NOT NULL,
  roles text[] NOT NULL DEFAULT '{}',
  datasets text[] NOT NULL DEFAULT '{}',
  scopes text[] NOT NULL DEFAULT '{}',
  epoch integer NOT NULL DEFAULT 1,
  updated_at timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, user_id)
);

CREATE TABLE agent_runs (
  tenant_id text NOT NULL,
  id uuid NOT NULL,
  agent text NOT NULL,
  version integer NOT NULL,
  pool text NOT NULL,
  visible boolean NOT NULL DEFAULT true,
  user_id text,
  session_id text,
  session_seq bigint,
  holds_session boolean NOT NULL DEFAULT false,
  parent_id uuid,
  status run_status NOT NULL DEFAULT 'queued',
  wait_reason wait_reason,
  wake_at timestamptz(3),
  priority integer NOT NULL DEFAULT 0,
  idempotency_key text,
  request_hash bytea NOT NULL,
  metadata json NOT NULL DEFAULT '{}',
  input json NOT NULL,
  output json,
  error_code text,
  error_message text,
  fence bigint NOT NULL DEFAULT 0,
  claimed_by uuid,
  step_deadline_at timestamptz(3),
  step_seq integer NOT NULL DEFAULT 0,
  next_step text NOT NULL,
  step_claims integer NOT NULL DEFAULT 0,
  attempt integer NOT NULL DEFAULT 0,
  crashes integer NOT NULL DEFAULT 0,
  inbox_seq integer NOT NULL DEFAULT 0,
  event_seq integer NOT NULL DEFAULT 1,
  cancel_requested_at timestamptz(3),
  memory_state memory_state NOT NULL DEFAULT 'none',
  model text,
  input_tokens bigint NOT NULL DEFAULT 0,
  output_tokens bigint NOT NULL DEFAULT 0,
  cost_micro_usd bigint NOT NULL DEFAULT 0,
  budget_micro_usd bigint,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  started_at timestamptz(3),
  finished_at timestamptz(3),
  PRIMARY KEY (tenant_id, id),
  CONSTRAINT ended_has_its_time CHECK ((status IN ('completed', 'failed', 'cancelled', 'expired')) = (finished_at IS NOT NULL)),
  CONSTRAINT running_has_its_claim CHECK ((status = 'running') = (claimed_by IS NOT NULL)),
  CONSTRAINT waiting_has_its_reason CHECK ((status = 'waiting') = (wait_reason IS NOT NULL)),
  CONSTRAINT failed_has_its_error CHECK (status <> 'failed' OR error_code IS NOT NULL),
  CONSTRAINT queued_has_its_time CHECK (status <> 'queued' OR wake_at IS NOT NULL),
  CONSTRAINT session_is_a_users CHECK (session_id IS NULL OR (user_id IS NOT NULL AND session_seq IS NOT NULL)),
  CONSTRAINT ended_holds_no_session CHECK (NOT holds_session OR finished_at IS NULL)
) WITH (fillfactor = 70, toast_tuple_target = 256, autovacuum_vacuum_scale_factor = 0.05);
CREATE UNIQUE INDEX agent_runs_idempotency ON agent_runs (tenant_id, idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE INDEX agent_runs_due ON agent_runs (pool, wake_at, id) WHERE status IN ('queued', 'waiting') AND wake_at IS NOT NULL;
CREATE INDEX agent_runs_held ON agent_runs (claimed_by) WHERE status = 'running';
CREATE INDEX agent_runs_session ON agent_runs (tenant_id, user_id, session_id, session_seq) WHERE session_id IS NOT NULL AND status IN ('queued', 'running', 'waiting');
CREATE UNIQUE INDEX agent_runs_session_holder ON agent_runs (tenant_id, user_id, session_id) WHERE holds_session;
CREATE INDEX agent_runs_memory_due ON agent_runs (finished_at) WHERE memory_state = 'due';
CREATE INDEX agent_runs_user ON agent_runs (tenant_id, user_id, id);

CREATE TABLE run_steps (
  tenant_id text NOT NULL,
  run_id uuid NOT NULL,
  seq integer NOT NULL,
  event_seq integer NOT NULL,
  fence bigint NOT NULL,
  name text NOT NULL,
  next_step text,
  data json,
  duration_ms integer NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, run_id, seq)
);

CREATE TABLE step_records (
  tenant_id text NOT NULL,
  run_id uuid NOT NULL,
  step_seq integer NOT NULL,
  path text NOT NULL,
  fence bigint NOT NULL,
  name text NOT NULL,
  args_hash bytea NOT NULL,
  result json,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, run_id, step_seq, path)
);

CREATE TABLE run_events (
  tenant_id text NOT NULL,
  run_id uuid NOT NULL,
  seq integer NOT NULL,
  type text NOT NULL,
  data json NOT NULL DEFAULT '{}',
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, run_id, seq)
);

CREATE TABLE tool_calls (
  tenant_id text NOT NULL,
  run_id uuid NOT NULL,
  step_seq integer NOT NULL,
  path text NOT NULL,
  key text NOT NULL,
  user_id text,
  fence bigint NOT NULL,
  tool text NOT NULL,
  tool_version integer NOT NULL,
  effect tool_effect NOT NULL,
  status tool_call_status NOT NULL,
  args_hash bytea NOT NULL,
  request json NOT NULL,
  response json,
  response_meta json NOT NULL DEFAULT '{}',
  error_code text,
  error_message text,
  attempts integer NOT NULL DEFAULT 1,
  duration_ms integer,
  started_at timestamptz(3) NOT NULL DEFAULT now(),
  finished_at timestamptz(3),
  PRIMARY KEY (tenant_id, run_id, step_seq, path),
  CONSTRAINT intent_is_open CHECK ((status = 'intent') = (finished_at IS NULL))
);
CREATE UNIQUE INDEX tool_calls_key ON tool_calls (tenant_id, key);

CREATE TABLE model_calls (
  tenant_id text NOT NULL,
  run_id uuid NOT NULL,
  step_seq integer NOT NULL,
  path text NOT NULL,
  attempt integer NOT NULL,
  fence bigint NOT NULL,
  agent text NOT NULL,
  model text NOT NULL,
  status model_call_status NOT NULL,
  args_hash bytea NOT NULL,
  response json,
  stop_reason text,
  request_id text,
  error_code text,
  input_tokens integer NOT NULL DEFAULT 0,
  cache_write_5m_tokens integer NOT NULL DEFAULT 0,
  cache_write_1h_tokens integer NOT NULL DEFAULT 0,
  cache_read_tokens integer NOT NULL DEFAULT 0,
  output_tokens integer NOT NULL DEFAULT 0,
  reserved_micro_usd bigint NOT NULL CHECK (reserved_micro_usd >= 0),
  cost_micro_usd bigint NOT NULL DEFAULT 0 CHECK (cost_micro_usd >= 0),
  duration_ms integer,
  started_at timestamptz(3) NOT NULL DEFAULT now(),
  finished_at timestamptz(3),
  PRIMARY KEY (tenant_id, run_id, step_seq, path, attempt),
  CONSTRAINT open_has_no_end CHECK ((status = 'open') = (finished_at IS NULL))
);

CREATE TABLE budgets (
  tenant_id text NOT NULL,
  subject text NOT NULL CHECK (subject = 'tenant' OR subject LIKE 'agent:%'),
  limit_micro_usd bigint NOT NULL CHECK (limit_micro_usd >= 0),
  spent_micro_usd bigint NOT NULL DEFAULT 0 CHECK (spent_micro_usd >= 0),
  reserved_micro_usd bigint NOT NULL DEFAULT 0 CHECK (reserved_micro_usd >= 0),
  PRIMARY KEY (tenant_id, subject)
);

CREATE TABLE sessions (
  tenant_id text NOT NULL,
  user_id text NOT NULL,
  id text NOT NULL,
  next_seq bigint NOT NULL DEFAULT 1,
  version integer NOT NULL DEFAULT 0,
  state json NOT NULL DEFAULT '{}',
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  updated_at timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, user_id, id)
);

CREATE TABLE messages (
  tenant_id text NOT NULL,
  user_id text NOT NULL,
  session_id text NOT NULL,
  seq bigint GENERATED BY DEFAULT AS IDENTITY,
  run_id uuid NOT NULL,
  role text NOT NULL CHECK (role IN ('user', 'assistant')),
  content text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, user_id, session_id, seq)
);

CREATE TABLE memories (
  tenant_id text NOT NULL,
  id uuid NOT NULL,
  scope memory_scope NOT NULL,
  user_id text,
  agent text,
  type memory_type NOT NULL,
  subject text NOT NULL,
  attribute text NOT NULL,
  value text NOT NULL,
  statement text NOT NULL CHECK (char_length(statement) BETWEEN 1 AND 300),
  hash bytea NOT NULL CHECK (octet_length(hash) = 32),
  slot text,
  source_role source_role NOT NULL,
  confidence double precision NOT NULL CHECK (confidence BETWEEN 0 AND 1),
  evidence json NOT NULL,
  run_id uuid NOT NULL,
  session_id text,
  gate_version integer NOT NULL,
  seen_count integer NOT NULL DEFAULT 1,
  cited_count integer NOT NULL DEFAULT 0,
  valid_from timestamptz(3) NOT NULL,
  valid_to timestamptz(3),
  superseded_by uuid,
  last_seen_at timestamptz(3) NOT NULL DEFAULT now(),
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  version integer NOT NULL DEFAULT 1,
  indexed_generation text,
  PRIMARY KEY (tenant_id, id),
  CONSTRAINT scope_has_its_owner CHECK ((scope = 'user') = (user_id IS NOT NULL) AND (scope <> 'agent' OR agent IS NOT NULL))
);
-- No memory without its evidence: an empty list is refused.
ALTER TABLE memories ADD CONSTRAINT evidence_is_there CHECK (json_array_length(evidence) > 0);
CREATE UNIQUE INDEX memories_hash ON memories (tenant_id, hash) WHERE valid_to IS NULL;
CREATE UNIQUE INDEX memories_single_slot ON memories (tenant_id, slot) WHERE slot IS NOT NULL AND valid_to IS NULL;
CREATE INDEX memories_live ON memories (tenant_id, scope, user_id, created_at) WHERE valid_to IS NULL;
CREATE INDEX memories_unindexed ON memories (created_at) WHERE indexed_generation IS NULL;
CREATE INDEX memories_words ON memories USING gin (to_tsvector('english', statement)) WHERE valid_to IS NULL;

CREATE TABLE memory_candidates (
  tenant_id text NOT NULL,
  run_id uuid NOT NULL,
  gate_version integer NOT NULL,
  index integer NOT NULL,
  user_id text,
  candidate json NOT NULL,
  decision verdict_decision NOT NULL,
  stage text NOT NULL,
  reason text NOT NULL,
  confidence double precision NOT NULL,
  scores json NOT NULL,
  target_id uuid,
  memory_id uuid,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, run_id, gate_version, index)
);

CREATE TABLE run_summaries (
  tenant_id text NOT NULL,
  run_id uuid NOT NULL,
  user_id text,
  session_id text,
  agent text NOT NULL,
  summary json NOT NULL,
  text text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  version integer NOT NULL DEFAULT 1,
  indexed_generation text,
  PRIMARY KEY (tenant_id, run_id)
);
CREATE INDEX run_summaries_unindexed ON run_summaries (created_at) WHERE indexed_generation IS NULL;

CREATE TABLE retrieval_traces (
  tenant_id text NOT NULL,
  id uuid NOT NULL,
  run_id uuid NOT NULL,
  user_id text,
  step_seq integer NOT NULL,
  query text NOT NULL,
  embedder text NOT NULL,
  semantic boolean NOT NULL,
  degraded boolean NOT NULL,
  candidates json NOT NULL,
  injected uuid[] NOT NULL,
  cited uuid[] NOT NULL DEFAULT '{}',
  tokens integer NOT NULL,
  duration_ms integer NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX retrieval_traces_run ON retrieval_traces (tenant_id, run_id);

CREATE TABLE audit_events (
  tenant_id text NOT NULL,
  id bigint GENERATED BY DEFAULT AS IDENTITY,
  actor text NOT NULL,
  user_id text,
  action text NOT NULL,
  object_type text NOT NULL,
  object_id text NOT NULL,
  allowed boolean NOT NULL,
  details json NOT NULL DEFAULT '{}',
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id)
);
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '% is append only', TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege'; END $$;
CREATE TRIGGER audit_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_events FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
-- A recorded step never changes either.
CREATE TRIGGER run_steps_append_only BEFORE UPDATE ON run_steps FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

CREATE TABLE workers (
  id bigint PRIMARY KEY,
  incarnation uuid NOT NULL UNIQUE,
  name text NOT NULL,
  pool text NOT NULL,
  machines text[] NOT NULL,
  lease_until timestamptz(3) NOT NULL,
  started_at timestamptz(3) NOT NULL DEFAULT now(),
  ended_at timestamptz(3)
) WITH (fillfactor = 50);
CREATE INDEX workers_live ON workers (pool, lease_until) WHERE ended_at IS NULL;

-- Row-level security: forced, so that the owner is bound too. A row is seen by the engine, or by the app within the tenant
-- its transaction has set; where a user is set as well, that user's rows only.
DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['api_keys', 'permissions', 'agent_runs', 'run_steps', 'step_records', 'run_events', 'tool_calls', 'model_calls',
    'budgets', 'sessions', 'messages', 'memories', 'memory_candidates', 'run_summaries', 'retrieval_traces', 'audit_events'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY engine_sees_all ON %I TO mainstay_engine USING (true) WITH CHECK (true)', name);
    EXECUTE format('CREATE POLICY one_tenant ON %I TO mainstay_app USING (tenant_id = nullif(current_setting(''app.tenant_id'', true), '''')) '
      'WITH CHECK (tenant_id = nullif(current_setting(''app.tenant_id'', true), ''''))', name);
  END LOOP;
  FOREACH name IN ARRAY ARRAY['agent_runs', 'sessions', 'messages', 'run_summaries', 'retrieval_traces', 'memory_candidates', 'tool_calls', 'permissions'] LOOP
    EXECUTE format('CREATE POLICY one_user ON %I AS RESTRICTIVE TO mainstay_app USING (nullif(current_setting(''app.user_id'', true), '''') IS NULL '
      'OR user_id = current_setting(''app.user_id'', true))', name);
  END LOOP;
END $$;
CREATE POLICY one_user ON memories AS RESTRICTIVE TO mainstay_app
  USING (nullif(current_setting('app.user_id', true), '') IS NULL OR scope <> 'user' OR user_id = current_setting('app.user_id', true));
-- What hangs on a run is seen by whoever sees the run.
DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['run_steps', 'step_records', 'run_events', 'model_calls'] LOOP
    EXECUTE format('CREATE POLICY one_user ON %I AS RESTRICTIVE TO mainstay_app USING (nullif(current_setting(''app.user_id'', true), '''') IS NULL '
      'OR EXISTS (SELECT FROM agent_runs r WHERE r.tenant_id = %I.tenant_id AND r.id = %I.run_id))', name, name, name);
  END LOOP;
END $$;
CREATE POLICY one_user ON audit_events AS RESTRICTIVE FOR SELECT TO mainstay_app
  USING (nullif(current_setting('app.user_id', true), '') IS NULL OR user_id = current_setting('app.user_id', true));

-- Grants: what each door needs and no more. Nobody deletes yet.
DO $$ BEGIN EXECUTE format('GRANT USAGE ON SCHEMA %I TO mainstay_engine, mainstay_app', current_schema()); END $$;
GRANT SELECT, INSERT, UPDATE ON tenants, api_keys, agent_runs, tool_calls, model_calls, budgets, sessions, workers, permissions TO mainstay_engine;
GRANT SELECT, INSERT ON run_steps, step_records, run_events, messages, audit_events TO mainstay_engine;
GRANT SELECT, UPDATE ON memories, run_summaries TO mainstay_engine;
GRANT USAGE ON SEQUENCE fence_seq, worker_seq TO mainstay_engine;
GRANT SELECT ON tenants, agent_runs, run_steps, step_records, run_events, tool_calls, model_calls, budgets, sessions, messages,
  memories, memory_candidates, run_summaries, retrieval_traces, audit_events, permissions, api_keys, workers TO mainstay_app;
GRANT UPDATE (memory_state) ON agent_runs TO mainstay_app; -- also what FOR SHARE asks for
GRANT INSERT, UPDATE ON memories, run_summaries, retrieval_traces, permissions, api_keys, budgets TO mainstay_app;
GRANT INSERT ON memory_candidates, audit_events, step_records TO mainstay_app;
DO $$ BEGIN
  EXECUTE format('GRANT USAGE ON ALL SEQUENCES IN SCHEMA %I TO mainstay_engine, mainstay_app', current_schema());
END $$;
