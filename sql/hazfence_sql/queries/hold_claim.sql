-- The epoch in force and how far the partition is stored, held until the transaction ends, so that nobody claims the
-- partition under a running write.
SELECT epoch, next_offset
FROM hazfence.checkpoint
WHERE topic = %(topic)s AND partition = %(partition)s
FOR NO KEY UPDATE
