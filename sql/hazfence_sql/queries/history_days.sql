-- The days that fixes are kept of: table, first moment, bytes, and which indexes there are (valid ones).
SELECT c.relname::text AS relation,
       to_date(substr(c.relname, 5), 'YYYYMMDD') AS day,
       pg_total_relation_size(c.oid) AS bytes,
       EXISTS (SELECT 1 FROM pg_index AS i JOIN pg_class AS n ON n.oid = i.indexrelid JOIN pg_am AS a ON a.oid = n.relam
               WHERE i.indrelid = c.oid AND i.indisvalid AND a.amname = 'btree') AS by_vehicle,
       EXISTS (SELECT 1 FROM pg_index AS i JOIN pg_class AS n ON n.oid = i.indexrelid JOIN pg_am AS a ON a.oid = n.relam
               WHERE i.indrelid = c.oid AND i.indisvalid AND a.amname = 'brin') AS by_time
FROM pg_inherits AS h
JOIN pg_class AS c ON c.oid = h.inhrelid
WHERE h.inhparent = 'hazfence.fix'::regclass AND c.relname ~ '^fix_[0-9]{8}$'
ORDER BY day
