-- Open waits for children, for the sweep that wakes a parent whose last child ended just before that child's worker died.
CREATE INDEX step_waits_children ON step_waits (tenant_id, run_id) WHERE kind = 'child' AND settled_at IS NULL;
