-- The daily partitions of the fixes, oldest first, with their size on disk in bytes (for saying how far a reader is).
SELECT to_date(substr(c.relname, 5), 'YYYYMMDD') AS day, pg_total_relation_size(c.oid) AS size_bytes
FROM pg_inherits AS i
JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'hazfence.fix'::regclass AND c.relname ~ '^fix_[0-9]{8}$'
ORDER BY day
