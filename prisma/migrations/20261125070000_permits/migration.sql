-- Permits: how many runs of a tenant, of an agent within it, and of a key that the submitter names may be running at once. A
-- running row holds a number of each limit that applies to it, chosen by the claim among the free ones from 1 to the limit;
-- the unique indexes refuse the same number twice. There is no counter: whatever ends `running` frees what the row held.

CREATE TABLE agent_limits (
  tenant_id text NOT NULL,
  agent text NOT NULL,
  max_running integer NOT NULL CHECK (max_running > 0),
  PRIMARY KEY (tenant_id, agent)
);
ALTER TABLE agent_limits ENABLE ROW LEVEL SECURITY;
ALTER TABLE agent_limits FORCE ROW LEVEL SECURITY;
CREATE POLICY engine_sees_all ON agent_limits TO mainstay_engine USING (true) WITH CHECK (true);
CREATE POLICY one_tenant ON agent_limits TO mainstay_app USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
GRANT SELECT, INSERT, UPDATE, DELETE ON agent_limits TO mainstay_engine;
GRANT SELECT ON agent_limits TO mainstay_app;

ALTER TABLE agent_runs
  -- Of runs that share the key at most `concurrency_limit` are running: each goes by its own limit.
  ADD COLUMN concurrency_key text,
  ADD COLUMN concurrency_limit integer CHECK (concurrency_limit > 0),
  -- Counts only while the run is running; null = no such limit at its claim. A run that was claimed before the limit was set
  -- holds a number far above any limit: it counts, and is in nobody's way.
  ADD COLUMN tenant_permit bigint,
  ADD COLUMN agent_permit bigint,
  ADD COLUMN key_permit bigint,
  ADD CONSTRAINT concurrency_is_whole CHECK ((concurrency_key IS NULL) = (concurrency_limit IS NULL));
CREATE UNIQUE INDEX agent_runs_tenant_permit ON agent_runs (tenant_id, tenant_permit) WHERE status = 'running' AND tenant_permit IS NOT NULL;
CREATE UNIQUE INDEX agent_runs_agent_permit ON agent_runs (tenant_id, agent, agent_permit) WHERE status = 'running' AND agent_permit IS NOT NULL;
CREATE UNIQUE INDEX agent_runs_key_permit ON agent_runs (tenant_id, concurrency_key, key_permit) WHERE status = 'running' AND key_permit IS NOT NULL;
