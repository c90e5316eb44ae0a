-- Breaches, and visits when asked for, that begin in [since, until), latest revision each; retracted ones too.
SELECT event_id, kind, vehicle, fence_id, fence_version, revision, phase, started_at, ended_at, ST_X(place),
       ST_Y(place), ST_X(end_place), ST_Y(end_place), severity, detail
FROM hazfence.event
WHERE started_at >= %(since)s AND started_at < %(until)s
UNION ALL
SELECT event_id, 'visit', vehicle, fence_id, fence_version, revision, phase, started_at, ended_at, ST_X(place),
       ST_Y(place), ST_X(end_place), ST_Y(end_place), severity, detail
FROM hazfence.visit
WHERE %(visits)s AND started_at >= %(since)s AND started_at < %(until)s
