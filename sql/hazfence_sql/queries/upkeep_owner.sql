-- Whether this user owns the fix table, which making and dropping indexes and days takes.
SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = 'hazfence.fix'::regclass
