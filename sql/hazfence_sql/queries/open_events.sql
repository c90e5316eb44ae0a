-- Visits and breaches of a partition that are not over.
SELECT event_id, 'visit' AS kind, vehicle, fence_id, fence_version, revision, phase, started_at, ended_at, ST_X(place),
       ST_Y(place), ST_X(end_place), ST_Y(end_place), severity, detail
FROM hazfence.visit
WHERE topic = %(topic)s AND partition = %(partition)s AND phase IN ('opened', 'amended')
UNION ALL
SELECT event_id, kind, vehicle, fence_id, fence_version, revision, phase, started_at, ended_at, ST_X(place),
       ST_Y(place), ST_X(end_place), ST_Y(end_place), severity, detail
FROM hazfence.event
WHERE topic = %(topic)s AND partition = %(partition)s AND phase IN ('opened', 'amended')
ORDER BY started_at, event_id
