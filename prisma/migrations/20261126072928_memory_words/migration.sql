-- Memories by their words, through the index of their words. Row-level security keeps that index from the application's own statements: the
-- match is no leakproof operator, so that every memory of the tenant is read instead. This function is of the role that sees all tenants;
-- whose memories it looks at is what the transaction has set, as the policies read it, and never an argument. It tells ids and ranks alone:
-- what they stand for is read under the policies.
DO $do$ BEGIN
  EXECUTE format($fn$
CREATE OR REPLACE FUNCTION mainstay.memories_by_words(words tsquery, of_user text, of_agent text, most integer) RETURNS TABLE (id uuid, rank real)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = %I, pg_temp SET plan_cache_mode = force_custom_plan AS $body$
DECLARE
  tenant text := nullif(current_setting('app.tenant_id', true), '');
  bound text := nullif(current_setting('app.user_id', true), '');
BEGIN
  RETURN QUERY
    WITH found AS MATERIALIZED (
      SELECT m.id, m.statement FROM memories m
      WHERE m.tenant_id = tenant AND m.valid_to IS NULL AND to_tsvector('english', m.statement) @@ words
        AND (m.scope = 'workspace' OR m.scope = 'agent' AND m.agent = of_agent OR m.scope = 'user' AND m.user_id = of_user AND (bound IS NULL OR m.user_id = bound))
      ORDER BY m.created_at DESC, m.id LIMIT 5000 -- the newest are ranked: of a word that stands everywhere there is no end
    )
    SELECT f.id, ts_rank(to_tsvector('english', f.statement), words) AS r FROM found f ORDER BY r DESC, f.id LIMIT most;
END $body$ $fn$, current_schema());
END $do$;
ALTER FUNCTION mainstay.memories_by_words(tsquery, text, text, integer) OWNER TO mainstay_engine;
REVOKE ALL ON FUNCTION mainstay.memories_by_words(tsquery, text, text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mainstay.memories_by_words(tsquery, text, text, integer) TO mainstay_app;
GRANT USAGE ON SCHEMA mainstay TO mainstay_app;
