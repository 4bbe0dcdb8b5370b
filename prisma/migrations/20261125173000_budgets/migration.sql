-- Budgets of tenants, agents, users and runs, over a day, a month or for good; reserves that name their budgets; waits for room.

ALTER TABLE budgets
  ADD COLUMN budget_window text NOT NULL DEFAULT 'total' CHECK (budget_window IN ('total', 'day', 'month')),
  -- What is spent counts from here on; once a day or month (UTC) has turned since, nothing is spent yet.
  ADD COLUMN since timestamptz(3) NOT NULL DEFAULT now(),
  -- When it was said that most of it is spent, in this window.
  ADD COLUMN warned_at timestamptz(3),
  -- Calls refused for want of room since the last time nobody waited for it.
  ADD COLUMN wanted integer NOT NULL DEFAULT 0;
ALTER TABLE budgets
  DROP CONSTRAINT budgets_pkey,
  ADD PRIMARY KEY (tenant_id, subject, budget_window),
  DROP CONSTRAINT budgets_subject_check,
  ADD CONSTRAINT budgets_subject_check CHECK (subject = 'tenant' OR subject LIKE 'agent:%' OR subject LIKE 'user:%' OR subject LIKE 'run:%' AND budget_window = 'total'),
  -- How reserves name it.
  ADD COLUMN key text GENERATED ALWAYS AS (subject || '/' || budget_window) STORED;
CREATE UNIQUE INDEX budgets_key ON budgets (tenant_id, key);
CREATE INDEX budgets_wanted ON budgets (tenant_id, key) WHERE wanted > 0;
GRANT DELETE ON budgets TO mainstay_engine; -- a budget is taken away

ALTER TABLE model_calls
  -- The budgets its reserve was taken from; `?` stands in rows of a version that knew two and named none.
  ADD COLUMN budgets text[] NOT NULL DEFAULT '{?}',
  ADD COLUMN lane text NOT NULL DEFAULT 'live' CHECK (lane IN ('live', 'batch'));
-- For sums over days; a block range costs an insert next to nothing.
CREATE INDEX model_calls_started ON model_calls USING brin (started_at);

ALTER TABLE agent_runs
  -- Budgets of runs that its calls are paid from: its own and those of the runs it was spawned under.
  ADD COLUMN budget_keys text[] NOT NULL DEFAULT '{}',
  -- The budget whose room it waits for or is about to, and how much it needs.
  ADD COLUMN wants_budget text,
  ADD COLUMN wants_micro_usd bigint,
  ADD CONSTRAINT wants_has_its_amount CHECK ((wants_budget IS NULL) = (wants_micro_usd IS NULL));
CREATE INDEX agent_runs_wanting ON agent_runs (tenant_id, wants_budget) WHERE wants_budget IS NOT NULL AND finished_at IS NULL;

-- Every way a run is made (submitted, by SQL, spawned, forked) gives it its budget: hence triggers.
CREATE FUNCTION run_budget_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.budget_keys := coalesce((SELECT r.budget_keys FROM agent_runs r WHERE NEW.parent_path IS NOT NULL AND r.tenant_id = NEW.tenant_id AND r.id = NEW.parent_id), '{}')
    || CASE WHEN NEW.budget_micro_usd IS NULL THEN '{}' ELSE ARRAY['run:' || NEW.id || '/total'] END;
  RETURN NEW;
END $$;
CREATE FUNCTION run_budget_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO budgets AS b (tenant_id, subject, limit_micro_usd) VALUES (NEW.tenant_id, 'run:' || NEW.id, NEW.budget_micro_usd)
    ON CONFLICT (tenant_id, subject, budget_window) DO UPDATE SET limit_micro_usd = excluded.limit_micro_usd;
  RETURN NULL;
END $$;
CREATE TRIGGER agent_runs_budget_keys BEFORE INSERT ON agent_runs FOR EACH ROW
  WHEN (NEW.budget_micro_usd IS NOT NULL OR NEW.parent_path IS NOT NULL) EXECUTE FUNCTION run_budget_keys();
CREATE TRIGGER agent_runs_budget_refolded BEFORE UPDATE OF budget_micro_usd ON agent_runs FOR EACH ROW
  WHEN (NEW.budget_micro_usd IS DISTINCT FROM OLD.budget_micro_usd) EXECUTE FUNCTION run_budget_keys();
CREATE TRIGGER agent_runs_budget_row AFTER INSERT OR UPDATE OF budget_micro_usd ON agent_runs FOR EACH ROW
  WHEN (NEW.budget_micro_usd IS NOT NULL) EXECUTE FUNCTION run_budget_row();
-- Runs that are under way.
INSERT INTO budgets (tenant_id, subject, limit_micro_usd, spent_micro_usd)
  SELECT r.tenant_id, 'run:' || r.id, r.budget_micro_usd, coalesce((SELECT sum(CASE k.status WHEN 'open' THEN k.reserved_micro_usd ELSE k.cost_micro_usd END) FROM model_calls k WHERE k.tenant_id = r.tenant_id AND k.run_id = r.id), 0)
  FROM agent_runs r WHERE r.budget_micro_usd IS NOT NULL AND r.finished_at IS NULL;
UPDATE agent_runs SET budget_keys = ARRAY['run:' || id || '/total'] WHERE budget_micro_usd IS NOT NULL AND finished_at IS NULL;

-- How much a tenant, or each of its users, may ask for in a window: counted in Redis, waited for by runs, refused at the API.
CREATE TABLE quotas (
  tenant_id text NOT NULL,
  -- `tenant`, or `user`: each user by himself.
  subject text NOT NULL CHECK (subject IN ('tenant', 'user')),
  kind text NOT NULL CHECK (kind IN ('requests', 'submissions', 'tokens')),
  per text NOT NULL CHECK (per IN ('minute', 'hour', 'day')),
  most bigint NOT NULL CHECK (most > 0),
  PRIMARY KEY (tenant_id, subject, kind, per)
);
ALTER TABLE quotas ENABLE ROW LEVEL SECURITY;
ALTER TABLE quotas FORCE ROW LEVEL SECURITY;
CREATE POLICY engine_sees_all ON quotas TO mainstay_engine USING (true) WITH CHECK (true);
CREATE POLICY one_tenant ON quotas TO mainstay_app USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
GRANT SELECT, INSERT, UPDATE, DELETE ON quotas TO mainstay_engine;
GRANT SELECT ON quotas TO mainstay_app;
