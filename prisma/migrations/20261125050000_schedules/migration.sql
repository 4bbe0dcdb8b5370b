-- Schedules live here and fire by the due query: nothing of them is in Redis. Each occurrence is one row, fired or skipped.

CREATE TYPE schedule_overlap AS ENUM ('enqueue', 'skip', 'cancel_previous');
CREATE TYPE schedule_misfire AS ENUM ('skip', 'fire_once', 'fire_all');
CREATE TYPE occurrence_outcome AS ENUM ('fired', 'skipped');

CREATE TABLE schedules (
  tenant_id text NOT NULL,
  id uuid NOT NULL,
  name text NOT NULL,
  user_id text,
  session_id text,
  agent text NOT NULL,
  input json NOT NULL,
  metadata json NOT NULL DEFAULT '{}',
  priority integer NOT NULL DEFAULT 0,
  -- Either a cron expression with its IANA zone, or a fixed interval counted from `anchor_at`.
  cron text,
  zone text,
  every_ms bigint,
  anchor_at timestamptz(3) NOT NULL DEFAULT now(),
  overlap schedule_overlap NOT NULL DEFAULT 'skip',
  misfire schedule_misfire NOT NULL DEFAULT 'fire_once',
  -- An occurrence found later than this is a misfire.
  grace_ms bigint NOT NULL,
  ends_at timestamptz(3),
  paused_at timestamptz(3),
  -- The next occurrence; null once there is none.
  next_at timestamptz(3),
  last_run_id uuid,
  created_by text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  updated_at timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id),
  CONSTRAINT one_kind_of_time CHECK ((cron IS NULL) = (zone IS NULL) AND (cron IS NULL) <> (every_ms IS NULL)),
  CONSTRAINT schedule_session_is_a_users CHECK (session_id IS NULL OR user_id IS NOT NULL)
);
CREATE UNIQUE INDEX schedules_name ON schedules (tenant_id, name);
CREATE INDEX schedules_due ON schedules (next_at) WHERE paused_at IS NULL AND next_at IS NOT NULL;

CREATE TABLE schedule_occurrences (
  tenant_id text NOT NULL,
  schedule_id uuid NOT NULL,
  -- The moment the schedule names, not the one it was noticed.
  occurrence timestamptz(3) NOT NULL,
  outcome occurrence_outcome NOT NULL,
  -- Why it was skipped, or `run_now`.
  reason text,
  run_id uuid,
  user_id text,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, schedule_id, occurrence),
  CONSTRAINT fired_has_its_run CHECK ((outcome = 'fired') = (run_id IS NOT NULL)),
  CONSTRAINT skipped_has_its_reason CHECK (outcome = 'fired' OR reason IS NOT NULL)
);

DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['schedules', 'schedule_occurrences'] LOOP
    EXECUTE format('ALTER TABLE %I ENABLE ROW LEVEL SECURITY', name);
    EXECUTE format('ALTER TABLE %I FORCE ROW LEVEL SECURITY', name);
    EXECUTE format('CREATE POLICY engine_sees_all ON %I TO mainstay_engine USING (true) WITH CHECK (true)', name);
    EXECUTE format('CREATE POLICY one_tenant ON %I TO mainstay_app USING (tenant_id = nullif(current_setting(''app.tenant_id'', true), '''')) '
      'WITH CHECK (tenant_id = nullif(current_setting(''app.tenant_id'', true), ''''))', name);
    EXECUTE format('CREATE POLICY one_user ON %I AS RESTRICTIVE TO mainstay_app USING (nullif(current_setting(''app.user_id'', true), '''') IS NULL '
      'OR user_id IS NOT DISTINCT FROM nullif(current_setting(''app.user_id'', true), chr(31)))', name);
  END LOOP;
END $$;
GRANT SELECT, INSERT, UPDATE ON schedules TO mainstay_engine, mainstay_app;
GRANT DELETE ON schedules TO mainstay_app;
GRANT SELECT, INSERT ON schedule_occurrences TO mainstay_engine;
GRANT SELECT ON schedule_occurrences TO mainstay_app;
