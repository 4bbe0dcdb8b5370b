-- A memory that was shown again and again and that no answer has used. Maintenance says so; it moves the memory's rank and nothing else, so
-- that no epoch is raised by it.
ALTER TABLE memories ADD COLUMN unused boolean NOT NULL DEFAULT false;
