-- From which cosine on two statements may be the same, by embedder, as `mainstay memories calibrate` has measured it. Of nobody's data: for all tenants.
CREATE TABLE embedder_thresholds (
  embedder text PRIMARY KEY,
  high double precision NOT NULL CHECK (high BETWEEN 0 AND 1),
  low double precision NOT NULL CHECK (low BETWEEN 0 AND high),
  pairs integer NOT NULL CHECK (pairs > 0),
  calibrated_at timestamptz(3) NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE ON embedder_thresholds TO mainstay_engine;
GRANT SELECT ON embedder_thresholds TO mainstay_app;
