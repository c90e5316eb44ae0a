-- The epoch in force, held until the transaction ends, so that nobody claims the partition under a running write.
SELECT epoch FROM hazfence.checkpoint WHERE topic = %(topic)s AND partition = %(partition)s FOR NO KEY UPDATE
