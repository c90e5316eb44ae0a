-- The days that fixes are kept of: table, rows as last counted, bytes, and which indexes there are; broken are those
-- that an interrupted CREATE INDEX CONCURRENTLY left behind.
SELECT c.relname::text AS relation,
       to_date(substr(c.relname, 5), 'YYYYMMDD') AS day,
       greatest(c.reltuples, 0)::bigint AS rows,
       pg_total_relation_size(c.oid) AS bytes,
       coalesce(bool_or(i.indisvalid AND a.amname = 'btree'), false) AS by_vehicle,
       coalesce(bool_or(i.indisvalid AND a.amname = 'brin'), false) AS by_time,
       coalesce(array_agg(n.relname::text) FILTER (WHERE NOT i.indisvalid), '{}') AS broken
FROM pg_inherits AS h
JOIN pg_class AS c ON c.oid = h.inhrelid
LEFT JOIN pg_index AS i ON i.indrelid = c.oid
LEFT JOIN pg_class AS n ON n.oid = i.indexrelid
LEFT JOIN pg_am AS a ON a.oid = n.relam
WHERE h.inhparent = 'hazfence.fix'::regclass AND c.relname ~ '^fix_[0-9]{8}$'
GROUP BY c.oid, c.relname, c.reltuples
ORDER BY day
