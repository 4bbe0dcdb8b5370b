-- Lists of a user's runs need this index for runs that have a user. Without the condition PostgreSQL 18 also takes it to find
-- a run by tenant and id, skipping through every user of the tenant, where the primary key finds it at once.
DROP INDEX agent_runs_user;
CREATE INDEX agent_runs_user ON agent_runs (tenant_id, user_id, id) WHERE user_id IS NOT NULL;
