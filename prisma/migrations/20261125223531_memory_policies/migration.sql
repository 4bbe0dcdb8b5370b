-- What a tenant has set for the gate and for retention, by version; a version is never changed, for verdicts name it.
CREATE TABLE memory_policies (
  tenant_id text NOT NULL,
  version integer NOT NULL CHECK (version > 0),
  settings json NOT NULL,
  created_by text NOT NULL,
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, version)
);
-- Neither a cap nor its idleness closes it.
ALTER TABLE memories ADD COLUMN pinned boolean NOT NULL DEFAULT false;

ALTER TABLE memory_policies ENABLE ROW LEVEL SECURITY;
ALTER TABLE memory_policies FORCE ROW LEVEL SECURITY;
CREATE POLICY engine_sees_all ON memory_policies TO mainstay_engine USING (true) WITH CHECK (true);
CREATE POLICY one_tenant ON memory_policies TO mainstay_app USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
GRANT SELECT, INSERT ON memory_policies TO mainstay_app;
GRANT SELECT ON memory_policies TO mainstay_engine;
