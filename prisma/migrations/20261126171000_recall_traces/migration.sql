-- What a recall was decided by: for whom and as of when it looked, as of which memories, by which rules; which summaries of earlier runs
-- it showed, and which memory it left out so that its worth can be told. All of it is unknown of older traces, and of those that a worker
-- of the version before writes meanwhile.
ALTER TABLE retrieval_traces
  ADD COLUMN filters json,
  ADD COLUMN epoch text,
  ADD COLUMN decided_by json,
  ADD COLUMN policy_version integer,
  ADD COLUMN summaries uuid[] NOT NULL DEFAULT '{}',
  ADD COLUMN left_out uuid;

-- The newest summaries of a user, or of an agent that ran for nobody: what a search reads where the index does not hold them, or is away.
CREATE INDEX run_summaries_user ON run_summaries (tenant_id, user_id, run_id) WHERE user_id IS NOT NULL AND erased_at IS NULL;
CREATE INDEX run_summaries_agent ON run_summaries (tenant_id, agent, run_id) WHERE user_id IS NULL AND erased_at IS NULL;
