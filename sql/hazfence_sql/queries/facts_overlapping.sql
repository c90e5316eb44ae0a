-- Visits and breaches that overlap [since, until), latest revision each, retracted ones too; of some vehicles, in some
-- fences, or of all.
SELECT event_id, 'visit' AS kind, vehicle, fence_id, fence_version, revision, phase, started_at, ended_at, ST_X(place),
       ST_Y(place), ST_X(end_place), ST_Y(end_place), severity, detail
FROM hazfence.visit
WHERE started_at < %(until)s::timestamptz AND (ended_at IS NULL OR ended_at >= %(since)s::timestamptz)
  AND (%(vehicles)s::text[] IS NULL OR vehicle = ANY (%(vehicles)s::text[]))
  AND (%(fences)s::text[] IS NULL OR fence_id = ANY (%(fences)s::text[]))
UNION ALL
SELECT event_id, kind, vehicle, fence_id, fence_version, revision, phase, started_at, ended_at, ST_X(place),
       ST_Y(place), ST_X(end_place), ST_Y(end_place), severity, detail
FROM hazfence.event
WHERE started_at < %(until)s::timestamptz AND (ended_at IS NULL OR ended_at >= %(since)s::timestamptz)
  AND (%(vehicles)s::text[] IS NULL OR vehicle = ANY (%(vehicles)s::text[]))
  AND (%(fences)s::text[] IS NULL OR fence_id = ANY (%(fences)s::text[]))
ORDER BY started_at, event_id
