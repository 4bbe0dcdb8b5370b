// The witness: triggers of the harness in the database under test, which write down, in the order of the commits that lock a
// run's row, every claim, every step and every intent together with the fence the run had at that moment. So a write of a
// worker that was overtaken is seen however short the moment was. They add rows of their own and change nothing.
import type { Rows } from './stand.ts';

export const WITNESS = `
CREATE TABLE chaos_witness (
  n bigserial PRIMARY KEY,
  what text NOT NULL, -- claim, step, step-changed, intent
  tenant_id text NOT NULL,
  run_id uuid NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  fence bigint NOT NULL, -- of the write
  run_fence bigint NOT NULL, -- of the run when it was written; before it, for a claim
  takeover boolean NOT NULL DEFAULT false,
  note text NOT NULL DEFAULT ''
);
CREATE FUNCTION chaos_claim() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
  INSERT INTO chaos_witness (what, tenant_id, run_id, fence, run_fence, takeover) VALUES ('claim', NEW.tenant_id, NEW.id, NEW.fence, abs(OLD.fence), OLD.status = 'running');
  RETURN NULL;
END $$;
CREATE FUNCTION chaos_step() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
  INSERT INTO chaos_witness (what, tenant_id, run_id, fence, run_fence, note)
  SELECT 'step', NEW.tenant_id, NEW.run_id, NEW.fence, abs(r.fence), 'step ' || NEW.seq FROM agent_runs r WHERE r.tenant_id = NEW.tenant_id AND r.id = NEW.run_id AND NEW.seq > coalesce(r.forked_seq, 0); -- a fork's first steps are its origin's
  RETURN NULL;
END $$;
CREATE FUNCTION chaos_step_changed() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
  INSERT INTO chaos_witness (what, tenant_id, run_id, fence, run_fence, note) VALUES ('step-changed', OLD.tenant_id, OLD.run_id, OLD.fence, OLD.fence, 'step ' || OLD.seq);
  RETURN NULL;
END $$;
CREATE FUNCTION chaos_intent() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
  INSERT INTO chaos_witness (what, tenant_id, run_id, fence, run_fence, note)
  SELECT 'intent', NEW.tenant_id, NEW.run_id, NEW.fence, abs(r.fence), NEW.tool || ' at ' || NEW.step_seq || '/' || NEW.path FROM agent_runs r WHERE r.tenant_id = NEW.tenant_id AND r.id = NEW.run_id;
  RETURN NULL;
END $$;
CREATE TRIGGER chaos_claim AFTER UPDATE ON agent_runs FOR EACH ROW WHEN (NEW.claimed_by IS NOT NULL AND NEW.fence IS DISTINCT FROM OLD.fence) EXECUTE FUNCTION chaos_claim();
CREATE TRIGGER chaos_step AFTER INSERT ON run_steps FOR EACH ROW EXECUTE FUNCTION chaos_step();
CREATE TRIGGER chaos_step_changed AFTER UPDATE OR DELETE ON run_steps FOR EACH ROW EXECUTE FUNCTION chaos_step_changed();
CREATE TRIGGER chaos_intent AFTER INSERT OR UPDATE ON tool_calls FOR EACH ROW WHEN (NEW.status = 'intent') EXECUTE FUNCTION chaos_intent();`;

export const installWitness = (rows: Rows): Promise<unknown> => rows(WITNESS);

export interface Witnessed { readonly claims: number; readonly takeovers: number; readonly steps: number; readonly intents: number }

export async function witnessed(rows: Rows): Promise<Witnessed> {
  const [counts] = await rows<Witnessed>(`SELECT count(*) FILTER (WHERE what = 'claim')::int AS claims, count(*) FILTER (WHERE takeover)::int AS takeovers,
    count(*) FILTER (WHERE what = 'step')::int AS steps, count(*) FILTER (WHERE what = 'intent')::int AS intents FROM chaos_witness`);
  return counts ?? { claims: 0, takeovers: 0, steps: 0, intents: 0 };
}
