-- What a worker needs to do and this user may not, as text; no row when it may do all of it.
SELECT needed.privilege || ' on ' || needed.relation AS missing
FROM (VALUES
    ('fence', 'SELECT'), ('fence', 'INSERT'), ('fence', 'UPDATE'), ('fix', 'SELECT'), ('fix', 'INSERT'),
    ('vehicle_code', 'SELECT'), ('vehicle_code', 'INSERT'), ('stream', 'SELECT'), ('stream', 'INSERT'),
    ('visit', 'SELECT'), ('visit', 'INSERT'), ('visit', 'UPDATE'), ('event', 'SELECT'), ('event', 'INSERT'),
    ('event', 'UPDATE'), ('event_revision', 'SELECT'), ('event_revision', 'INSERT'), ('dead_letter', 'INSERT'),
    ('checkpoint', 'SELECT'), ('checkpoint', 'INSERT'), ('checkpoint', 'UPDATE'), ('waybill', 'SELECT'),
    ('milestone', 'SELECT'), ('milestone', 'INSERT'), ('milestone', 'DELETE'), ('reference_change', 'SELECT'),
    ('dead_letter', 'SELECT'), ('schema_version', 'SELECT'),
    ('vehicle', 'SELECT'), ('company', 'SELECT'), ('person', 'SELECT'), ('tank', 'SELECT')
) AS needed (relation, privilege)
WHERE NOT has_schema_privilege('hazfence', 'USAGE')
   OR NOT has_table_privilege((
        SELECT c.oid FROM pg_class AS c
        WHERE c.relname = needed.relation AND c.relnamespace = 'hazfence'::regnamespace
      ), needed.privilege)
UNION ALL
SELECT 'EXECUTE on ' || p.proname
FROM pg_proc AS p
WHERE p.proname = 'ensure_fix_day' AND p.pronamespace = 'hazfence'::regnamespace
  AND NOT has_function_privilege(p.oid, 'EXECUTE')
ORDER BY 1
