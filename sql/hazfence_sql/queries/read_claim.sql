-- The epoch in force, how far the partition is stored, and its number; nothing is held.
SELECT c.epoch, c.next_offset, s.stream
FROM hazfence.checkpoint AS c
JOIN hazfence.stream AS s ON s.topic = c.topic AND s.partition = c.partition
WHERE c.topic = %(topic)s AND c.partition = %(partition)s
