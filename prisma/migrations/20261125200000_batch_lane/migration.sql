-- The batch lane: model calls nobody waits for are gathered and sent as message batches, at half the price.

ALTER TABLE agent_runs
  -- Asked for at submission; null = as its machine says.
  ADD COLUMN lane text CHECK (lane IN ('realtime', 'batch', 'auto')),
  -- By when its result is wanted.
  ADD COLUMN deadline_at timestamptz(3);

-- One submission to the provider. Its row is there before the request leaves: the provider lists no items, so that a create whose
-- answer was lost can be found again only by its time and its count.
CREATE TABLE model_batches (
  id uuid PRIMARY KEY,
  model text NOT NULL,
  items integer NOT NULL CHECK (items > 0),
  -- `sending`: it leaves, or nobody knows whether it arrived; `open`: the provider has it; `done`; `lost`: never found; `refused`.
  state text NOT NULL DEFAULT 'sending' CHECK (state IN ('sending', 'open', 'done', 'lost', 'refused')),
  provider_id text UNIQUE,
  -- Found by time and count, not yet confirmed by a result.
  adopted boolean NOT NULL DEFAULT false,
  -- Batches of the provider that turned out to be another's.
  disproved text[] NOT NULL DEFAULT '{}',
  sent_at timestamptz(3) NOT NULL DEFAULT now(),
  -- When it is looked at again, and how often it was.
  look_at timestamptz(3) NOT NULL,
  looks integer NOT NULL DEFAULT 0,
  cancel_requested_at timestamptz(3),
  finished_at timestamptz(3),
  CONSTRAINT open_is_the_providers CHECK (state <> 'open' OR provider_id IS NOT NULL),
  CONSTRAINT finished_has_ended CHECK ((state IN ('sending', 'open')) = (finished_at IS NULL))
);
CREATE INDEX model_batches_open ON model_batches (look_at) WHERE finished_at IS NULL;

-- A call that waits: for its batch to be sent, then for its result. It goes when its attempt in the ledger is settled.
CREATE TABLE batch_items (
  -- The custom id: it names nothing of the tenant.
  id uuid PRIMARY KEY,
  tenant_id text NOT NULL,
  run_id uuid NOT NULL,
  step_seq integer NOT NULL,
  path text NOT NULL,
  attempt integer NOT NULL,
  model text NOT NULL,
  -- Until it is sent.
  request json,
  bytes integer NOT NULL,
  batch_id uuid REFERENCES model_batches (id),
  created_at timestamptz(3) NOT NULL DEFAULT now(),
  CONSTRAINT unsent_has_its_request CHECK (batch_id IS NOT NULL OR request IS NOT NULL)
);
CREATE INDEX batch_items_unsent ON batch_items (model, created_at) WHERE batch_id IS NULL;
CREATE INDEX batch_items_of_batch ON batch_items (batch_id) WHERE batch_id IS NOT NULL;
CREATE INDEX batch_items_of_run ON batch_items (tenant_id, run_id);

ALTER TABLE batch_items ENABLE ROW LEVEL SECURITY;
ALTER TABLE batch_items FORCE ROW LEVEL SECURITY;
CREATE POLICY engine_sees_all ON batch_items TO mainstay_engine USING (true) WITH CHECK (true);
CREATE POLICY one_tenant ON batch_items TO mainstay_app USING (tenant_id = nullif(current_setting('app.tenant_id', true), ''));
GRANT SELECT ON batch_items TO mainstay_app;
GRANT SELECT, INSERT, UPDATE, DELETE ON batch_items, model_batches TO mainstay_engine;
