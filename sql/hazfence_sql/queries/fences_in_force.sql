-- The fences in force, in the order they were first saved.
SELECT f.definition, f.version
FROM hazfence.fence AS f
WHERE f.retired_at IS NULL
ORDER BY (SELECT min(first.key) FROM hazfence.fence AS first WHERE first.id = f.id)
