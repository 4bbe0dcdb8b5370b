-- A statement that names a row by its key must have the primary key as its only candidate: on a young table every index costs
-- the same, and the plan that is kept may read another one's whole tenant for each run.
DROP INDEX agent_runs_user;
CREATE INDEX agent_runs_user ON agent_runs (tenant_id, user_id, id) WHERE user_id IS NOT NULL;
DROP INDEX tool_calls_key;
CREATE INDEX tool_calls_key ON tool_calls (key);
-- The claim looks for reserves that an older fence left open; few are at any time.
CREATE INDEX model_calls_open ON model_calls (tenant_id, run_id) WHERE status = 'open';
