-- The server life under which a worker took its session lock: a free lock says that the worker is dead only within that life.
-- Null: the worker holds no lock, and its lease alone decides.
ALTER TABLE workers ADD COLUMN locked_under text;
