-- One visit or breach, latest revision, with where it came from and when it became known.
SELECT event_id, 'visit' AS kind, vehicle, fence_id, fence_version, revision, phase, started_at, ended_at, ST_X(place),
       ST_Y(place), ST_X(end_place), ST_Y(end_place), severity, detail, topic, partition, known_at, revised_at
FROM hazfence.visit
WHERE event_id = %(id)s
UNION ALL
SELECT event_id, kind, vehicle, fence_id, fence_version, revision, phase, started_at, ended_at, ST_X(place),
       ST_Y(place), ST_X(end_place), ST_Y(end_place), severity, detail, topic, partition, known_at, revised_at
FROM hazfence.event
WHERE event_id = %(id)s
