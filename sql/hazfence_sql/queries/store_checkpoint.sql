-- State and offset of a partition; the caller holds the row (hold_claim).
UPDATE hazfence.checkpoint
SET next_offset = %(next_offset)s, snapshot = %(snapshot)b, written_at = now()
WHERE topic = %(topic)s AND partition = %(partition)s
