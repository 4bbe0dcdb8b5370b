-- How often the memories of an owner have changed, counted in the transaction that changes them: what recall found is found again as long
-- as no count of what it may see has risen. A count is kept in several rows, and a writer raises one that nobody else holds: no writer
-- waits for another. An id is never given twice, so that an epoch does not come back when rows are gone.
CREATE TABLE memory_epochs (
  tenant_id text NOT NULL,
  -- `workspace`, `agent:<name>` or `user:<name>`
  owner text NOT NULL,
  id bigint GENERATED ALWAYS AS IDENTITY,
  changes bigint NOT NULL DEFAULT 1,
  PRIMARY KEY (tenant_id, owner, id)
) WITH (fillfactor = 50);

CREATE FUNCTION raise_memory_epoch(of_tenant text, of_owner text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
  UPDATE memory_epochs SET changes = changes + 1 WHERE tenant_id = of_tenant AND owner = of_owner AND id = (
    SELECT id FROM memory_epochs WHERE tenant_id = of_tenant AND owner = of_owner ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED);
  IF NOT FOUND THEN INSERT INTO memory_epochs (tenant_id, owner) VALUES (of_tenant, of_owner); END IF;
END $$;

CREATE FUNCTION memory_owner(scope memory_scope, user_id text, agent text) RETURNS text LANGUAGE sql IMMUTABLE AS $$
  SELECT CASE scope WHEN 'user' THEN 'user:' || coalesce(user_id, '') WHEN 'agent' THEN 'agent:' || coalesce(agent, '') ELSE 'workspace' END
$$;

-- A trigger, so that no writer can forget it. Being cited moves a memory's rank alone, and ranks are always made anew.
CREATE FUNCTION raise_memory_epochs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'UPDATE' THEN
    PERFORM raise_memory_epoch(tenant_id, owner) FROM (
      SELECT DISTINCT r.tenant_id, memory_owner(r.scope, r.user_id, r.agent) AS owner
      FROM old_rows o JOIN new_rows n USING (tenant_id, id) CROSS JOIN LATERAL (VALUES (o.tenant_id, o.scope, o.user_id, o.agent), (n.tenant_id, n.scope, n.user_id, n.agent)) AS r(tenant_id, scope, user_id, agent)
      WHERE (n.scope, n.user_id, n.agent, n.type, n.subject, n.statement, n.confidence, n.seen_count, n.run_id, n.valid_from, n.valid_to, n.erased_at, n.version, n.indexed_generation)
        IS DISTINCT FROM (o.scope, o.user_id, o.agent, o.type, o.subject, o.statement, o.confidence, o.seen_count, o.run_id, o.valid_from, o.valid_to, o.erased_at, o.version, o.indexed_generation)) changed;
  ELSIF TG_OP = 'INSERT' THEN
    PERFORM raise_memory_epoch(tenant_id, owner) FROM (SELECT DISTINCT tenant_id, memory_owner(scope, user_id, agent) AS owner FROM new_rows) added;
  ELSE
    PERFORM raise_memory_epoch(tenant_id, owner) FROM (SELECT DISTINCT tenant_id, memory_owner(scope, user_id, agent) AS owner FROM old_rows) gone;
  END IF;
  RETURN NULL;
END $$;
CREATE TRIGGER memories_epoch_insert AFTER INSERT ON memories REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION raise_memory_epochs();
CREATE TRIGGER memories_epoch_update AFTER UPDATE ON memories REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION raise_memory_epochs();
CREATE TRIGGER memories_epoch_delete AFTER DELETE ON memories REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION raise_memory_epochs();

ALTER TABLE memory_epochs ENABLE ROW LEVEL SECURITY;
ALTER TABLE memory_epochs FORCE ROW LEVEL SECURITY;
CREATE POLICY engine_sees_all ON memory_epochs TO mainstay_engine USING (true) WITH CHECK (true);
CREATE POLICY one_tenant ON memory_epochs TO mainstay_app USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
CREATE POLICY one_user ON memory_epochs AS RESTRICTIVE TO mainstay_app
  USING (nullif(current_setting('app.user_id', true), '') IS NULL OR owner NOT LIKE 'user:%' OR owner = 'user:' || current_setting('app.user_id', true));
GRANT SELECT, INSERT, UPDATE ON memory_epochs TO mainstay_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON memory_epochs TO mainstay_engine;
