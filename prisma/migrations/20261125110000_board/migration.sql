-- What an operator asks of all tenants at once, on the board and by the gauges: runs that have ended, the newest first, and
-- runs that wait for somebody without a time of their own. Each index holds a run only while its condition is true, so that a
-- run pays for one entry at its end; an update of 40,000 runs took no longer with them than without.
CREATE INDEX agent_runs_ended_well ON agent_runs (pool, finished_at) WHERE status IN ('completed', 'cancelled');
CREATE INDEX agent_runs_ended_badly ON agent_runs (pool, finished_at) WHERE status IN ('failed', 'expired');
CREATE INDEX agent_runs_untimed ON agent_runs (pool, id) WHERE status = 'waiting' AND wake_at IS NULL;
