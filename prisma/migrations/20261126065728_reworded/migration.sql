-- Memories that an erasure has put into the words of another of their runs: until the index has let go of the words they had.
ALTER TABLE erasures ADD COLUMN reworded uuid[] NOT NULL DEFAULT '{}';
GRANT DELETE ON memory_vectors TO mainstay_engine;
