-- Revisions of a partition after a seq, in the order they were stored.
SELECT seq, event_id, kind, vehicle, fence_id, fence_version, revision, phase, started_at, ended_at, ST_X(place),
       ST_Y(place), ST_X(end_place), ST_Y(end_place), severity, detail
FROM hazfence.event_revision
WHERE topic = %(topic)s AND partition = %(partition)s AND seq > %(after_seq)s
ORDER BY seq
LIMIT %(limit)s
