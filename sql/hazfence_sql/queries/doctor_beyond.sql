-- Rights beyond a worker's that this user has: owner of the tables, or may delete what was found.
SELECT coalesce(bool_or(pg_has_role(c.relowner, 'MEMBER') OR has_table_privilege(c.oid, 'DELETE')), false)
FROM pg_class AS c
WHERE c.relnamespace = 'hazfence'::regnamespace AND c.relname IN ('event', 'event_revision', 'fix')
