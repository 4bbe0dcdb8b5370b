-- Submission inside the caller's own transaction: `SELECT mainstay.submit('acme', 'support-agent', '{"message": "…"}', 'order-7')`.
-- The run exists exactly when the caller's transaction commits. A login for it needs the role mainstay_submit, which can do
-- nothing else, and a row in submit_logins, which says for which tenants it may.

DO $$ BEGIN
  CREATE ROLE mainstay_submit NOLOGIN;
EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;

-- What processes know, by name and version, so that SQL can pin a run as the API does. Announced at every start.
CREATE TABLE machines (
  name text NOT NULL,
  version integer NOT NULL,
  pool text NOT NULL,
  start_step text NOT NULL,
  model text NOT NULL,
  budget_micro_usd bigint,
  visible boolean NOT NULL,
  announced_at timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (name, version)
);
GRANT SELECT, INSERT, UPDATE ON machines TO mainstay_engine;

CREATE TABLE submit_logins (
  login text NOT NULL,
  tenant text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (login, tenant)
);
GRANT SELECT, INSERT, DELETE ON submit_logins TO mainstay_engine;

CREATE SCHEMA IF NOT EXISTS mainstay;
DO $do$ BEGIN
  EXECUTE format($fn$
CREATE OR REPLACE FUNCTION mainstay.submit(tenant text, agent text, input json, key text DEFAULT NULL, "user" text DEFAULT NULL, session text DEFAULT NULL,
  priority integer DEFAULT 0, metadata json DEFAULT '{}', start_at timestamptz DEFAULT NULL) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = %I, pg_temp AS $body$
DECLARE
  m machines%%ROWTYPE;
  made uuid;
  body bytea;
  place bigint;
  before record;
BEGIN
  IF NOT EXISTS (SELECT FROM submit_logins l WHERE l.login = session_user AND l.tenant = submit.tenant) THEN
    RAISE EXCEPTION 'forbidden: the login "%%" may not submit for this tenant', session_user USING ERRCODE = 'insufficient_privilege', HINT = 'An operator runs: mainstay logins allow <login> --tenant <tenant>';
  END IF;
  SELECT * INTO m FROM machines WHERE machines.name = submit.agent AND visible ORDER BY version DESC LIMIT 1;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'agent_unknown: there is no agent "%%"', left(agent, 100) USING ERRCODE = 'invalid_parameter_value', HINT = 'Use the name of a registered agent; GET /v1/agents lists them.';
  END IF;
  IF input IS NULL OR octet_length(input::text) > 262144 OR octet_length(metadata::text) > 16384 OR json_typeof(metadata) <> 'object' THEN
    RAISE EXCEPTION 'data_not_storable: input must be JSON of at most 256 KiB, metadata an object of at most 16 KiB' USING ERRCODE = 'invalid_parameter_value', HINT = 'Put large data where the agent can fetch it.';
  END IF;
  IF abs(priority) > 1000 OR length(coalesce(key, 'x')) NOT BETWEEN 1 AND 190 OR length(coalesce("user", 'x')) NOT BETWEEN 1 AND 200 OR length(coalesce(session, 'x')) NOT BETWEEN 1 AND 200
    OR (session IS NOT NULL AND "user" IS NULL) OR concat(key, "user", session) ~ '[[:cntrl:]]' THEN
    RAISE EXCEPTION 'bad_request: a key, user or session is no name, a session has no user, or the priority is out of range' USING ERRCODE = 'invalid_parameter_value', HINT = 'Names have 1 to 200 printable characters; priority is -1000 to 1000.';
  END IF;
  body := sha256(convert_to(json_build_array(agent, input::jsonb, "user", session, priority, metadata::jsonb, start_at)::text, 'UTF8'));
  IF key IS NOT NULL THEN
    -- two callers with one key take turns: the second sees what the first committed, or makes it after a rollback
    PERFORM pg_advisory_xact_lock(hashtextextended('submit:' || tenant || ':' || key, 0));
    SELECT r.id, r.request_hash INTO before FROM agent_runs r WHERE r.tenant_id = submit.tenant AND r.idempotency_key = 'sql:' || key;
    IF FOUND THEN
      IF before.request_hash <> body THEN
        RAISE EXCEPTION 'idempotency_conflict: this key was used with another request' USING ERRCODE = 'unique_violation', HINT = 'Use a new key for a new request.';
      END IF;
      RETURN 'run_' || replace(before.id::text, '-', '');
    END IF;
  END IF;
  IF session IS NOT NULL THEN
    INSERT INTO sessions AS s (tenant_id, user_id, id, next_seq) VALUES (tenant, "user", session, 2)
      ON CONFLICT (tenant_id, user_id, id) DO UPDATE SET next_seq = s.next_seq + 1 RETURNING next_seq - 1 INTO place;
  END IF;
  made := %s;
  INSERT INTO agent_runs (tenant_id, id, agent, version, pool, user_id, session_id, session_seq, next_step, priority, idempotency_key, request_hash, metadata, input, model, budget_micro_usd, wake_at)
  VALUES (tenant, made, m.name, m.version, m.pool, "user", session, place, m.start_step, priority, 'sql:' || key, body, metadata, input, m.model, m.budget_micro_usd, greatest(now(), coalesce(start_at, now())));
  INSERT INTO run_events (tenant_id, run_id, seq, type) VALUES (tenant, made, 1, 'run.queued');
  -- heard when the transaction commits: the run is offered at once; unheard, a sweep finds it within a second
  PERFORM pg_notify('mainstay_submitted', json_build_array(tenant, made)::text);
  RETURN 'run_' || replace(made::text, '-', '');
END $body$ $fn$, current_schema(),
  -- uuids that sort by time: PostgreSQL 18 makes them, before it they are put together here
  CASE WHEN current_setting('server_version_num')::int >= 180000 THEN 'uuidv7()'
    ELSE $v7$encode(set_bit(set_bit(overlay(decode(replace(gen_random_uuid()::text, '-', ''), 'hex') PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6), 52, 1), 53, 1), 'hex')::uuid$v7$ END);
END $do$;
ALTER SCHEMA mainstay OWNER TO mainstay_engine;
ALTER FUNCTION mainstay.submit(text, text, json, text, text, text, integer, json, timestamptz) OWNER TO mainstay_engine;
REVOKE ALL ON FUNCTION mainstay.submit(text, text, json, text, text, text, integer, json, timestamptz) FROM PUBLIC;
GRANT USAGE ON SCHEMA mainstay TO mainstay_submit;
GRANT EXECUTE ON FUNCTION mainstay.submit(text, text, json, text, text, text, integer, json, timestamptz) TO mainstay_submit;
