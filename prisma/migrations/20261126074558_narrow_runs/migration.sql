-- A run that has called no model and has no budget of its own to pay from carries nothing of either: a sleeping run is narrower by it.
ALTER TABLE agent_runs
  ALTER budget_keys DROP NOT NULL, ALTER budget_keys DROP DEFAULT,
  ALTER input_tokens DROP NOT NULL, ALTER input_tokens DROP DEFAULT,
  ALTER output_tokens DROP NOT NULL, ALTER output_tokens DROP DEFAULT,
  ALTER cost_micro_usd DROP NOT NULL, ALTER cost_micro_usd DROP DEFAULT;
