-- Remove a run and, by its foreign key, what it found.
DELETE FROM hazfence.replay_run WHERE name = %(name)s
