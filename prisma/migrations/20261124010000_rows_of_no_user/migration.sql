-- A third kind of reader. Without app.user_id a transaction sees every user of its tenant, with one it sees that user's rows;
-- with the unit separator (chr(31), which no name may contain) it sees only what belongs to no user. An API key that is
-- neither bound to a user nor allowed `users:any` reads with it.
DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['agent_runs', 'sessions', 'messages', 'run_summaries', 'retrieval_traces', 'memory_candidates', 'tool_calls', 'permissions', 'audit_events'] LOOP
    EXECUTE format('ALTER POLICY one_user ON %I USING (nullif(current_setting(''app.user_id'', true), '''') IS NULL '
      'OR user_id IS NOT DISTINCT FROM nullif(current_setting(''app.user_id'', true), chr(31)))', name);
  END LOOP;
END $$;
