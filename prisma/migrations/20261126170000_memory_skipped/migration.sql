-- Why a finished run taught nothing without a look at it: a code of ours, no words of anybody's. Null of all others, which takes no room.
ALTER TABLE agent_runs ADD memory_skipped text CHECK (memory_skipped ~ '^SKIP_[A-Z_]+:[A-Z_]+$');
GRANT UPDATE (memory_skipped) ON agent_runs TO mainstay_app;
