-- Every version of every fence and from when to when it was in force; fences in the order they were first saved.
SELECT f.definition, f.version, f.saved_at, f.retired_at
FROM hazfence.fence AS f
ORDER BY min(f.key) OVER (PARTITION BY f.id), f.version
