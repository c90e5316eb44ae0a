-- The latest version of every fence, retired or not, held until the transaction ends.
SELECT id, version, definition, retired_at IS NULL AS in_force
FROM hazfence.fence AS f
WHERE version = (SELECT max(version) FROM hazfence.fence AS other WHERE other.id = f.id)
