-- Take a partition over: from here on, writes under an older epoch are refused. Waits for a write that is under way.
INSERT INTO hazfence.checkpoint AS stored (topic, partition, epoch)
VALUES (%(topic)s, %(partition)s, 1)
ON CONFLICT (topic, partition) DO UPDATE SET epoch = stored.epoch + 1, claimed_at = now()
RETURNING epoch, next_offset, snapshot
