-- How far time has come on a partition on which nothing else happened; the caller holds the row (hold_claim).
UPDATE hazfence.checkpoint
SET heard_until = %(heard_until)s
WHERE topic = %(topic)s AND partition = %(partition)s
