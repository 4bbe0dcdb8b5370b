-- Which of the injected memories the run's answer bears out by what it says, cited or not; known once the run is remembered.
ALTER TABLE retrieval_traces ADD COLUMN supported uuid[] NOT NULL DEFAULT '{}';
