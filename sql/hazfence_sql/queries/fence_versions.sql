-- The latest version of every fence, in force or not.
SELECT id, version, definition, retired_at IS NULL AS in_force
FROM hazfence.fence AS f
WHERE version = (SELECT max(version) FROM hazfence.fence AS other WHERE other.id = f.id)
