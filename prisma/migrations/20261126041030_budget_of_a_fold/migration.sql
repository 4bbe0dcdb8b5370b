-- Only a debounced submit that is folded in changes a run's budget, and its statement sees to that now. A trigger for updates, though
-- its columns were never touched, made Postgres lock and fetch each row first: 4 % of a checkpoint's time and 60 bytes of its log.
DROP TRIGGER agent_runs_budget_refolded ON agent_runs;
DROP TRIGGER agent_runs_budget_row ON agent_runs;
CREATE TRIGGER agent_runs_budget_row AFTER INSERT ON agent_runs FOR EACH ROW
  WHEN (NEW.budget_micro_usd IS NOT NULL) EXECUTE FUNCTION run_budget_row();
