-- The seq before the last %(count)s revisions of a partition; no row when there are no more than that.
SELECT seq FROM hazfence.event_revision
WHERE topic = %(topic)s AND partition = %(partition)s
ORDER BY seq DESC
LIMIT 1 OFFSET %(count)s
