-- What memory held at an earlier time, and passages of documents, by their words through an index of words, as memory has had it for what holds
-- now (`memories_by_words`, whose reasons are these functions' too): without them a search reads the words of all that its searcher may see.
-- Whose rows they look at is what the transaction has set, as the policies read it, and never an argument; they tell ids and ranks alone.
CREATE INDEX memories_words_then ON memories USING gin (to_tsvector('english', statement)) WHERE valid_to IS NOT NULL AND erased_at IS NULL;

DO $do$ BEGIN
  EXECUTE format($fn$
CREATE FUNCTION mainstay.memories_by_words_then(words tsquery, of_user text, of_agent text, at timestamptz, most integer) RETURNS TABLE (id uuid, rank real)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = %I, pg_temp SET plan_cache_mode = force_custom_plan AS $body$
DECLARE
  tenant text := nullif(current_setting('app.tenant_id', true), '');
  bound text := nullif(current_setting('app.user_id', true), '');
BEGIN
  RETURN QUERY
    WITH held AS MATERIALIZED (
      (SELECT m.id, m.statement FROM memories m
        WHERE m.tenant_id = tenant AND m.valid_to IS NULL AND m.erased_at IS NULL AND m.valid_from <= at AND to_tsvector('english', m.statement) @@ words
          AND (m.scope = 'workspace' OR m.scope = 'agent' AND m.agent = of_agent OR m.scope = 'user' AND m.user_id = of_user AND (bound IS NULL OR m.user_id = bound))
        ORDER BY m.valid_from DESC, m.id LIMIT 5000)
      UNION ALL
      (SELECT m.id, m.statement FROM memories m
        WHERE m.tenant_id = tenant AND m.valid_to > at AND m.erased_at IS NULL AND m.valid_from <= at AND to_tsvector('english', m.statement) @@ words
          AND (m.scope = 'workspace' OR m.scope = 'agent' AND m.agent = of_agent OR m.scope = 'user' AND m.user_id = of_user AND (bound IS NULL OR m.user_id = bound))
        ORDER BY m.valid_from DESC, m.id LIMIT 5000) -- the last that were said by then are ranked
    )
    SELECT h.id, ts_rank(to_tsvector('english', h.statement), words) AS r FROM held h ORDER BY r DESC, h.id LIMIT most;
END $body$ $fn$, current_schema());
  EXECUTE format($fn$
CREATE FUNCTION mainstay.chunks_by_words(words tsquery, of_user text, of_agent text, of_kind text, most integer) RETURNS TABLE (id uuid, rank real)
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = %I, pg_temp SET plan_cache_mode = force_custom_plan AS $body$
DECLARE
  tenant text := nullif(current_setting('app.tenant_id', true), '');
  bound text := nullif(current_setting('app.user_id', true), '');
BEGIN
  RETURN QUERY
    WITH found AS MATERIALIZED (
      SELECT c.id, c.text FROM document_chunks c
      WHERE c.tenant_id = tenant AND c.closed_at IS NULL AND to_tsvector('english', c.text) @@ words
        AND (c.user_id IS NULL OR c.user_id = of_user AND (bound IS NULL OR c.user_id = bound)) AND (of_agent IS NULL OR c.agent IS NULL OR c.agent = of_agent)
        AND (of_kind IS NULL OR EXISTS (SELECT FROM documents d WHERE d.tenant_id = c.tenant_id AND d.id = c.document_id AND d.kind::text = of_kind))
      ORDER BY c.created_at DESC, c.id LIMIT 5000 -- the newest are ranked: of a word that stands everywhere there is no end
    )
    SELECT f.id, ts_rank_cd(to_tsvector('english', f.text), words, 1) AS r FROM found f ORDER BY r DESC, f.id LIMIT most;
END $body$ $fn$, current_schema());
END $do$;
ALTER FUNCTION mainstay.memories_by_words_then(tsquery, text, text, timestamptz, integer) OWNER TO mainstay_engine;
ALTER FUNCTION mainstay.chunks_by_words(tsquery, text, text, text, integer) OWNER TO mainstay_engine;
REVOKE ALL ON FUNCTION mainstay.memories_by_words_then(tsquery, text, text, timestamptz, integer), mainstay.chunks_by_words(tsquery, text, text, text, integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION mainstay.memories_by_words_then(tsquery, text, text, timestamptz, integer), mainstay.chunks_by_words(tsquery, text, text, text, integer) TO mainstay_app;
