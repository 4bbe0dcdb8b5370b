-- Erasure of a memory, a run, a user or a tenant. The row here is the tombstone and the receipt; what it asks for is done in pages,
-- each of which marks what it has emptied, so that a crash on the way costs one page.
CREATE TYPE erasure_kind AS ENUM ('memory', 'run', 'user', 'tenant');
CREATE TABLE erasures (
  tenant_id text NOT NULL,
  id uuid NOT NULL,
  kind erasure_kind NOT NULL,
  subject text NOT NULL,
  requested_by text NOT NULL,
  requested_at timestamptz(3) NOT NULL DEFAULT now(),
  counts json NOT NULL DEFAULT '{}',
  -- values in the object store that its runs referred to, until they are looked at
  blobs text[] NOT NULL DEFAULT '{}',
  finished_at timestamptz(3),
  receipt json,
  PRIMARY KEY (tenant_id, id),
  CONSTRAINT finished_has_its_receipt CHECK ((finished_at IS NULL) = (receipt IS NULL))
);
CREATE INDEX erasures_open ON erasures (requested_at) WHERE finished_at IS NULL;

ALTER TABLE agent_runs ADD COLUMN erased_at timestamptz(3), ADD CONSTRAINT erased_has_ended CHECK (erased_at IS NULL OR finished_at IS NOT NULL AND NOT visible);
-- A memory or summary is emptied first, its vector goes next, its row last.
ALTER TABLE memories ADD COLUMN erased_at timestamptz(3);
ALTER TABLE run_summaries ADD COLUMN erased_at timestamptz(3);
CREATE INDEX memories_erased ON memories (tenant_id) WHERE erased_at IS NOT NULL;
CREATE INDEX run_summaries_erased ON run_summaries (tenant_id) WHERE erased_at IS NOT NULL;

-- A recorded step never changes. Once its run has ended it may be emptied, and that is all.
DROP TRIGGER run_steps_append_only ON run_steps;
CREATE FUNCTION refuse_step_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.data IS NULL AND NEW.data_blob IS NULL AND (to_jsonb(NEW) - 'data' - 'data_blob') = (to_jsonb(OLD) - 'data' - 'data_blob')
    AND EXISTS (SELECT FROM agent_runs r WHERE r.tenant_id = NEW.tenant_id AND r.id = NEW.run_id AND r.finished_at IS NOT NULL) THEN RETURN NEW; END IF;
  RAISE EXCEPTION 'run_steps is append only' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER run_steps_append_only BEFORE UPDATE ON run_steps FOR EACH ROW EXECUTE FUNCTION refuse_step_change();

ALTER TABLE erasures ENABLE ROW LEVEL SECURITY;
ALTER TABLE erasures FORCE ROW LEVEL SECURITY;
CREATE POLICY engine_sees_all ON erasures TO mainstay_engine USING (true) WITH CHECK (true);
CREATE POLICY one_tenant ON erasures TO mainstay_app USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''))
  WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
GRANT SELECT, INSERT, UPDATE ON erasures TO mainstay_engine;
GRANT SELECT, INSERT ON erasures TO mainstay_app;
-- What an erasure empties or deletes, and nothing beyond it.
GRANT UPDATE (data, data_blob) ON run_steps TO mainstay_engine;
GRANT UPDATE (result, result_blob, args_hash) ON step_records TO mainstay_engine;
GRANT UPDATE (data) ON run_events TO mainstay_engine;
GRANT SELECT ON retrieval_traces, memory_candidates TO mainstay_engine;
GRANT DELETE ON messages, sessions, signals, approvals, memories, memory_candidates, run_summaries, retrieval_traces, permissions, schedules TO mainstay_engine;
