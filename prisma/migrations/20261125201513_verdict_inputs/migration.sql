-- What a verdict was decided on, so that it can be judged again. `inputs` stands in a run's first verdict alone and names memories by id:
-- their words stay where erasure finds them. Null: verdicts of before.
ALTER TABLE memory_candidates ADD COLUMN policy text, ADD COLUMN inputs_hash text, ADD COLUMN inputs json;
-- A quarantined candidate became a memory after all: by a person's word, or seen again in another run.
ALTER TABLE memory_candidates ADD COLUMN promoted_at timestamptz(3), ADD COLUMN promoted_by text,
  ADD CONSTRAINT promoted_out_of_quarantine CHECK (promoted_at IS NULL OR (decision = 'QUARANTINE' AND promoted_by IS NOT NULL));
CREATE INDEX memory_candidates_waiting ON memory_candidates (tenant_id, user_id, created_at) WHERE decision = 'QUARANTINE' AND promoted_at IS NULL;
GRANT UPDATE (promoted_at, promoted_by, memory_id) ON memory_candidates TO mainstay_app;
