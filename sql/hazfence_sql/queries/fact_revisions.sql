-- Every revision of one visit or breach, in the order said, and when each became known.
SELECT event_id, kind, vehicle, fence_id, fence_version, revision, phase, started_at, ended_at, ST_X(place),
       ST_Y(place), ST_X(end_place), ST_Y(end_place), severity, detail, known_at
FROM hazfence.event_revision
WHERE event_id = %(id)s
ORDER BY revision
