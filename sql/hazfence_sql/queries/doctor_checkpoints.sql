-- How far each partition of a topic is stored, and how long ago that was said.
SELECT partition, next_offset, extract(epoch FROM now() - written_at)::double precision AS age_s
FROM hazfence.checkpoint
WHERE topic = %(topic)s
ORDER BY partition
