-- How far each partition of a topic is stored, how long ago that was said, and the version of its snapshot's format,
-- which is the fifth byte.
SELECT partition, next_offset, CASE WHEN length(snapshot) > 4 THEN get_byte(snapshot, 4) END AS format, extract(epoch FROM now() - written_at)::double precision AS age_s
FROM hazfence.checkpoint
WHERE topic = %(topic)s
ORDER BY partition
