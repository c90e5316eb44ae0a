-- How far each partition of a topic has come.
SELECT partition, heard_until, next_offset
FROM hazfence.checkpoint
WHERE topic = %(topic)s
ORDER BY partition
