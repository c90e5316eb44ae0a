-- State and offset of a partition, and how far time has come there; the caller holds the row (hold_claim).
UPDATE hazfence.checkpoint
SET next_offset = %(next_offset)s, snapshot = %(snapshot)b, written_at = now(),
    heard_until = coalesce(%(heard_until)s::timestamptz, heard_until)
WHERE topic = %(topic)s AND partition = %(partition)s
